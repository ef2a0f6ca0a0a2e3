#include "data/picture.h"

#include <stdlib.h>

/* What swscale's widest stores want of a row; and pixels that it takes at once: of a row without room for all
 * of its last block the columns of that block are not written at all. */
enum { ALIGNMENT = 64, BLOCK = 32 };

static size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

enum status picture_new(struct size size, int channels, struct picture *picture, struct error *err) {
    if (size_check(size, err)) return STATUS_FAILED;
    size_t stride = round_up(round_up((size_t)size.width, BLOCK) * (size_t)channels, ALIGNMENT);
    size_t bytes = stride * (size_t)size.height + ALIGNMENT;
    uint8_t *pixels = aligned_alloc(ALIGNMENT, bytes);
    if (!pixels) return error_no_memory(err, "out of memory for a picture (%zu bytes)", bytes);
    *picture = (struct picture){.size = size, .channels = channels, .stride = stride, .pixels = pixels};
    return STATUS_OK;
}

void picture_free(struct picture *picture) {
    free(picture->pixels);
    *picture = (struct picture){0};
}

static void copy_pixel(const uint8_t *from, uint8_t *to, int channels) {
    for (int c = 0; c < channels; c++) to[c] = from[c];
}

enum status picture_turn(const struct picture *from, int quarters, bool mirror, struct picture *to,
                         struct error *err) {
    struct size size = from->size;
    if (quarters % 2) size = (struct size){.width = from->size.height, .height = from->size.width};
    if (picture_new(size, from->channels, to, err)) return STATUS_FAILED;
    to->palette = from->palette;
    int64_t last_x = from->size.width - 1;
    int64_t last_y = from->size.height - 1;
    for (int64_t y = 0; y < size.height; y++)
        for (int64_t x = 0; x < size.width; x++) {
            int64_t u = x;
            int64_t v = y;
            if (quarters == 1) {
                u = y;
                v = last_y - x;
            }
            if (quarters == 2) {
                u = last_x - x;
                v = last_y - y;
            }
            if (quarters == 3) {
                u = last_x - y;
                v = x;
            }
            if (mirror) u = last_x - u;
            copy_pixel(from->pixels + (size_t)v * from->stride + (size_t)u * (size_t)from->channels,
                       to->pixels + (size_t)y * to->stride + (size_t)x * (size_t)to->channels,
                       from->channels);
        }
    return STATUS_OK;
}

/* a * b / 255, rounded as Pillow does. */
static uint8_t product(int a, int b) {
    int value = a * b + 128;
    return (uint8_t)(((value >> 8) + value) >> 8);
}

void picture_drop_alpha(struct picture *picture, bool on_white) {
    if (picture->channels != 4) return;
    for (int64_t y = 0; y < picture->size.height; y++) {
        uint8_t *row = picture->pixels + (size_t)y * picture->stride;
        for (int64_t x = 0; x < picture->size.width; x++) {
            uint8_t alpha = row[4 * x + 3];
            for (int c = 0; c < 3; c++) {
                int colour = row[4 * x + c];
                if (on_white) {
                    int value = colour * alpha + 255 * (255 - alpha) + 128;
                    colour = ((value >> 8) + value) >> 8;
                }
                row[3 * x + c] = (uint8_t)colour;
            }
        }
    }
    picture->channels = 3;
}

void picture_multiply_alpha(struct picture *picture) {
    for (int64_t y = 0; y < picture->size.height; y++) {
        uint8_t *row = picture->pixels + (size_t)y * picture->stride;
        for (int64_t x = 0; x < picture->size.width; x++)
            for (int c = 0; c < 3; c++) row[4 * x + c] = product(row[4 * x + c], row[4 * x + 3]);
    }
}

void picture_divide_alpha(struct picture *picture) {
    for (int64_t y = 0; y < picture->size.height; y++) {
        uint8_t *row = picture->pixels + (size_t)y * picture->stride;
        for (int64_t x = 0; x < picture->size.width; x++) {
            int alpha = row[4 * x + 3];
            if (alpha == 0 || alpha == 255) continue;
            for (int c = 0; c < 3; c++) {
                int colour = 255 * row[4 * x + c] / alpha;
                row[4 * x + c] = (uint8_t)(colour > 255 ? 255 : colour);
            }
        }
    }
}
