/* Rows of any type are worked on in blocks of f32 that stay in the first-level cache: a kernel has one inner
 * loop whatever the types of its arguments. */
#ifndef VS2_TENSOR_CPU_KERNELS_BLOCK_H
#define VS2_TENSOR_CPU_KERNELS_BLOCK_H

#include "tensor/float16.h"
#include "tensor/tensor.h"

enum { BLOCK = 512 };

static inline int64_t block_length(int64_t begin, int64_t count) {
    return count - begin < BLOCK ? count - begin : BLOCK;
}

/* Elements [begin, begin + length) of a row of f32, bf16 or f16. */
static inline void block_load(float *restrict to, const void *row, enum dtype kind, int64_t begin,
                              int64_t length) {
    if (kind == DTYPE_F32) {
        const float *from = (const float *)row + begin;
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = from[i];
    } else if (kind == DTYPE_BF16) {
        const uint16_t *from = (const uint16_t *)row + begin;
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = float_from_bf16(from[i]);
    } else {
        const uint16_t *from = (const uint16_t *)row + begin;
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = float_from_f16(from[i]);
    }
}

/* To a row of f32 or bf16. */
static inline void block_store(void *row, enum dtype kind, int64_t begin, const float *restrict from,
                               int64_t length) {
    if (kind == DTYPE_F32) {
        float *to = (float *)row + begin;
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = from[i];
    } else {
        uint16_t *to = (uint16_t *)row + begin;
#pragma omp simd
        for (int64_t i = 0; i < length; i++) to[i] = float_to_bf16(from[i]);
    }
}

/* The same without copies where there is nothing to convert: elements to read, which lie in `scratch` or in
 * the row itself; */
static inline const float *block_read(float *restrict scratch, const void *row, enum dtype kind,
                                      int64_t begin, int64_t length) {
    if (kind == DTYPE_F32) return (const float *)row + begin;
    block_load(scratch, row, kind, begin, length);
    return scratch;
}

/* and where to put results, which block_finish then brings to the row. */
static inline float *block_target(float *scratch, void *row, enum dtype kind, int64_t begin) {
    return kind == DTYPE_F32 ? (float *)row + begin : scratch;
}

static inline void block_finish(void *row, enum dtype kind, int64_t begin, const float *scratch,
                                int64_t length) {
    if (kind != DTYPE_F32) block_store(row, kind, begin, scratch, length);
}

#endif
