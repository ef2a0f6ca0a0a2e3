#include "tensor/cpu/kernels/logprob.h"

#include <math.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/math.h"
#include "tensor/cpu/kernels/vector.h"

static double sum_of_exp(const float *x, int64_t count, float shift) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += math_exp(x[i] - shift);
    return (double)sum;
}

/* d exp(d) is 0 where exp(d) is, also for d = -inf. */
static double sum_of_weighted(const float *x, int64_t count, float shift) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        float d = x[i] - shift;
        d = d < -200.0f ? -200.0f : d;
        sum += d * math_exp(d);
    }
    return (double)sum;
}

static struct softmax_sums sums_row(const void *logits, enum dtype kind, int64_t count, float scale,
                                    bool weighted) {
    struct softmax_sums sums = {.maximum = -INFINITY};
    float block[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, logits, kind, i, length);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) block[j] *= scale;
        float largest = vector_largest_of(block, length);
        if (largest > sums.maximum) {
            double fall = (double)sums.maximum - (double)largest, factor = exp(fall);
            if (sums.sum > 0) sums.weighted = (sums.weighted + fall * sums.sum) * factor;
            sums.sum *= factor;
            sums.maximum = largest;
        }
        float shift = sums.maximum == -INFINITY ? 0 : sums.maximum;
        sums.sum += sum_of_exp(block, length, shift);
        if (weighted) sums.weighted += sum_of_weighted(block, length, shift);
    }
    return sums;
}

const struct logprob_kernels KERNELS_TABLE(logprob_kernels) = {sums_row};
