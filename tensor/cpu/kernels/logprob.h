#ifndef VS2_TENSOR_CPU_KERNELS_LOGPROB_H
#define VS2_TENSOR_CPU_KERNELS_LOGPROB_H

#include "tensor/cpu/kernels/isa.h"

struct logprob_kernels {
    int unused;
};

KERNELS_DECLARE(logprob_kernels);

#endif
