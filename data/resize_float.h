/* torch's bicubic resize with antialias in f32, rounded to bytes at the end: what torchvision's first
 * transforms (and so qwen-vl-utils) do with 8-bit frames. Its second transforms, which the processors use,
 * work in fixed point (data/resize.h): a fifth of the bytes differ between the two, by 1 or 2 levels. */
#ifndef VS2_DATA_RESIZE_FLOAT_H
#define VS2_DATA_RESIZE_FLOAT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/sizes.h"

/* The weights along one axis: output i is the sum over k < counts[i] of values[i * taps + k] *
 * input[starts[i] + k]. */
struct resize_float_weights {
    int64_t length, taps;
    int32_t *starts, *counts; /* [length] */
    float *values;            /* [length * taps] */
};

enum status resize_float_weights_new(int64_t from, int64_t to, struct resize_float_weights *weights,
                                     struct error *err);
void resize_float_weights_free(struct resize_float_weights *weights);

struct resize_float;

/* As resize_new and resize_run; sizes have been checked. */
struct resize_float *resize_float_new(struct size from, struct size to, int channels, struct error *err);
void resize_float_free(struct resize_float *resize);
void resize_float_run(struct resize_float *resize, const uint8_t *source, size_t source_stride,
                      uint8_t *destination, size_t destination_stride);

#endif
