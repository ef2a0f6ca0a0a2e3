/* Kernels over one row of the backward halves: everything that reads memory once. Types are F32 or BF16. */
#ifndef VS2_TENSOR_CPU_KERNELS_GRADIENT_H
#define VS2_TENSOR_CPU_KERNELS_GRADIENT_H

#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

/* A row and its type. */
struct typed_row {
    void *at;
    enum dtype kind;
};

/* Of logprob_backward: what a row has one of. */
struct logprob_slopes {
    float scale, log_sum, d_logprob, d_entropy, entropy;
};

struct gradient_kernels {
    /* d_x += the gradient through the norm; d_weight += d_out * normalised x (NULL: not wanted). */
    void (*rmsnorm)(struct typed_row d_x, float *d_weight, struct typed_row d_out, struct typed_row x,
                    const float *weight, float inverse, int64_t count);
    /* The gradients of silu(gate) * up; d_gate may be gate and d_up may be up. */
    void (*swiglu)(struct typed_row d_gate, struct typed_row d_up, struct typed_row d_out,
                   struct typed_row gate, struct typed_row up, int64_t count);
    /* d_x = d_out * gelu'(x); d_x may be d_out. */
    void (*gelu)(struct typed_row d_x, struct typed_row d_out, struct typed_row x, int64_t count);
    /* The gradient of a row of logits (see logprob_backward); d_logits may be logits. */
    void (*logprob)(struct typed_row d_logits, struct typed_row logits, struct logprob_slopes slopes,
                    int64_t target, int64_t count);
};

KERNELS_DECLARE(gradient_kernels);

#endif
