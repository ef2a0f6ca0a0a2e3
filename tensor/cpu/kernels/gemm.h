/* Kernels of matrix products. */
#ifndef VS2_TENSOR_CPU_KERNELS_GEMM_H
#define VS2_TENSOR_CPU_KERNELS_GEMM_H

#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"
#include "tensor/tensor.h"

struct gemm_kernels {
    /* The dot product of two rows. */
    float (*dot)(const float *a, const float *b, int64_t count);
};

KERNELS_DECLARE(gemm_kernels);

#endif
