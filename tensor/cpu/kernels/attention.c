#include "tensor/cpu/kernels/attention.h"

const struct attention_kernels KERNELS_TABLE(attention_kernels) = {0};
