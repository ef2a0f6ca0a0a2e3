/* What the forward and the backward kernels of attention share: packing of keys and values, the tile of
 * scores, powers of two. */
#ifndef VS2_TENSOR_CPU_KERNELS_ATTENTION_TILE_H
#define VS2_TENSOR_CPU_KERNELS_ATTENTION_TILE_H

#include <string.h>

#include "tensor/cpu/kernels/attention.h"
#include "tensor/cpu/kernels/pairs.h"

/* A tile is TILE_ROWS x 2 vectors of sums, which fill the registers but for two loads and a broadcast. */
#if defined(__AVX512F__)
enum { TILE_ROWS = 12 };
#else
enum { TILE_ROWS = 6 };
#endif
enum {
    LANES = VECTOR_LANES,
    PANEL = 2 * LANES,
    STRIDE = ATTENTION_STRIDE,
    KEYS = ATTENTION_KEYS,
    VALUE_PANEL = KEYS * PANEL + 16,
    AHEAD = 8
};

typedef float four __attribute__((vector_size(16)));
typedef uint16_t four_halves __attribute__((vector_size(8)));
typedef uint32_t four_words __attribute__((vector_size(16)));
typedef float four_at __attribute__((vector_size(16), aligned(4), may_alias));

/* Four of the eight elements of a and b; gcc knows clang's name only from version 12 on. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (four_words){__VA_ARGS__})
#endif

static inline vector load_vector(const float *from) {
    return *(const vector_at *)from;
}
static inline void store_vector(float *to, vector v) {
    *(vector_at *)to = v;
}

/* 2^x for x <= 0, within 2 units in the last place, 0 below -126; NaN stays NaN. x = n + r, 2^r = 1 + r p(r)
 * with a minimax p; the sum with 1.5 * 2^23 holds n in its low bits. */
static inline vector exp2_vector(vector x) {
    vector shifted = x + 0x1.8p23f;
    vector r = x - (shifted - 0x1.8p23f);
    vector p = r * 1.326472382e-03f + 9.671512991e-03f;
    p = p * r + 5.550733581e-02f;
    p = p * r + 2.402224243e-01f;
    p = p * r + 6.931470037e-01f;
    p = p * r + 1.0f;
    vector_words scale = ((vector_words)shifted << 23) + 0x3f800000u;
    vector_words lost = (vector_words)(x < -126.0f);
    return (vector)((vector_words)(p * (vector)scale) & ~lost);
}

/* ---- Packing ----------------------------------------------------------------------------------------- */

static inline four load_four(const void *row, enum dtype kind, int64_t at) {
    four values;
    if (kind == DTYPE_F32) {
        memcpy(&values, (const float *)row + at, sizeof values);
        return values;
    }
    four_halves halves;
    memcpy(&halves, (const uint16_t *)row + at, sizeof halves);
    return (four)(__builtin_convertvector(halves, four_words) << 16);
}

/* The rows of a head lie apart, each in a page of its own: too far for the processor to foresee. */
static inline void prefetch_row(const char *row, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

/* Keys, transposed: to[panel][i][j] = key[panel * PANEL + j][i], zero past the last key. */
static inline void pack_keys(float *to, const char *from, size_t row_bytes, enum dtype kind, int keys,
                             int head_dim) {
    for (int k = 0; k < keys || k % PANEL; k += 4) {
        float *column = to + (k / PANEL) * PANEL * head_dim + k % PANEL;
        const char *row = from + (size_t)k * row_bytes;
        for (int i = 0; i < 4; i++)
            prefetch_row(row + (size_t)(AHEAD + i) * row_bytes, (size_t)head_dim * dtype_size(kind));
        for (int i = 0; i < head_dim; i += 4) {
            four a = {0}, b = {0}, c = {0}, d = {0};
            if (k + 0 < keys) a = load_four(row, kind, i);
            if (k + 1 < keys) b = load_four(row + row_bytes, kind, i);
            if (k + 2 < keys) c = load_four(row + 2 * row_bytes, kind, i);
            if (k + 3 < keys) d = load_four(row + 3 * row_bytes, kind, i);
            four ab_low = SHUFFLE(a, b, 0, 4, 1, 5);
            four ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
            four cd_low = SHUFFLE(c, d, 0, 4, 1, 5);
            four cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
            float *at = column + i * PANEL;
            *(four_at *)at = SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
            *(four_at *)(at + PANEL) = SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
            *(four_at *)(at + 2 * PANEL) = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
            *(four_at *)(at + 3 * PANEL) = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
        }
    }
}

/* Values: to[panel][k][j] = value[k][panel * PANEL + j], zero past the last column. */
static inline void pack_values(float *to, const char *from, size_t row_bytes, enum dtype kind, int keys,
                               int head_dim) {
    int width = (head_dim + LANES - 1) / LANES * LANES;
    for (int k = 0; k < keys; k++) {
        const char *row = from + (size_t)k * row_bytes;
        prefetch_row(row + AHEAD * row_bytes, (size_t)head_dim * dtype_size(kind));
        for (int i = 0; i < width; i += 4) {
            float *at = to + (i / PANEL) * VALUE_PANEL + k * PANEL + i % PANEL;
            *(four_at *)at = i < head_dim ? load_four(row, kind, i) : (four){0};
        }
    }
}

/* Columns of ATTENTION_PAIRS are pairs of neighbours in a row, which lie there as words. */
static inline void pack_key_columns(float *to, const char *from, size_t row_bytes, enum dtype kind, int keys,
                                    int head_dim, enum attention_form form) {
    if (form == ATTENTION_PAIRS)
        pack_keys(to, from, row_bytes, DTYPE_F32, keys, head_dim / 2);
    else
        pack_keys(to, from, row_bytes, kind, keys, head_dim);
}

static const uint16_t zero_row[ATTENTION_WIDTH]; /* beside a last row without a neighbour */

/* Two rows of bf16 as one of pairs, zeros behind them up to `width`. */
static inline void pair_rows(uint32_t *restrict to, const uint16_t *restrict a, const uint16_t *restrict b,
                             int count, int width) {
#pragma omp simd
    for (int i = 0; i < count; i++) to[i] = a[i] | (uint32_t)b[i] << 16;
    for (int i = count; i < width; i++) to[i] = 0;
}

/* The values of two keys a step: to[panel][k / 2][j] = pair of value[k][panel * PANEL + j] and the next. */
static inline void pack_value_pairs(float *to, const char *from, size_t row_bytes, int keys, int head_dim) {
    for (int k = 0; k < keys; k += 2) {
        const char *row = from + (size_t)k * row_bytes;
        prefetch_row(row + AHEAD * row_bytes, (size_t)head_dim * 2);
        prefetch_row(row + (AHEAD + 1) * row_bytes, (size_t)head_dim * 2);
        for (int i = 0; i < head_dim; i += PANEL) {
            int count = head_dim - i < PANEL ? head_dim - i : PANEL;
            const uint16_t *a = (const uint16_t *)(const void *)row + i;
            const uint16_t *b =
                k + 1 < keys ? (const uint16_t *)(const void *)(row + row_bytes) + i : zero_row;
            uint32_t *at = (uint32_t *)(void *)(to + (i / PANEL) * VALUE_PANEL + k / 2 * PANEL);
            pair_rows(at, a, b, count, (count + LANES - 1) / LANES * LANES);
        }
    }
}

static inline void pack_value_rows(float *to, const char *from, size_t row_bytes, enum dtype kind, int keys,
                                   int head_dim, enum attention_form form) {
    if (form == ATTENTION_PAIRS)
        pack_value_pairs(to, from, row_bytes, keys, head_dim);
    else
        pack_values(to, from, row_bytes, kind, keys, head_dim);
}

/* ---- Tiles: `rows`, `both` and `form` are constants once inlined --------------------------------------- */

/* sum += v times one factor: an element, or a pair of them. */
static inline __attribute__((always_inline)) vector add_product(vector sum, vector v, const float *factor,
                                                                const enum attention_form form) {
    if (form == ATTENTION_FLOATS) return sum + v * *factor;
    uint32_t pair;
    memcpy(&pair, factor, sizeof pair);
    return add_pairs(sum, (vector_words)v, (vector_words){0} + pair);
}

/* scores[r][j] = q[r] . key[j] for a panel's keys; `terms` elements, or pairs. */
static inline __attribute__((always_inline)) void score_tile(float *scores, const float *q, const float *key,
                                                             int terms, const int rows,
                                                             const enum attention_form form) {
    vector sum[TILE_ROWS][2] = {0};
    for (int i = 0; i < terms; i++) {
        vector low = load_vector(key + i * PANEL), high = load_vector(key + i * PANEL + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            sum[r][0] = add_product(sum[r][0], low, q + r * STRIDE + i, form);
            sum[r][1] = add_product(sum[r][1], high, q + r * STRIDE + i, form);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        store_vector(scores + r * KEYS, sum[r][0]);
        store_vector(scores + r * KEYS + LANES, sum[r][1]);
    }
}

/* The height of the next tile: two tiles share evenly what one cannot hold. */
static inline int tile_height(int left) {
    return left <= TILE_ROWS ? left : left < 2 * TILE_ROWS ? (left + 1) / 2 : TILE_ROWS;
}

#endif
