/* Vectors as wide as the instruction set's registers, for the loops whose registers must be laid out by
 * hand. GNU C; the compiler splits what the machine does not have. */
#ifndef VS2_TENSOR_CPU_KERNELS_VECTOR_H
#define VS2_TENSOR_CPU_KERNELS_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum { VECTOR_LANES = VECTOR_BYTES / 4 };

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vector_words __attribute__((vector_size(VECTOR_BYTES)));
/* The same at any address, in memory of any type. */
typedef float vector_at __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));
typedef uint32_t vector_words_at __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));

/* The sum of the lanes, by halves, which stay in registers. */
static inline float vector_sum(vector v) {
    typedef float four __attribute__((vector_size(16)));
#if VECTOR_BYTES >= 32
    typedef float eight __attribute__((vector_size(32)));
#if VECTOR_BYTES == 64
    eight parts[2];
    memcpy(parts, &v, sizeof v);
    eight half = parts[0] + parts[1];
#else
    eight half = v;
#endif
    four quarters[2];
    memcpy(quarters, &half, sizeof half);
    four last = quarters[0] + quarters[1];
#else
    four last = v;
#endif
    return (last[0] + last[2]) + (last[1] + last[3]);
}

/* The larger of each pair; b where a is NaN. */
static inline vector vector_larger(vector a, vector b) {
    vector_words larger = (vector_words)(a > b);
    return (vector)(((vector_words)a & larger) | ((vector_words)b & ~larger));
}

/* The largest lane. */
static inline float vector_largest(vector v) {
    float lanes[VECTOR_LANES];
    *(vector_at *)lanes = v;
    for (int width = VECTOR_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
    return lanes[0];
}

/* The largest of an array, -inf of none; NaN are passed over. */
static inline float vector_largest_of(const float *x, int64_t count) {
    vector most = (vector){0} - __builtin_inff();
    int64_t i = 0;
    for (; i + VECTOR_LANES <= count; i += VECTOR_LANES)
        most = vector_larger(*(const vector_at *)(x + i), most);
    float largest = vector_largest(most);
    for (; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

#endif
