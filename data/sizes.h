/* How large a frame becomes: the arithmetic of the references, digit for digit. */
#ifndef VS2_DATA_SIZES_H
#define VS2_DATA_SIZES_H

#include <stdint.h>

#include "base/error.h"

struct size {
    int64_t width, height;
};

/* Sides and area of a picture that is read or made; larger ones are refused. */
enum { SIZE_MAX_SIDE = 1 << 15, SIZE_MAX_AREA = 1 << 26 };

/* STATUS_OK when both sides are in [1, SIZE_MAX_SIDE] and the area is at most SIZE_MAX_AREA. */
enum status size_check(struct size size, struct error *err);

/* The Qwen processor's smart_resize: both sides multiples of `factor`, the area in [min_pixels, max_pixels]
 * as well as that can be had, the aspect kept as nearly as possible. Sides are rounded half to even. An
 * aspect over 200 is an error. */
enum status size_smart(struct size from, int64_t factor, double min_pixels, double max_pixels,
                       struct size *to, struct error *err);

/* qwen-vl-utils' variant: a side is at least `factor` before the area is looked at, and may not vanish. */
enum status size_smart_qwen(struct size from, int64_t factor, double min_pixels, double max_pixels,
                            struct size *to, struct error *err);

/* LLaMA-Factory's resizes of a frame before the processor's, in order, each from the one before: over
 * max_pixels it shrinks, under min_pixels it grows (both cut to whole pixels), a side under 28 becomes 28, an
 * aspect over 200 becomes 180. Sets steps[0..*count), *count from 0 to SIZE_MAX_STEPS; the first *own of them
 * come before the picture is made RGB. */
enum { SIZE_MAX_STEPS = 5 };
enum status size_llamafactory(struct size from, double min_pixels, double max_pixels,
                              struct size steps[SIZE_MAX_STEPS], int *count, int *own, struct error *err);

#endif
