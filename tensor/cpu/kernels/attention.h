#ifndef VS2_TENSOR_CPU_KERNELS_ATTENTION_H
#define VS2_TENSOR_CPU_KERNELS_ATTENTION_H

#include "tensor/cpu/kernels/isa.h"

struct attention_kernels {
    int unused;
};

KERNELS_DECLARE(attention_kernels);

#endif
