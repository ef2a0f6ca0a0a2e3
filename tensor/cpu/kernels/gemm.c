#include "tensor/cpu/kernels/gemm.h"

#include <string.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/vector.h"

/* The depth goes by steps of two vectors. A vector of bf16 pairs becomes two of f32, the even elements by a
 * shift and the odd ones by a mask, without a shuffle; the other factor is packed in that order beforehand.
 */
enum { STEP = 2 * VECTOR_LANES };

static void pack(float *packed, const void *row, enum dtype kind, int64_t depth, enum dtype weights) {
    for (int64_t k = 0; k < depth; k += STEP) {
        int64_t length = depth - k < STEP ? depth - k : STEP;
        float step[STEP] = {0};
        block_load(step, row, kind, k, length);
        if (weights == DTYPE_F32) {
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
static inline vector weights_half(const char *at, bool bf16, int part) {
    if (!bf16) return *(const vector_at *)(at + part * VECTOR_BYTES);
    vector_words words = *(const vector_words_at *)at;
    return (vector)(part ? words & 0xffff0000u : words << 16);
}

/* A tile of the product, m rows by n columns, in registers: m and n are constants where this is inlined.
 * Each element is one vector of partial sums, whatever the tile, so that its bits are the same in all. */
static inline __attribute__((always_inline)) void tile(float *product, int64_t product_stride,
                                                       const float *packed, int64_t packed_stride,
                                                       const char *weights, int64_t weights_bytes,
                                                       int64_t depth, bool bf16, int m, int n) {
    enum { MOST = 24 };
    const int step_bytes = STEP * (bf16 ? 2 : 4);
    vector sums[MOST];
    for (int i = 0; i < m * n; i++) sums[i] = (vector){0};

    int64_t full = depth / STEP * STEP;
    const char *at = weights;
    for (int64_t k = 0; k < full; k += STEP, at += step_bytes) {
        if (bf16)
            for (int j = 0; j < n; j++) __builtin_prefetch(at + (j + n) * weights_bytes);
        for (int part = 0; part < 2; part++) {
            vector w[MOST];
            for (int j = 0; j < n; j++) w[j] = weights_half(at + j * weights_bytes, bf16, part);
            for (int i = 0; i < m; i++) {
                vector a = *(const vector_at *)(packed + i * packed_stride + k + part * VECTOR_LANES);
                for (int j = 0; j < n; j++) sums[i * n + j] += a * w[j];
            }
        }
    }
    if (full < depth) {
        size_t rest = (size_t)(depth - full) * (bf16 ? 2 : 4);
        for (int j = 0; j < n; j++) {
            char last[STEP * 4] = {0};
            memcpy(last, at + j * weights_bytes, rest);
            for (int part = 0; part < 2; part++) {
                vector w = weights_half(last, bf16, part);
                for (int i = 0; i < m; i++) {
                    vector a = *(const vector_at *)(packed + i * packed_stride + full + part * VECTOR_LANES);
                    sums[i * n + j] += a * w;
                }
            }
        }
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
static inline __attribute__((always_inline)) void strip(struct strip s, int64_t count, bool bf16, int m,
                                                        int n) {
    int64_t j = 0;
    for (; j + n <= count; j += n)
        tile(s.product + j, s.product_stride, s.packed, s.packed_stride, s.weights + j * s.weights_bytes,
             s.weights_bytes, s.depth, bf16, m, n);
    for (; j < count; j++)
        tile(s.product + j, s.product_stride, s.packed, s.packed_stride, s.weights + j * s.weights_bytes,
             s.weights_bytes, s.depth, bf16, m, 1);
}

/* Tiles of 12 sums fill the 16 registers of most instruction sets, with the factors; AVX-512 has 32. */
enum { WIDE = VECTOR_BYTES == 64 ? 6 : 3 };

static inline __attribute__((always_inline)) void strips(struct strip s, int64_t rows, int64_t count,
                                                         bool bf16) {
    for (; rows >= 4; rows -= 4) {
        strip(s, count, bf16, 4, bf16 ? 2 : WIDE);
        s.product += 4 * s.product_stride;
        s.packed += 4 * s.packed_stride;
    }
    if (rows == 3) strip(s, count, bf16, 3, 4);
    if (rows == 2) strip(s, count, bf16, 2, 6);
    if (rows == 1) strip(s, count, bf16, 1, 8);
}

static void narrow(float *product, int64_t product_stride, const float *packed, int64_t packed_stride,
                   int64_t rows, const void *weights, enum dtype kind, int64_t weights_stride, int64_t count,
                   int64_t depth) {
    struct strip s = {.product = product,
                      .product_stride = product_stride,
                      .packed = packed,
                      .packed_stride = packed_stride,
                      .weights = weights,
                      .weights_bytes = weights_stride * (int64_t)dtype_size(kind),
                      .depth = depth};
    if (kind == DTYPE_BF16)
        strips(s, rows, count, true);
    else
        strips(s, rows, count, false);
}

static void store(void *out, enum dtype kind, const float *product, const float *bias, bool accumulate,
                  int64_t count) {
    float sum[BLOCK], old[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(sum, product, DTYPE_F32, i, length);
        if (bias) {
#pragma omp simd
            for (int64_t j = 0; j < length; j++) sum[j] += bias[i + j];
        }
        if (accumulate) {
            block_load(old, out, kind, i, length);
#pragma omp simd
            for (int64_t j = 0; j < length; j++) sum[j] += old[j];
        }
        block_store(out, kind, i, sum, length);
    }
}

const struct gemm_kernels KERNELS_TABLE(gemm_kernels) = {.pack = pack, .narrow = narrow, .store = store};
