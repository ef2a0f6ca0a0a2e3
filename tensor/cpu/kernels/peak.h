/* What a core can do at most, measured: the yardstick of the other kernels. */
#ifndef VS2_TENSOR_CPU_KERNELS_PEAK_H
#define VS2_TENSOR_CPU_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"

struct peak_kernels {
    /* `rounds` of multiply-adds of f32 in registers; returns how many operations that was (a multiply-add
     * is two) and leaves a result in *result so that they are done. */
    double (*multiply_add)(int64_t rounds, float *result);
    /* Reads memory once; the sum is for the same reason. `bytes` is a multiple of 512. */
    uint32_t (*read)(const void *memory, size_t bytes);
};

KERNELS_DECLARE(peak_kernels);

#endif
