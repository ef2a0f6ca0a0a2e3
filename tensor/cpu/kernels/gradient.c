#include "tensor/cpu/kernels/gradient.h"

#include <stdbool.h>
#include <stddef.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/math.h"

static inline const float *read(float *scratch, struct typed_row row, int64_t begin, int64_t length) {
    return block_read(scratch, row.at, row.kind, begin, length);
}
static inline float *target_of(float *scratch, struct typed_row row, int64_t begin) {
    return block_target(scratch, row.at, row.kind, begin);
}
static inline void finish(struct typed_row row, int64_t begin, const float *from, int64_t length) {
    block_finish(row.at, row.kind, begin, from, length);
}

/* ---- RMSNorm: with n = x * inverse and g = d_out * weight, d_x = inverse * (g - n * mean(g * n)) --------
 */

/* The mean of g * x: sums in f32 within a block, in double over blocks. */
static float mean_product(struct typed_row d_out, struct typed_row x, const float *weight, int64_t count) {
    float d_scratch[BLOCK], x_scratch[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *d = read(d_scratch, d_out, i, length), *v = read(x_scratch, x, i, length);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += d[j] * weight[i + j] * v[j];
        total += (double)sum;
    }
    return (float)(total / (double)count);
}

/* The weight met the normalised value rounded to x's type. */
static inline void add_weight_block(float *d_weight, const float *d_out, const float *x, float inverse,
                                    int64_t length, bool bf16) {
#pragma omp simd
    for (int64_t j = 0; j < length; j++) {
        float normal = x[j] * inverse;
        d_weight[j] += d_out[j] * (bf16 ? float_round_bf16(normal) : normal);
    }
}

static void rmsnorm_row(struct typed_row d_x, float *d_weight, struct typed_row d_out, struct typed_row x,
                        const float *weight, float inverse, int64_t count) {
    float d_scratch[BLOCK], x_scratch[BLOCK], sum_scratch[BLOCK];
    float slope = mean_product(d_out, x, weight, count) * inverse * inverse;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *d = read(d_scratch, d_out, i, length), *v = read(x_scratch, x, i, length);
        const float *old = read(sum_scratch, d_x, i, length);
        float *sum = target_of(sum_scratch, d_x, i);
        if (d_weight && x.kind == DTYPE_BF16)
            add_weight_block(d_weight + i, d, v, inverse, length, true);
        else if (d_weight)
            add_weight_block(d_weight + i, d, v, inverse, length, false);
#pragma omp simd
        for (int64_t j = 0; j < length; j++)
            sum[j] = old[j] + inverse * (d[j] * weight[i + j] - v[j] * slope);
        finish(d_x, i, sum, length);
    }
}

/* ---- Activations ------------------------------------------------------------------------------------- */

/* silu(g) = g s with s = 1 / (1 + e^-g), and silu'(g) = s (1 + g (1 - s)). The forward pass multiplied silu,
 * rounded to bf16 where gate was. */
static inline void swiglu_block(float *d_gate, float *d_up, const float *d_out, const float *gate,
                                const float *up, int64_t length, bool bf16) {
#pragma omp simd
    for (int64_t j = 0; j < length; j++) {
        float g = gate[j], d = d_out[j], u = up[j];
        float s = 1.0f / (1.0f + math_exp(-g));
        float silu = g * s;
        d_gate[j] = d * u * (s * (1.0f + g * (1.0f - s)));
        d_up[j] = d * (bf16 ? float_round_bf16(silu) : silu);
    }
}

static void swiglu_row(struct typed_row d_gate, struct typed_row d_up, struct typed_row d_out,
                       struct typed_row gate, struct typed_row up, int64_t count) {
    float d_scratch[BLOCK], gate_scratch[BLOCK], up_scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *d = read(d_scratch, d_out, i, length);
        const float *g = read(gate_scratch, gate, i, length), *u = read(up_scratch, up, i, length);
        float *to_gate = target_of(gate_scratch, d_gate, i), *to_up = target_of(up_scratch, d_up, i);
        if (gate.kind == DTYPE_BF16)
            swiglu_block(to_gate, to_up, d, g, u, length, true);
        else
            swiglu_block(to_gate, to_up, d, g, u, length, false);
        finish(d_gate, i, to_gate, length);
        finish(d_up, i, to_up, length);
    }
}

static void gelu_row(struct typed_row d_x, struct typed_row d_out, struct typed_row x, int64_t count) {
    float d_scratch[BLOCK], x_scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *d = read(d_scratch, d_out, i, length), *v = read(x_scratch, x, i, length);
        float *to = target_of(d_scratch, d_x, i);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) to[j] = d[j] * math_gelu_slope(v[j]);
        finish(d_x, i, to, length);
    }
}

/* ---- Softmax over the vocabulary --------------------------------------------------------------------- */

/* -scale p (d_logprob + d_entropy (log p + H)), and the target's share; 0 where p is, also for a log p of
 * -inf. */
static void logprob_row(struct typed_row d_logits, struct typed_row logits, struct logprob_slopes slopes,
                        int64_t target, int64_t count) {
    float scratch[BLOCK];
    float bend = slopes.scale * slopes.d_entropy, slope = slopes.scale * slopes.d_logprob;
    float level = slope + bend * slopes.entropy;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *x = read(scratch, logits, i, length);
        float *to = target_of(scratch, d_logits, i);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) {
            float log_p = slopes.scale * x[j] - slopes.log_sum;
            float bounded = log_p < -200.0f ? -200.0f : log_p;
            to[j] = -(level + bend * bounded) * math_exp(log_p);
        }
        if (target >= i && target < i + length) to[target - i] += slope;
        finish(d_logits, i, to, length);
    }
}

const struct gradient_kernels KERNELS_TABLE(gradient_kernels) = {
    .rmsnorm = rmsnorm_row,
    .swiglu = swiglu_row,
    .gelu = gelu_row,
    .logprob = logprob_row,
};
