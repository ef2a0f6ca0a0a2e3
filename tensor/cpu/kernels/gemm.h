/* Kernels of matrix products: those with few rows, which are bound by reading the weights. */
#ifndef VS2_TENSOR_CPU_KERNELS_GEMM_H
#define VS2_TENSOR_CPU_KERNELS_GEMM_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

/* How rows and weights are multiplied. */
enum gemm_form {
    GEMM_F32,   /* weights of f32 */
    GEMM_SPLIT, /* weights of bf16, made f32 on the way */
    GEMM_PAIRS, /* both of bf16, on units that multiply pairs of them */
};

/* Floats from one packed row to the next: elements in steps of 32, and a cache line more, so that rows of a
 * power of two do not all fall into the same places of the cache. */
static inline int64_t gemm_pitch(int64_t depth, enum gemm_form form) {
    int64_t elements = (depth + 31) / 32 * 32;
    return (form == GEMM_PAIRS ? elements / 2 : elements) + 16;
}

struct gemm_kernels {
    /* The form for rows and weights of these types. */
    enum gemm_form (*form)(enum dtype rows, enum dtype weights);
    /* Packs a row of f32 or bf16 for narrow(), zeros after its end; `packed` has room for gemm_pitch floats.
     */
    void (*pack)(float *packed, const void *row, enum dtype kind, int64_t depth, enum gemm_form form);
    /* product[m][n] = packed row m times row n of the weights (weights_stride in elements), for any number of
     * rows; packed rows are packed_stride floats apart. The value of an element depends on its own two rows
     * only, not on `rows` or `count`. */
    void (*narrow)(float *product, int64_t product_stride, const float *packed, int64_t packed_stride,
                   int64_t rows, const void *weights, enum gemm_form form, int64_t weights_stride,
                   int64_t count, int64_t depth);
    /* out = product (+ bias) (+ out), rounded once; bias may be NULL. */
    void (*store)(void *out, enum dtype kind, const float *product, const void *bias, enum dtype bias_kind,
                  bool accumulate, int64_t count);
};

KERNELS_DECLARE(gemm_kernels);

#endif
