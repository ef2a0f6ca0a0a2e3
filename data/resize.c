#include "data/resize.h"

#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/memory.h"
#include "data/resize_float.h"
#include "data/resize_weights.h"

/* Both passes are made of one kernel, which mixes runs of LANES bytes. Down the columns a run lies in a row
 * of the picture. Across the rows LANES rows are first turned so that the bytes of a column lie together:
 * [column][channel][row]. */
enum { LANES = 16, TURN = 8 };

struct resize {
    enum resize_kind kind;
    struct size from, to;
    int channels;
    struct resize_weights across, down;
    uint8_t *tile;              /* [from.width][channels][LANES] */
    uint8_t *result;            /* [to.width][channels][LANES] */
    uint8_t *middle;            /* between the two passes */
    struct resize_float *exact; /* of RESIZE_FLOAT, which uses nothing of the above but the kind */
};

bool resize_columns_first(enum resize_kind kind, struct size from, struct size to) {
    return kind == RESIZE_PILLOW && to.height < from.height &&
           from.height - to.height > 2 * (from.width - to.width);
}

/* Without branches, so that it becomes vector instructions. */
static inline uint8_t to_byte(int32_t sum, int precision) {
    int32_t value = sum >> precision;
    value = value > 0 ? value : 0;
    value = value < 255 ? value : 255;
    return (uint8_t)value;
}

/* `length` bytes, at most LANES, of output i; those of input k lie at source + k * step. */
static inline void mix_some(const struct resize_weights *weights, int64_t i, const uint8_t *source,
                            size_t step, uint8_t *to, size_t length) {
    const int16_t *low = weights->low + i * weights->taps;
    const int16_t *high = weights->high ? weights->high + i * weights->taps : NULL;
    int32_t sums[LANES];
    for (size_t lane = 0; lane < length; lane++) sums[lane] = 1 << (weights->precision - 1);
    for (int32_t k = 0; k < weights->counts[i]; k++) {
        int32_t weight = low[k] + (high ? high[k] * (1 << RESIZE_HIGH_SHIFT) : 0);
        for (size_t lane = 0; lane < length; lane++) sums[lane] += weight * source[(size_t)k * step + lane];
    }
    for (size_t lane = 0; lane < length; lane++) to[lane] = to_byte(sums[lane], weights->precision);
}

#if defined(__SSE2__)
/* Four sums of LANES / 4. */
struct sums {
    __m128i parts[4];
};

static inline int32_t pair(const int16_t *weights) {
    int32_t both;
    memcpy(&both, weights, sizeof both);
    return both;
}

/* Adds weights[0] * a + weights[1] * b. */
static inline void add_pair(struct sums *sums, const int16_t *weights, __m128i a, __m128i b) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i both = _mm_set1_epi32(pair(weights));
    __m128i first = _mm_unpacklo_epi8(a, b);
    __m128i second = _mm_unpackhi_epi8(a, b);
    sums->parts[0] = _mm_add_epi32(sums->parts[0], _mm_madd_epi16(_mm_unpacklo_epi8(first, zero), both));
    sums->parts[1] = _mm_add_epi32(sums->parts[1], _mm_madd_epi16(_mm_unpackhi_epi8(first, zero), both));
    sums->parts[2] = _mm_add_epi32(sums->parts[2], _mm_madd_epi16(_mm_unpacklo_epi8(second, zero), both));
    sums->parts[3] = _mm_add_epi32(sums->parts[3], _mm_madd_epi16(_mm_unpackhi_epi8(second, zero), both));
}

static inline void add_all(struct sums *sums, const int16_t *weights, int32_t count, const uint8_t *source,
                           size_t step) {
    for (int32_t k = 0; k < count; k += 2) {
        const uint8_t *at = source + (size_t)k * step;
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i b = k + 1 < count ? _mm_loadu_si128((const __m128i *)(const void *)(at + step)) : a;
        add_pair(sums, weights + k, a, b);
    }
}

/* As mix_some, for LANES bytes. The weight past an odd count is 0. */
static inline void mix(const struct resize_weights *weights, int64_t i, const uint8_t *source, size_t step,
                       uint8_t *to) {
    const __m128i shift = _mm_cvtsi32_si128(weights->precision);
    struct sums sums;
    for (int part = 0; part < 4; part++) sums.parts[part] = _mm_setzero_si128();
    if (weights->high) {
        add_all(&sums, weights->high + i * weights->taps, weights->counts[i], source, step);
        for (int part = 0; part < 4; part++)
            sums.parts[part] = _mm_slli_epi32(sums.parts[part], RESIZE_HIGH_SHIFT);
    }
    add_all(&sums, weights->low + i * weights->taps, weights->counts[i], source, step);
    for (int part = 0; part < 4; part++) {
        __m128i rounded = _mm_add_epi32(sums.parts[part], _mm_set1_epi32(1 << (weights->precision - 1)));
        sums.parts[part] = _mm_sra_epi32(rounded, shift);
    }
    __m128i first = _mm_packs_epi32(sums.parts[0], sums.parts[1]);
    __m128i second = _mm_packs_epi32(sums.parts[2], sums.parts[3]);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packus_epi16(first, second));
}
#else
static inline void mix(const struct resize_weights *weights, int64_t i, const uint8_t *source, size_t step,
                       uint8_t *to) {
    mix_some(weights, i, source, step, to, LANES);
}
#endif

/* ---- across the rows ---- */

/* Swaps rows and columns of 8 x 8 bytes: blocks of 4, then of 2, then single bytes change places. */
static inline void transpose(uint64_t rows[TURN]) {
    static const uint64_t masks[] = {0x00000000ffffffff, 0x0000ffff0000ffff, 0x00ff00ff00ff00ff};
    for (int stage = 0; stage < 3; stage++) {
        int step = 4 >> stage;
        for (int i = 0; i < TURN; i++) {
            if (i & step) continue;
            uint64_t moved = (rows[i] >> (8 * step) ^ rows[i + step]) & masks[stage];
            rows[i + step] ^= moved;
            rows[i] ^= moved << (8 * step);
        }
    }
}

/* `bytes` of `count` rows, at most TURN, into columns LANES apart. Rows past the last one repeat it. */
static void turn_in(const uint8_t *source, size_t stride, int64_t count, size_t bytes, uint8_t *tile) {
    const uint8_t *rows[TURN];
    for (int64_t i = 0; i < TURN; i++) rows[i] = source + (size_t)(i < count ? i : count - 1) * stride;
    size_t at = 0;
    for (; at + TURN <= bytes; at += TURN) {
        uint64_t block[TURN];
        for (int row = 0; row < TURN; row++) memcpy(&block[row], rows[row] + at, TURN);
        transpose(block);
        for (size_t i = 0; i < TURN; i++) memcpy(tile + (at + i) * LANES, &block[i], TURN);
    }
    for (; at < bytes; at++)
        for (size_t row = 0; row < TURN; row++) tile[at * LANES + row] = rows[row][at];
}

static void turn_out(const uint8_t *tile, size_t bytes, uint8_t *to, size_t stride, int64_t count) {
    size_t at = 0;
    for (; at + TURN <= bytes; at += TURN) {
        uint64_t block[TURN];
        for (size_t i = 0; i < TURN; i++) memcpy(&block[i], tile + (at + i) * LANES, TURN);
        transpose(block);
        for (int64_t row = 0; row < count; row++) memcpy(to + (size_t)row * stride + at, &block[row], TURN);
    }
    for (; at < bytes; at++)
        for (int64_t row = 0; row < count; row++)
            to[(size_t)row * stride + at] = tile[at * LANES + (size_t)row];
}

static void mix_tile(const struct resize *resize) {
    const struct resize_weights *weights = &resize->across;
    int64_t channels = resize->channels;
    size_t step = (size_t)channels * LANES;
    for (int64_t x = 0; x < weights->length; x++) {
        const uint8_t *source = resize->tile + (size_t)weights->starts[x] * step;
        for (int64_t c = 0; c < channels; c++)
            mix(weights, x, source + c * LANES, step, resize->result + (x * channels + c) * LANES);
    }
}

static void filter_across(const struct resize *resize, const uint8_t *source, size_t source_stride,
                          int64_t height, uint8_t *destination, size_t stride) {
    size_t bytes = (size_t)resize->from.width * (size_t)resize->channels;
    size_t to_bytes = (size_t)resize->to.width * (size_t)resize->channels;
    for (int64_t y = 0; y < height; y += LANES) {
        int64_t left = height - y;
        int64_t first = left < TURN ? left : TURN;
        int64_t second = left - first < TURN ? left - first : TURN;
        const uint8_t *from = source + (size_t)y * source_stride;
        uint8_t *to = destination + (size_t)y * stride;
        turn_in(from, source_stride, first, bytes, resize->tile);
        if (second > 0)
            turn_in(from + TURN * source_stride, source_stride, second, bytes, resize->tile + TURN);
        mix_tile(resize);
        turn_out(resize->result, to_bytes, to, stride, first);
        if (second > 0) turn_out(resize->result + TURN, to_bytes, to + TURN * stride, stride, second);
    }
}

/* ---- down the columns ---- */

static void filter_down(const struct resize *resize, const uint8_t *source, size_t source_stride,
                        uint8_t *destination, size_t stride, size_t width) {
    const struct resize_weights *weights = &resize->down;
    for (int64_t y = 0; y < weights->length; y++) {
        const uint8_t *from = source + (size_t)weights->starts[y] * source_stride;
        uint8_t *to = destination + (size_t)y * stride;
        size_t x = 0;
        for (; x + LANES <= width; x += LANES) mix(weights, y, from + x, source_stride, to + x);
        mix_some(weights, y, from + x, source_stride, to + x, width - x);
    }
}

/* ---- both ---- */

static void run_bicubic(const struct resize *resize, const uint8_t *source, size_t source_stride,
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
    } else if (resize_columns_first(resize->kind, from, to)) {
        filter_down(resize, source, source_stride, resize->middle, wide, wide);
        filter_across(resize, resize->middle, wide, to.height, destination, stride);
    } else {
        filter_across(resize, source, source_stride, from.height, resize->middle, narrow);
        filter_down(resize, resize->middle, narrow, destination, stride, narrow);
    }
}

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
    if (kind == RESIZE_FLOAT) {
        resize->exact = resize_float_new(from, to, channels, err);
        if (resize->exact) return resize;
        free(resize);
        return NULL;
    }

    size_t width = (size_t)from.width * (size_t)channels;
    size_t middle = resize_columns_first(kind, from, to)
                        ? width * (size_t)to.height
                        : (size_t)to.width * (size_t)channels * (size_t)from.height;
    resize->tile = memory_new(width * LANES, 1, "resize", err);
    resize->middle = memory_new(middle, 1, "resize", err);
    resize->result = memory_new((size_t)to.width * (size_t)channels * LANES, 1, "resize", err);
    if (!resize->tile || !resize->result || !resize->middle ||
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
    resize_float_free(resize->exact);
    free(resize->tile);
    free(resize->result);
    free(resize->middle);
    free(resize);
}

void resize_run(struct resize *resize, const uint8_t *source, size_t source_stride, uint8_t *destination,
                size_t destination_stride) {
    if (resize->kind == RESIZE_NEAREST)
        run_nearest(resize, source, source_stride, destination, destination_stride);
    else if (resize->kind == RESIZE_FLOAT)
        resize_float_run(resize->exact, source, source_stride, destination, destination_stride);
    else
        run_bicubic(resize, source, source_stride, destination, destination_stride);
}
