/* Bicubic resize of 8-bit pictures, equal bit for bit to the two references: fixed-point weights, the rows
 * first, rounded to 8 bits, then the columns; and torch's in f32, equal but for rare ties. */
#ifndef VS2_DATA_RESIZE_H
#define VS2_DATA_RESIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/sizes.h"

enum resize_kind {
    RESIZE_PILLOW,  /* Pillow's Image.resize(BICUBIC): weights of 22 bits */
    RESIZE_TORCH,   /* torch's bicubic with antialias on bytes: weights of 16 bits in all */
    RESIZE_FLOAT,   /* torch's in f32: data/resize_float.h */
    RESIZE_NEAREST, /* Pillow's for pictures with a palette */
};

/* A plan from one size to another; it holds scratch memory, so one thread at a time uses it. */
struct resize;

/* Whether the columns are filtered before the rows: Pillow, from 13 on, where that leaves less to do. */
bool resize_columns_first(enum resize_kind kind, struct size from, struct size to);

/* `channels` (1 to 4) bytes lie together for each pixel. NULL with err set when sizes are not supported or
 * memory is short. */
struct resize *resize_new(enum resize_kind kind, struct size from, struct size to, int channels,
                          struct error *err);
void resize_free(struct resize *resize);

/* Strides are bytes from row to row. Source and destination may not overlap. */
void resize_run(struct resize *resize, const uint8_t *source, size_t source_stride, uint8_t *destination,
                size_t destination_stride);

#endif
