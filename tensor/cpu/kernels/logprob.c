#include "tensor/cpu/kernels/logprob.h"

const struct logprob_kernels KERNELS_TABLE(logprob_kernels) = {0};
