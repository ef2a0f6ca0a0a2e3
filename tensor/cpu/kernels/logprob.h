/* Kernels of the softmax over the vocabulary. */
#ifndef VS2_TENSOR_CPU_KERNELS_LOGPROB_H
#define VS2_TENSOR_CPU_KERNELS_LOGPROB_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

/* With x = scale * logit, d = x - maximum of x: sum of exp(d), and of d exp(d). A NaN or +inf among the
 * logits makes the sum NaN; without a finite logit it is 0 and the maximum -inf. */
struct softmax_sums {
    float maximum;
    double sum, weighted;
};

struct logprob_kernels {
    /* One pass over a row of f32 or bf16; weighted only on demand, else 0. */
    struct softmax_sums (*sums)(const void *logits, enum dtype kind, int64_t count, float scale,
                                bool weighted);
};

KERNELS_DECLARE(logprob_kernels);

#endif
