/* Kernels over one row: everything that reads memory once. `kind` is F32 or BF16 unless said otherwise. */
#ifndef VS2_TENSOR_CPU_KERNELS_ROW_H
#define VS2_TENSOR_CPU_KERNELS_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

struct row_kernels {
    /* to = from; from may be f16 too. */
    void (*convert)(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count);
    /* to += from */
    void (*add)(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count);
    /* out = x / rms * weight; returns 1 / rms. */
    float (*rmsnorm)(void *out, enum dtype out_kind, const void *x, enum dtype kind, const float *weight,
                     int64_t count, float epsilon);
    /* out = silu(gate) * up */
    void (*swiglu)(void *out, enum dtype out_kind, const void *gate, const void *up, enum dtype kind,
                   int64_t count);
    void (*gelu)(void *out, enum dtype out_kind, const void *x, enum dtype kind, int64_t count);
    /* x: heads times two halves of `half`, turned by cosine and sine (of `half`), sine times sign. */
    void (*rope)(void *x, enum dtype kind, const float *cosine, const float *sine, float sign, int heads,
                 int64_t half);
    double (*sum)(const void *x, enum dtype kind, int64_t count);
    double (*sum_squares)(const void *x, enum dtype kind, int64_t count);
};

KERNELS_DECLARE(row_kernels);

#endif
