#include "tensor/cpu/kernels/peak.h"

#include "tensor/cpu/kernels/vector.h"

/* Twelve sums hide the latency of two units and fit 16 registers with the factors. */
static double multiply_add(int64_t rounds, float *result) {
    enum { SUMS = 12 };
    vector sums[SUMS], factor = (vector){0} + 0.999f, term = (vector){0} + 0.001f;
    for (int i = 0; i < SUMS; i++) sums[i] = (vector){0} + (float)i;
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * factor + term;
    vector total = {0};
    for (int i = 0; i < SUMS; i++) total += sums[i];
    *result = vector_sum(total);
    return (double)rounds * SUMS * VECTOR_LANES * 2;
}

/* Eight places at once: one stream alone does not keep the memory busy. */
static uint32_t read_memory(const void *memory, size_t bytes) {
    enum { STREAMS = 8 };
    vector_words sums[STREAMS] = {0};
    size_t part = bytes / STREAMS;
    const char *at = memory, *end = at + part;
    for (; at < end; at += VECTOR_BYTES)
        for (size_t i = 0; i < STREAMS; i++) sums[i] += *(const vector_words_at *)(at + i * part);
    vector_words total = {0};
    for (int i = 0; i < STREAMS; i++) total += sums[i];
    uint32_t sum = 0;
    for (int i = 0; i < VECTOR_LANES; i++) sum += total[i];
    return sum;
}

const struct peak_kernels KERNELS_TABLE(peak_kernels) = {.multiply_add = multiply_add, .read = read_memory};
