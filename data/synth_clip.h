/* One clip of the demonstration world: its prompt, what it shows instead, its faults, and the words that an
 * annotator would say of it. All follows from a few numbers. */
#ifndef VS2_DATA_SYNTH_CLIP_H
#define VS2_DATA_SYNTH_CLIP_H

#include "base/error.h"
#include "data/synth_fault.h"

struct synth_clip {
    struct synth_look asked; /* what the prompt says */
    struct synth_scene scene;
    struct synth_fault faults[SYNTH_DIMENSIONS]; /* the kind of the alignment fault has no meaning */
};

/* Independent draws of one seed. */
enum synth_stream { SYNTH_TRAINING, SYNTH_TEST, SYNTH_TEST_PROMPTS, SYNTH_SHUFFLE };

/* The size and length of all clips. */
struct synth_format {
    int width, height, frames, fps;
};

/* What the prompt of a number asks for. */
struct synth_look synth_look_draw(uint64_t seed, enum synth_stream stream, uint32_t number);

/* The clip of a number that answers the prompt with faults of the given strengths, each in [0, 5). */
struct synth_clip synth_clip_draw(uint64_t seed, enum synth_stream stream, uint32_t number,
                                  const struct synth_format *format, const struct synth_look *asked,
                                  const int strengths[SYNTH_DIMENSIONS]);

/* From 1 (worst) to 5. */
int synth_score(const struct synth_clip *clip, enum synth_dimension dimension);

/* Appends what there is to say of one dimension: "The picture has slight blur." */
void synth_comment(const struct synth_clip *clip, enum synth_dimension dimension, struct text *comment);

/* Renders the clip into an MP4 file. */
enum status synth_clip_write(const struct synth_clip *clip, const char *path, struct error *err);

#endif
