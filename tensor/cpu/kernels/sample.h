/* Kernels of sampling: passes over a row of `count` logits in f32. */
#ifndef VS2_TENSOR_CPU_KERNELS_SAMPLE_H
#define VS2_TENSOR_CPU_KERNELS_SAMPLE_H

#include <stdint.h>

#include "tensor/cpu/kernels/isa.h"

/* Logits fall into bins by their distance from the largest: larger logits, lower bins. */
enum { SAMPLE_BINS = 1024, SAMPLE_BINS_PER_UNIT = 32 };

struct sample_kernels {
    /* The largest; NaN are passed over. */
    float (*largest)(const float *logits, int64_t count);
    /* logits /= temperature. */
    void (*divide)(float *logits, int64_t count, float temperature);
    /* weights[i] = exp(logits[i] - largest); returns their sum. */
    double (*weigh)(float *weights, const float *logits, int64_t count, float largest);
    /* bins[i] = min(floor((largest - logits[i]) * SAMPLE_BINS_PER_UNIT), SAMPLE_BINS - 1). */
    void (*bin)(uint16_t *bins, const float *logits, int64_t count, float largest);
};

KERNELS_DECLARE(sample_kernels);

#endif
