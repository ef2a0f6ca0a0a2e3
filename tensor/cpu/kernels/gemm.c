#include "tensor/cpu/kernels/gemm.h"

static float dot(const float *a, const float *b, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

const struct gemm_kernels KERNELS_TABLE(gemm_kernels) = {.dot = dot};
