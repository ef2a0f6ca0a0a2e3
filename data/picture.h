/* An 8-bit picture in memory. */
#ifndef VS2_DATA_PICTURE_H
#define VS2_DATA_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/sizes.h"

struct picture {
    struct size size;
    int channels;  /* 3: RGB, 4: RGB and straight alpha */
    bool palette;  /* it came from a palette, whose colours Pillow does not mix when it resizes */
    size_t stride; /* bytes from row to row */
    uint8_t *pixels;
};

/* Sizes that are absurd are refused (size_check). The pixels are not initialised. */
enum status picture_new(struct size size, int channels, struct picture *picture, struct error *err);
void picture_free(struct picture *picture);

/* Turns the picture clockwise by quarters (0 to 3), after mirroring it left to right when `mirror`. */
enum status picture_turn(const struct picture *from, int quarters, bool mirror, struct picture *to,
                         struct error *err);

/* The three colours alone: alpha is dropped, or laid on white. Replaces the pixels in place. */
void picture_drop_alpha(struct picture *picture, bool on_white);

/* Straight alpha to colours multiplied by it and back, with Pillow's rounding, in place. */
void picture_multiply_alpha(struct picture *picture);
void picture_divide_alpha(struct picture *picture);

#endif
