#include "data/resize.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/resize_weights.h"

/* The rows are filtered TILE rows at a time: pixels of the tile lie as [column][channel][row], so that the
 * compiler turns the innermost loops, over rows and over bytes of a row, into vector instructions. */
enum {
    TILE = 8,
    MAX_CHANNELS = 4,
    BLOCK = 128,
};

struct resize {
    enum resize_kind kind;
    struct size from, to;
    int channels;
    struct resize_weights across, down;
    int16_t *tile;   /* [from.width][channels][TILE] */
    uint8_t *middle; /* between the two passes */
};

/* The body of both passes is compiled twice on x86: for every machine, and with AVX2. */
#define INLINE static inline __attribute__((always_inline))

static bool columns_first(const struct resize *resize) {
    struct size from = resize->from;
    struct size to = resize->to;
    return resize->kind == RESIZE_PILLOW && to.height < from.height &&
           from.height - to.height > 2 * (from.width - to.width);
}

INLINE uint8_t to_byte(int32_t sum, int precision) {
    int32_t value = sum >> precision;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Rows past the last one repeat it. */
INLINE void load_tile(const struct resize *resize, const uint8_t *source, size_t stride, int64_t count) {
    size_t bytes = (size_t)resize->from.width * (size_t)resize->channels;
    const uint8_t *rows[TILE];
    for (int64_t i = 0; i < TILE; i++) rows[i] = source + (size_t)(i < count ? i : count - 1) * stride;
    for (size_t i = 0; i < bytes; i++)
        for (size_t row = 0; row < TILE; row++) resize->tile[i * TILE + row] = rows[row][i];
}

INLINE void filter_tile(const struct resize *resize, uint8_t *destination, size_t stride, int64_t count,
                        int channels) {
    const struct resize_weights *weights = &resize->across;
    const int lanes = channels * TILE;
    for (int64_t x = 0; x < weights->length; x++) {
        int32_t sums[MAX_CHANNELS * TILE];
        const int16_t *pixel = resize->tile + (int64_t)weights->starts[x] * lanes;
        const int32_t *values = weights->values + x * weights->taps;
        for (int i = 0; i < lanes; i++) sums[i] = 1 << (weights->precision - 1);
        for (int32_t k = 0; k < weights->counts[x]; k++)
            for (int i = 0; i < lanes; i++) sums[i] += values[k] * pixel[k * lanes + i];
        for (int64_t row = 0; row < count; row++)
            for (int c = 0; c < channels; c++)
                destination[(size_t)row * stride + (size_t)x * (size_t)channels + (size_t)c] =
                    to_byte(sums[c * TILE + row], weights->precision);
    }
}

INLINE void filter_across(const struct resize *resize, const uint8_t *source, size_t source_stride,
                          int64_t height, uint8_t *destination, size_t stride) {
    for (int64_t y = 0; y < height; y += TILE) {
        int64_t count = height - y < TILE ? height - y : TILE;
        uint8_t *to = destination + (size_t)y * stride;
        load_tile(resize, source + (size_t)y * source_stride, source_stride, count);
        if (resize->channels == 3)
            filter_tile(resize, to, stride, count, 3); /* the usual number, known to the compiler */
        else
            filter_tile(resize, to, stride, count, resize->channels);
    }
}

/* `width` bytes of one output row, from `count` rows above each other. */
INLINE void filter_row(const struct resize_weights *weights, int64_t y, const uint8_t *source, size_t stride,
                       uint8_t *destination, size_t width) {
    const int32_t *values = weights->values + y * weights->taps;
    source += (size_t)weights->starts[y] * stride;
    for (size_t x = 0; x < width; x += BLOCK) {
        int32_t sums[BLOCK];
        size_t length = width - x < BLOCK ? width - x : BLOCK;
        for (size_t i = 0; i < BLOCK; i++) sums[i] = 1 << (weights->precision - 1);
        for (int32_t k = 0; k < weights->counts[y]; k++) {
            const uint8_t *row = source + (size_t)k * stride + x;
            if (length == BLOCK)
                for (size_t i = 0; i < BLOCK; i++) sums[i] += values[k] * row[i];
            else
                for (size_t i = 0; i < length; i++) sums[i] += values[k] * row[i];
        }
        for (size_t i = 0; i < length; i++) destination[x + i] = to_byte(sums[i], weights->precision);
    }
}

INLINE void filter_down(const struct resize *resize, const uint8_t *source, size_t source_stride,
                        uint8_t *destination, size_t stride, size_t width) {
    for (int64_t y = 0; y < resize->to.height; y++)
        filter_row(&resize->down, y, source, source_stride, destination + (size_t)y * stride, width);
}

/* Rows first; Pillow, from 13 on, columns first where that leaves less to do. */
INLINE void run(const struct resize *resize, const uint8_t *source, size_t source_stride,
                uint8_t *destination, size_t stride) {
    struct size from = resize->from;
    struct size to = resize->to;
    size_t narrow = (size_t)to.width * (size_t)resize->channels;
    size_t wide = (size_t)from.width * (size_t)resize->channels;
    if (from.width == to.width && from.height == to.height) {
        for (int64_t y = 0; y < to.height; y++)
            memcpy(destination + (size_t)y * stride, source + (size_t)y * source_stride, narrow);
    } else if (from.height == to.height) {
        filter_across(resize, source, source_stride, to.height, destination, stride);
    } else if (from.width == to.width) {
        filter_down(resize, source, source_stride, destination, stride, narrow);
    } else if (columns_first(resize)) {
        filter_down(resize, source, source_stride, resize->middle, wide, wide);
        filter_across(resize, resize->middle, wide, to.height, destination, stride);
    } else {
        filter_across(resize, source, source_stride, from.height, resize->middle, narrow);
        filter_down(resize, resize->middle, narrow, destination, stride, narrow);
    }
}

static void run_portable(const struct resize *resize, const uint8_t *source, size_t source_stride,
                         uint8_t *destination, size_t stride) {
    run(resize, source, source_stride, destination, stride);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void run_avx2(const struct resize *resize, const uint8_t *source,
                                                     size_t source_stride, uint8_t *destination,
                                                     size_t stride) {
    run(resize, source, source_stride, destination, stride);
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}
#else
static void run_avx2(const struct resize *resize, const uint8_t *source, size_t source_stride,
                     uint8_t *destination, size_t stride) {
    run(resize, source, source_stride, destination, stride);
}

static bool has_avx2(void) {
    return false;
}
#endif

/* Pillow's: the pixel that holds the centre, found by adding up steps, whose rounding counts. */
static void run_nearest(const struct resize *resize, const uint8_t *source, size_t source_stride,
                        uint8_t *destination, size_t stride) {
    struct size from = resize->from;
    double across = (double)from.width / (double)resize->to.width;
    double down = (double)from.height / (double)resize->to.height;
    size_t channels = (size_t)resize->channels;
    double at_y = down * 0.5;
    for (int64_t y = 0; y < resize->to.height; y++, at_y += down) {
        int64_t row = (int64_t)at_y < from.height ? (int64_t)at_y : from.height - 1;
        double at_x = across * 0.5;
        for (int64_t x = 0; x < resize->to.width; x++, at_x += across) {
            int64_t column = (int64_t)at_x < from.width ? (int64_t)at_x : from.width - 1;
            memcpy(destination + (size_t)y * stride + (size_t)x * channels,
                   source + (size_t)row * source_stride + (size_t)column * channels, channels);
        }
    }
}

struct resize *resize_new(enum resize_kind kind, struct size from, struct size to, int channels,
                          struct error *err) {
    if (size_check(from, err) || size_check(to, err)) return NULL;
    struct resize *resize = memory_new(1, sizeof *resize, "resize", err);
    if (!resize) return NULL;
    *resize = (struct resize){.kind = kind, .from = from, .to = to, .channels = channels};
    if (kind == RESIZE_NEAREST) return resize;

    size_t width = (size_t)from.width * (size_t)channels;
    size_t middle = columns_first(resize) ? width * (size_t)to.height
                                          : (size_t)to.width * (size_t)channels * (size_t)from.height;
    resize->tile = memory_new(width * TILE, sizeof *resize->tile, "resize", err);
    resize->middle = memory_new(middle, 1, "resize", err);
    if (!resize->tile || !resize->middle ||
        resize_weights_new(kind, from.width, to.width, &resize->across, err) ||
        resize_weights_new(kind, from.height, to.height, &resize->down, err)) {
        resize_free(resize);
        return NULL;
    }
    return resize;
}

void resize_free(struct resize *resize) {
    if (!resize) return;
    resize_weights_free(&resize->across);
    resize_weights_free(&resize->down);
    free(resize->tile);
    free(resize->middle);
    free(resize);
}

void resize_run(struct resize *resize, const uint8_t *source, size_t source_stride, uint8_t *destination,
                size_t destination_stride) {
    if (resize->kind == RESIZE_NEAREST)
        run_nearest(resize, source, source_stride, destination, destination_stride);
    else if (has_avx2())
        run_avx2(resize, source, source_stride, destination, destination_stride);
    else
        run_portable(resize, source, source_stride, destination, destination_stride);
}
