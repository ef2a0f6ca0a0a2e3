#include "tensor/cpu/kernels/row.h"

#include <math.h>

#include "tensor/cpu/kernels/block.h"
#include "tensor/cpu/kernels/math.h"

static void convert_row(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count) {
    float block[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, from, from_kind, i, length);
        block_store(to, to_kind, i, block, length);
    }
}

static void add_row(void *to, enum dtype to_kind, const void *from, enum dtype from_kind, int64_t count) {
    float a[BLOCK], b[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(a, to, to_kind, i, length);
        block_load(b, from, from_kind, i, length);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) a[j] += b[j];
        block_store(to, to_kind, i, a, length);
    }
}

static double sum_squares_row(const void *x, enum dtype kind, int64_t count) {
    float block[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, x, kind, i, length);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += (double)block[j] * (double)block[j];
        total += sum;
    }
    return total;
}

static double sum_row(const void *x, enum dtype kind, int64_t count) {
    float block[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, x, kind, i, length);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += (double)block[j];
        total += sum;
    }
    return total;
}

/* The mean of squares, for norms: sums in f32 within a block, in double over blocks. */
static float mean_square(const void *x, enum dtype kind, int64_t count) {
    float block[BLOCK];
    double total = 0;
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, x, kind, i, length);
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < length; j++) sum += block[j] * block[j];
        total += (double)sum;
    }
    return (float)(total / (double)count);
}

/* x / rms * weight, rounded to bf16 in between where x was bf16. */
static inline void scale_block(float *block, float inverse, const float *weight, int64_t length, bool bf16) {
#pragma omp simd
    for (int64_t i = 0; i < length; i++) {
        float normal = block[i] * inverse;
        block[i] = (bf16 ? float_round_bf16(normal) : normal) * weight[i];
    }
}

static float rmsnorm_row(void *out, enum dtype out_kind, const void *x, enum dtype kind, const float *weight,
                         int64_t count, float epsilon) {
    float inverse = 1.0f / sqrtf(mean_square(x, kind, count) + epsilon);
    float block[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, x, kind, i, length);
        if (kind == DTYPE_BF16)
            scale_block(block, inverse, weight + i, length, true);
        else
            scale_block(block, inverse, weight + i, length, false);
        block_store(out, out_kind, i, block, length);
    }
    return inverse;
}

static inline void swiglu_block(float *gate, const float *up, int64_t length, bool bf16) {
#pragma omp simd
    for (int64_t i = 0; i < length; i++) {
        float silu = math_silu(gate[i]);
        gate[i] = (bf16 ? float_round_bf16(silu) : silu) * up[i];
    }
}

static void swiglu_row(void *out, enum dtype out_kind, const void *gate, const void *up, enum dtype kind,
                       int64_t count) {
    float a[BLOCK], b[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(a, gate, kind, i, length);
        block_load(b, up, kind, i, length);
        if (kind == DTYPE_BF16)
            swiglu_block(a, b, length, true);
        else
            swiglu_block(a, b, length, false);
        block_store(out, out_kind, i, a, length);
    }
}

static void gelu_row(void *out, enum dtype out_kind, const void *x, enum dtype kind, int64_t count) {
    float block[BLOCK];
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t length = block_length(i, count);
        block_load(block, x, kind, i, length);
#pragma omp simd
        for (int64_t j = 0; j < length; j++) block[j] = math_gelu(block[j]);
        block_store(out, out_kind, i, block, length);
    }
}

static void rope_row(void *x, enum dtype kind, const float *cosine, const float *sine, float sign, int heads,
                     int64_t half) {
    float a[BLOCK], b[BLOCK];
    for (int head = 0; head < heads; head++) {
        int64_t first = 2 * half * head, second = first + half;
        for (int64_t i = 0; i < half; i += BLOCK) {
            int64_t length = block_length(i, half);
            block_load(a, x, kind, first + i, length);
            block_load(b, x, kind, second + i, length);
#pragma omp simd
            for (int64_t j = 0; j < length; j++) {
                float c = cosine[i + j], s = sign * sine[i + j], u = a[j], v = b[j];
                a[j] = u * c - v * s;
                b[j] = v * c + u * s;
            }
            block_store(x, kind, first + i, a, length);
            block_store(x, kind, second + i, b, length);
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
