#include "tensor/cpu/kernels/gemm.h"

#include <string.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/pairs.h"

/* The depth goes by steps of two vectors of f32. In GEMM_SPLIT a vector of bf16 pairs becomes two of f32, the
 * even elements by a shift and the odd ones by a mask, without a shuffle; the other factor is packed in that
 * order beforehand. In GEMM_PAIRS both factors are vectors of pairs, and a step is one of them. */
enum { STEP = 2 * VECTOR_LANES };

static enum gemm_form form(enum dtype rows, enum dtype weights) {
    if (weights == DTYPE_F32) return GEMM_F32;
    return PAIRS && rows == DTYPE_BF16 ? GEMM_PAIRS : GEMM_SPLIT;
}

static void pack(float *packed, const void *row, enum dtype kind, int64_t depth, enum gemm_form form) {
    if (form == GEMM_PAIRS) {
        size_t bytes = (size_t)depth * 2, whole = (size_t)((depth + STEP - 1) / STEP) * STEP * 2;
        memcpy(packed, row, bytes);
        memset((char *)packed + bytes, 0, whole - bytes);
        return;
    }
    for (int64_t k = 0; k < depth; k += STEP) {
        int64_t length = depth - k < STEP ? depth - k : STEP;
        float step[STEP] = {0};
        block_load(step, row, kind, k, length);
        if (form == GEMM_F32) {
            memcpy(packed + k, step, sizeof step);
        } else {
            for (int i = 0; i < VECTOR_LANES; i++) {
                packed[k + i] = step[2 * i];
                packed[k + VECTOR_LANES + i] = step[2 * i + 1];
            }
        }
    }
}

/* Half `part` (0 or 1) of a step of weights. */
static inline vector weights_half(const char *at, enum gemm_form form, int part) {
    if (form == GEMM_F32) return *(const vector_at *)(at + part * VECTOR_BYTES);
    vector_words words = *(const vector_words_at *)at;
    return (vector)(part ? words & 0xffff0000u : words << 16);
}

enum { MOST = 24 }; /* sums of a tile */

/* Weights are asked for into the second-level cache this many bytes before they are read, line after line:
 * it has far more requests under way than the first-level cache, and sees that they follow each other. */
enum { AHEAD = 16384, LINE = 64 };

/* One step of the depth: every sum of the tile grows by its rows' products. `packed` and `weights` are where
 * the step begins; packed_bytes and weights_bytes lie between two of their rows. */
static inline __attribute__((always_inline)) void tile_step(vector sums[MOST], const char *packed,
                                                            int64_t packed_bytes, const char *weights,
                                                            int64_t weights_bytes, enum gemm_form form, int m,
                                                            int n) {
    if (form == GEMM_PAIRS) {
        vector_words w[MOST];
        for (int j = 0; j < n; j++) w[j] = *(const vector_words_at *)(weights + j * weights_bytes);
        for (int i = 0; i < m; i++) {
            vector_words a = *(const vector_words_at *)(packed + i * packed_bytes);
            for (int j = 0; j < n; j++) sums[i * n + j] = add_pairs(sums[i * n + j], a, w[j]);
        }
        return;
    }
    for (int part = 0; part < 2; part++) {
        vector w[MOST];
        for (int j = 0; j < n; j++) w[j] = weights_half(weights + j * weights_bytes, form, part);
        for (int i = 0; i < m; i++) {
            vector a = *(const vector_at *)(packed + i * packed_bytes + part * VECTOR_BYTES);
            for (int j = 0; j < n; j++) sums[i * n + j] += a * w[j];
        }
    }
}

/* A tile of the product, m rows by n columns, in registers: m, n and the form are constants where this is
 * inlined. Each element is one vector of partial sums, whatever the tile, so that its bits are the same in
 * all. */
static inline __attribute__((always_inline)) void tile(float *product, int64_t product_stride,
                                                       const float *packed, int64_t packed_stride,
                                                       const char *weights, int64_t weights_bytes,
                                                       int64_t depth, enum gemm_form form, int m, int n) {
    const int element = form == GEMM_F32 ? 4 : 2, packed_step = form == GEMM_PAIRS ? STEP * 2 : STEP * 4;
    const int64_t packed_bytes = packed_stride * 4;
    vector sums[MOST];
    for (int i = 0; i < m * n; i++) sums[i] = (vector){0};

    int64_t full = depth / STEP;
    const char *row = (const char *)packed, *at = weights, *ahead = weights + AHEAD;
    for (int64_t k = 0; k < full; k++, row += packed_step, at += STEP * element) {
        for (int j = 0; j < n * STEP * element / LINE; j++, ahead += LINE) __builtin_prefetch(ahead, 0, 2);
        tile_step(sums, row, packed_bytes, at, weights_bytes, form, m, n);
    }
    if (full * STEP < depth) {
        char last[MOST][STEP * 4] = {0};
        for (int j = 0; j < n; j++)
            memcpy(last[j], at + j * weights_bytes, (size_t)((depth - full * STEP) * element));
        tile_step(sums, row, packed_bytes, last[0], sizeof last[0], form, m, n);
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) product[i * product_stride + j] = vector_sum(sums[i * n + j]);
}

struct strip {
    float *product;
    int64_t product_stride;
    const float *packed;
    int64_t packed_stride;
    const char *weights;
    int64_t weights_bytes;
    int64_t depth;
};

/* m rows by all `count` columns, n at a time. */
static inline __attribute__((always_inline)) void strip(struct strip s, int64_t count, enum gemm_form form,
                                                        int m, int n) {
    int64_t j = 0;
    for (; j + n <= count; j += n)
        tile(s.product + j, s.product_stride, s.packed, s.packed_stride, s.weights + j * s.weights_bytes,
             s.weights_bytes, s.depth, form, m, n);
    for (; j < count; j++)
        tile(s.product + j, s.product_stride, s.packed, s.packed_stride, s.weights + j * s.weights_bytes,
             s.weights_bytes, s.depth, form, m, 1);
}

/* Tiles of 12 sums fill the 16 registers of most instruction sets, with the factors; AVX-512 has 32. */
enum { WIDE = VECTOR_BYTES == 64 ? 6 : 3 };

static inline __attribute__((always_inline)) void strips(struct strip s, int64_t rows, int64_t count,
                                                         enum gemm_form form) {
    for (; form == GEMM_PAIRS && rows >= 8; rows -= 8) {
        strip(s, count, form, 8, 3);
        s.product += 8 * s.product_stride;
        s.packed += 8 * s.packed_stride;
    }
    for (; rows >= 4; rows -= 4) {
        strip(s, count, form, 4, form == GEMM_SPLIT ? 2 : WIDE);
        s.product += 4 * s.product_stride;
        s.packed += 4 * s.packed_stride;
    }
    if (rows == 3) strip(s, count, form, 3, 4);
    if (rows == 2) strip(s, count, form, 2, 6);
    if (rows == 1) strip(s, count, form, 1, 8);
}

static void narrow(float *product, int64_t product_stride, const float *packed, int64_t packed_stride,
                   int64_t rows, const void *weights, enum gemm_form form, int64_t weights_stride,
                   int64_t count, int64_t depth) {
    struct strip s = {.product = product,
                      .product_stride = product_stride,
                      .packed = packed,
                      .packed_stride = packed_stride,
                      .weights = weights,
                      .weights_bytes = weights_stride * (form == GEMM_F32 ? 4 : 2),
                      .depth = depth};
    switch (form) { /* a constant in each, so that each has loops of its own */
    case GEMM_F32: strips(s, rows, count, GEMM_F32); break;
    case GEMM_SPLIT: strips(s, rows, count, GEMM_SPLIT); break;
#ifdef __AVX512BF16__
    case GEMM_PAIRS: strips(s, rows, count, GEMM_PAIRS); break;
#else
    case GEMM_PAIRS: break;
#endif
    }
}

static void add_to(float *restrict sum, const void *row, enum dtype kind, int64_t begin, int64_t length) {
    float scratch[BLOCK];
    const float *more = block_read(scratch, row, kind, begin, length);
#pragma omp simd
    for (int64_t j = 0; j < length; j++) sum[j] += more[j];
}

static void store(void *out, enum dtype kind, const float *product, const void *bias, enum dtype bias_kind,
                  bool accumulate, int64_t count) {
    float sum[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(sum, product, DTYPE_F32, i, length);
        if (bias) add_to(sum, bias, bias_kind, i, length);
        if (accumulate) add_to(sum, out, kind, i, length);
        block_store(out, kind, i, sum, length);
    }
}

const struct gemm_kernels KERNELS_TABLE(gemm_kernels) = {
    .form = form, .pack = pack, .narrow = narrow, .store = store};
