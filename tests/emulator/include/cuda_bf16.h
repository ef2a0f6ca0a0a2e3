/* Stands in for CUDA's header of this name. */
#ifndef VS2_TESTS_EMULATOR_CUDA_BF16_H
#define VS2_TESTS_EMULATOR_CUDA_BF16_H

#include "cuda_runtime.h"

struct alignas(2) __nv_bfloat16 {
    unsigned short bits;
};

static inline float __bfloat162float(__nv_bfloat16 value) {
    return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

/* To nearest, ties to even; a NaN becomes CUDA's. */
static inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    unsigned bits = __float_as_uint(value);
    if (value != value) return __nv_bfloat16{0x7fff};
    return __nv_bfloat16{static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

#endif
