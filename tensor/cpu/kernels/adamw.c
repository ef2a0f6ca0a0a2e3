#include "tensor/cpu/kernels/adamw.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "tensor/float16.h"

/* a * b + c as the reference has it in lerp and addcmul: rounded once where the processor can. */
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* `small` is a constant where this is inlined: torch's lerp starts from the nearer end. */
static inline void step_all(struct adamw_arrays arrays, const struct adamw_factors *factors, int64_t count,
                            bool small, bool copied) {
    float *restrict weight = arrays.weight, *restrict first = arrays.first;
    float *restrict second = arrays.second, *restrict gradient = arrays.gradient;
    uint16_t *restrict copy = arrays.copy;
    const struct adamw_factors f = *factors;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] * f.gradient_scale;
        float old = first[i];
        float m = small ? multiply_add(f.first_weight, g - old, old)
                        : multiply_add(f.first_weight - 1.0f, g - old, g);
        float v = multiply_add(f.second_gain * g, g, second[i] * f.second_keep);
        float w = weight[i] * f.keep;
        w = w + -f.step_size * m / (sqrtf(v) / f.second_root + f.epsilon);
        weight[i] = w;
        first[i] = m;
        second[i] = v;
        gradient[i] = 0;
        if (copied) copy[i] = float_to_bf16(w);
    }
}

static void step(struct adamw_arrays arrays, const struct adamw_factors *factors, int64_t count) {
    bool small = factors->first_weight < 0.5f;
    if (arrays.copy && small)
        step_all(arrays, factors, count, true, true);
    else if (arrays.copy)
        step_all(arrays, factors, count, false, true);
    else
        step_all(arrays, factors, count, small, false);
}

const struct adamw_kernels KERNELS_TABLE(adamw_kernels) = {step};
