#ifndef VS2_TENSOR_CPU_KERNELS_SAMPLE_H
#define VS2_TENSOR_CPU_KERNELS_SAMPLE_H

#include "tensor/cpu/kernels/isa.h"

struct sample_kernels {
    int unused;
};

KERNELS_DECLARE(sample_kernels);

#endif
