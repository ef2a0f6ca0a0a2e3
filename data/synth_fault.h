/* What can be wrong with a clip of the demonstration world. A fault has a kind, an entry of a table in
 * synth_fault.c, and a strength from 0 (none) to 4; its score is 5 - strength. */
#ifndef VS2_DATA_SYNTH_FAULT_H
#define VS2_DATA_SYNTH_FAULT_H

#include "data/synth_scene.h"

/* The three dimensions that are scored. */
enum synth_dimension { SYNTH_VISUAL, SYNTH_ALIGNMENT, SYNTH_PHYSICAL, SYNTH_DIMENSIONS };

enum { SYNTH_STRENGTHS = 5 };

struct synth_fault {
    int kind, strength;
};

/* Kinds of faults of a picture (blur, noise, ...) and of movement (jumps, ...), and their names. Alignment
 * has no table: its faults are the first SYNTH_ALIGNED attributes of the look, the strength says how many of
 * them differ from the prompt. */
enum { SYNTH_ALIGNED = SYNTH_GROUND };
int synth_fault_kinds(enum synth_dimension dimension);
const char *synth_fault_name(enum synth_dimension dimension, int kind);

/* Faults come and go with the beat: half a second, so that they are seen at two frames a second. */
int synth_beat(const struct synth_scene *scene, int frame);

/* Moves or deforms what stands where the laws of motion put it. */
void synth_fault_place(const struct synth_fault *fault, const struct synth_scene *scene, int frame,
                       struct synth_placement *place);

/* Spoils the whole picture of a frame. `scratch` has room for a row or column of it: 3 * max(width, height)
 * floats. */
void synth_fault_picture(const struct synth_fault *fault, const struct synth_scene *scene, int frame,
                         uint8_t *rgb, float *scratch);

#endif
