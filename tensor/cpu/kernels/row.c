#include "tensor/cpu/kernels/row.h"

#include <math.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/math.h"

static void convert_row(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count) {
    float block[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        if (to_kind == DTYPE_F32)
            block_load((float *)to + i, from, from_kind, i, length);
        else
            block_store(to, to_kind, i, block_read(block, from, from_kind, i, length), length);
    }
}

static void add_row(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count) {
    float scratch[BLOCK], from_scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *old = block_read(scratch, to, to_kind, i, length);
        const float *more = block_read(from_scratch, from, from_kind, i, length);
        float *sum = block_target(scratch, to, to_kind, i);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) sum[j] = old[j] + more[j];
        block_finish(to, to_kind, i, sum, length);
    }
}

static double sum_squares_row(const void *x, enum dtype kind, int64_t count) {
    float scratch[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *block = block_read(scratch, x, kind, i, length);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += (double)block[j] * (double)block[j];
        total += sum;
    }
    return total;
}

static double sum_row(const void *x, enum dtype kind, int64_t count) {
    float scratch[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *block = block_read(scratch, x, kind, i, length);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += (double)block[j];
        total += sum;
    }
    return total;
}

/* The mean of squares, for norms: sums in f32 within a block, in double over blocks. */
static float mean_square(const void *x, enum dtype kind, int64_t count) {
    float scratch[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *block = block_read(scratch, x, kind, i, length);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += block[j] * block[j];
        total += (double)sum;
    }
    return (float)(total / (double)count);
}

/* x / rms * weight, rounded to bf16 in between where x was bf16. */
static inline void scale_block(float *out, const float *x, float inverse, const float *weight, int64_t length,
                               bool bf16) {
#pragma omp simd
    for (int64_t i = 0; i < length; i++) {
        float normal = x[i] * inverse;
        out[i] = (bf16 ? float_round_bf16(normal) : normal) * weight[i];
    }
}

static float rmsnorm_row(void *out, enum dtype out_kind, const void *x, enum dtype kind, const float *weight,
                         int64_t count, float epsilon) {
    float inverse = 1.0f / sqrtf(mean_square(x, kind, count) + epsilon);
    float scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *block = block_read(scratch, x, kind, i, length);
        float *result = block_target(scratch, out, out_kind, i);
        if (kind == DTYPE_BF16)
            scale_block(result, block, inverse, weight + i, length, true);
        else
            scale_block(result, block, inverse, weight + i, length, false);
        block_finish(out, out_kind, i, result, length);
    }
    return inverse;
}

/* silu(gate) * up, the first factor rounded to bf16 where gate was bf16. */
static inline void swiglu_block(float *out, const float *gate, const float *up, int64_t length, bool bf16) {
#pragma omp simd
    for (int64_t i = 0; i < length; i++) {
        float silu = math_silu(gate[i]);
        out[i] = (bf16 ? float_round_bf16(silu) : silu) * up[i];
    }
}

static void swiglu_row(void *out, enum dtype out_kind, const void *gate, const void *up, enum dtype kind,
                       int64_t count) {
    float scratch[BLOCK], up_scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *a = block_read(scratch, gate, kind, i, length);
        const float *b = block_read(up_scratch, up, kind, i, length);
        float *result = block_target(scratch, out, out_kind, i);
        if (kind == DTYPE_BF16)
            swiglu_block(result, a, b, length, true);
        else
            swiglu_block(result, a, b, length, false);
        block_finish(out, out_kind, i, result, length);
    }
}

static void gelu_row(void *out, enum dtype out_kind, const void *x, enum dtype kind, int64_t count) {
    float scratch[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        const float *block = block_read(scratch, x, kind, i, length);
        float *result = block_target(scratch, out, out_kind, i);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) result[j] = math_gelu(block[j]);
        block_finish(out, out_kind, i, result, length);
    }
}

static void rope_row(void *x, enum dtype kind, const float *cosine, const float *sine, float sign, int heads,
                     int64_t half) {
    float first_scratch[BLOCK], second_scratch[BLOCK];
    for (int64_t first = 0; first < 2 * half * heads; first += 2 * half) {
        int64_t second = first + half;
        for (int64_t i = 0; i < half; i += BLOCK) {
            int64_t length = block_length(i, half);
            block_read(first_scratch, x, kind, first + i, length);
            block_read(second_scratch, x, kind, second + i, length);
            float *a = block_target(first_scratch, x, kind, first + i);
            float *b = block_target(second_scratch, x, kind, second + i);
#pragma omp simd
            for (int64_t j = 0; j < length; j++) {
                float c = cosine[i + j], s = sign * sine[i + j], u = a[j], v = b[j];
                a[j] = u * c - v * s;
                b[j] = v * c + u * s;
            }
            block_finish(x, kind, first + i, a, length);
            block_finish(x, kind, second + i, b, length);
        }
    }
}

const struct row_kernels KERNELS_TABLE(row_kernels) = {
    .convert = convert_row,
    .add = add_row,
    .rmsnorm = rmsnorm_row,
    .swiglu = swiglu_row,
    .gelu = gelu_row,
    .rope = rope_row,
    .sum = sum_row,
    .sum_squares = sum_squares_row,
};
