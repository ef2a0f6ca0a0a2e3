#include "tensor/cpu/kernels/sample.h"

#include <math.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/math.h"
#include "tensor/cpu/kernels/vector.h"

/* A true division, as the reference does: a product with the reciprocal breaks and makes ties. */
static void divide_logits(float *logits, int64_t count, float temperature) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) logits[i] /= temperature;
}

static double weigh_logits(float *weights, const float *logits, int64_t count, float largest) {
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = i; j < i + length; j++) {
            weights[j] = math_exp(logits[j] - largest);
            sum += weights[j];
        }
        total += (double)sum;
    }
    return total;
}

static void bin_logits(uint16_t *bins, const float *logits, int64_t count, float largest) {
    const float last = SAMPLE_BINS - 1;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float distance = (largest - logits[i]) * SAMPLE_BINS_PER_UNIT;
        bins[i] = (uint16_t)(int32_t)(distance < last ? distance : last);
    }
}

const struct sample_kernels KERNELS_TABLE(sample_kernels) = {vector_largest_of, divide_logits, weigh_logits,
                                                             bin_logits};
