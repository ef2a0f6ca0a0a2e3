/* A frame's way from its decoded size to patches: a chain of resizes, then the patches' rows. */
#ifndef VS2_DATA_FRAME_STEPS_H
#define VS2_DATA_FRAME_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/patches.h"
#include "data/picture.h"
#include "data/resize.h"

enum { FRAME_MAX_STEPS = SIZE_MAX_STEPS + 2 };

struct frame_step {
    enum resize_kind kind;
    struct size to;
    bool own_colours; /* done with the picture's own alpha or palette; later steps see RGB */
};

/* The plan for frames of one size. */
struct frame_steps {
    struct size from;
    struct frame_step steps[FRAME_MAX_STEPS];
    int count;
    bool white; /* alpha is laid on white; else it is dropped */
};

/* The size after the last step. */
struct size frame_steps_result(const struct frame_steps *steps);

/* Runs the chain on pictures of steps->from; keeps the resize plans between frames. */
struct frame_resizer;
struct frame_resizer *frame_resizer_new(const struct frame_steps *steps, struct error *err);
void frame_resizer_free(struct frame_resizer *resizer);

/* *result is RGB and stays valid until the next call or the end of `picture`. */
enum status frame_resize(struct frame_resizer *resizer, const struct picture *picture,
                         const struct picture **result, struct error *err);

#endif
