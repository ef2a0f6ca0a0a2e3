/* Scenes of the demonstration world: coloured shapes that move over textured ground, drawn frame by frame. */
#ifndef VS2_DATA_SYNTH_SCENE_H
#define VS2_DATA_SYNTH_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* What a prompt asks for and a scene shows. Each attribute has a table of values in synth_scene.c. */
enum synth_attribute { SYNTH_COUNT, SYNTH_COLOR, SYNTH_SHAPE, SYNTH_MOTION, SYNTH_GROUND, SYNTH_ATTRIBUTES };

struct synth_look {
    int value[SYNTH_ATTRIBUTES]; /* entries of the tables */
};

/* How many values an attribute has, and what it and they are called: "color", "red". */
int synth_value_count(enum synth_attribute attribute);
const char *synth_attribute_name(enum synth_attribute attribute);
const char *synth_value_name(enum synth_attribute attribute, int value);

/* Appends what a text-to-video model would have been asked for: "Two red circles move right over green
 * grass." */
void synth_prompt(const struct synth_look *look, struct text *prompt);

/* Where and how large something is drawn. */
struct synth_placement {
    double x, y;          /* its middle, in shares of the picture's sides */
    double width, height; /* factors of its size */
};

struct synth_scene {
    int width, height, frames, fps; /* pixels, frames, frames a second */
    struct synth_look look;
    double size;  /* of its shapes: a factor near 1 */
    double phase; /* where on its way it begins, in [0, 1) */
    uint64_t texture_seed;
};

/* Paints the ground, width * height RGB pixels. It is the same in every frame. */
void synth_paint_ground(const struct synth_scene *scene, uint8_t *rgb);

/* How far the shapes have come in a frame, in [0, 1], and where one of them would be by the laws of motion.
 */
double synth_way(const struct synth_scene *scene, int frame);
struct synth_placement synth_place(const struct synth_scene *scene, int shape, double way);

/* Whether the shapes move sideways, not up or down. */
bool synth_moves_sideways(const struct synth_look *look);

/* Paints one shape over the picture. */
void synth_paint_shape(const struct synth_scene *scene, const struct synth_placement *place, uint8_t *rgb);

#endif
