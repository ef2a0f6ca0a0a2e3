/* Pairs of bf16 in words of 32 bits, the earlier one in the low half: AVX-512 BF16 multiplies them two at a
 * time. PAIRS says whether there is such a unit; without one nothing here may be called. */
#ifndef VS2_TENSOR_CPU_KERNELS_PAIRS_H
#define VS2_TENSOR_CPU_KERNELS_PAIRS_H

#include "tensor/cpu/kernels/vector.h"

#ifdef __AVX512BF16__

#include <immintrin.h>

enum { PAIRS = 1 };

/* sum += the products of both pairs' elements, lane by lane. */
static inline vector add_pairs(vector sum, vector_words a, vector_words b) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/* Neighbours become pairs, rounded: the elements of low and then those of high. */
static inline vector_words pair_neighbours(vector low, vector high) {
    return (vector_words)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
}

/* Lane i of a and lane i of b become a pair, rounded. */
static inline vector_words pair_lanes(vector a, vector b) {
    vector_words low = (vector_words)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)a));
    vector_words high = (vector_words)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)b));
    return low | high << 16;
}

#else

enum { PAIRS = 0 };

static inline vector add_pairs(vector sum, vector_words a, vector_words b) {
    (void)a, (void)b;
    __builtin_unreachable();
    return sum;
}
static inline vector_words pair_neighbours(vector low, vector high) {
    (void)high;
    __builtin_unreachable();
    return (vector_words)low;
}
static inline vector_words pair_lanes(vector a, vector b) {
    (void)b;
    __builtin_unreachable();
    return (vector_words)a;
}

#endif

#endif
