#include "tensor/cpu/kernels/sample.h"

const struct sample_kernels KERNELS_TABLE(sample_kernels) = {0};
