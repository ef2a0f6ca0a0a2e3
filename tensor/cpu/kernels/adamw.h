/* The kernel of the optimizer's step, rounded as torch.optim.AdamW rounds it in f32, operation by operation:
 * its source is compiled without contraction (tensor/CMakeLists.txt). */
#ifndef VS2_TENSOR_CPU_KERNELS_ADAMW_H
#define VS2_TENSOR_CPU_KERNELS_ADAMW_H

#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"

/* What one step has in common for all elements; each computed in double, then rounded. */
struct adamw_factors {
    float gradient_scale;
    float keep;                     /* 1 - learning rate * decay */
    float first_weight;             /* 1 - beta1 */
    float second_keep, second_gain; /* beta2, 1 - beta2 */
    float second_root;              /* sqrt(1 - beta2^step) */
    float epsilon;
    float step_size; /* learning rate / (1 - beta1^step) */
};

struct adamw_arrays {
    float *weight, *first, *second, *gradient;
    uint16_t *copy; /* bf16, or NULL */
};

struct adamw_kernels {
    void (*step)(struct adamw_arrays arrays, const struct adamw_factors *factors, int64_t count);
};

KERNELS_DECLARE(adamw_kernels);

#endif
