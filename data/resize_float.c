#include "data/resize_float.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

struct resize_float {
    struct size from, to;
    int channels;
    struct resize_float_weights across, down;
    float *row;    /* a row of the source */
    float *middle; /* [from.height][to.width * channels], between the two passes */
    float *sums;   /* [to.width * channels] */
};

/* Keys' cubic with a = -0.5, with the operations in torch's order and fused as in its builds, since the last
 * bit of a sum decides how a half is rounded. */
static float cubic(float x) {
    const float a = -0.5f;
    x = fabsf(x);
    if (x < 1.0f) return fmaf(fmaf(a + 2, x, -(a + 3)) * x, x, 1);
    if (x < 2.0f) return fmaf(fmaf(fmaf(a, x, -5 * a), x, 8 * a), x, -4 * a);
    return 0.0f;
}

/* In f32, as torch computes the weights of f32 pictures. */
static void fill_output(struct resize_float_weights *axis, int64_t from, float scale, int64_t i) {
    float widened = scale >= 1.0f ? scale : 1.0f;
    float support = 2.0f * widened;
    float inverse = 1.0f / widened;
    float center = (float)(scale * ((double)i + 0.5));
    int64_t first = (int64_t)(center - support + 0.5);
    int64_t end = (int64_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > from) end = from;
    float *row = axis->values + i * axis->taps, total = 0.0f;
    for (int64_t k = 0; k < end - first; k++) {
        row[k] = cubic((float)(((float)(k + first) - center + 0.5) * inverse));
        total += row[k];
    }
    for (int64_t k = 0; k < end - first && total != 0.0f; k++) row[k] /= total;
    axis->starts[i] = (int32_t)first;
    axis->counts[i] = (int32_t)(end - first);
}

enum status resize_float_weights_new(int64_t from, int64_t to, struct resize_float_weights *weights,
                                     struct error *err) {
    float scale = (float)from / (float)to;
    int64_t taps = (int64_t)ceilf(2.0f * (scale >= 1.0f ? scale : 1.0f)) * 2 + 2;
    size_t length = (size_t)to, cells = length * (size_t)taps;
    *weights = (struct resize_float_weights){.length = to, .taps = taps};
    if (!(weights->starts = memory_new(length, sizeof *weights->starts, "resize weights", err)) ||
        !(weights->counts = memory_new(length, sizeof *weights->counts, "resize weights", err)) ||
        !(weights->values = memory_new(cells, sizeof *weights->values, "resize weights", err))) {
        resize_float_weights_free(weights);
        return STATUS_FAILED;
    }
    for (int64_t i = 0; i < to; i++) fill_output(weights, from, scale, i);
    return STATUS_OK;
}

void resize_float_weights_free(struct resize_float_weights *weights) {
    free(weights->starts);
    free(weights->counts);
    free(weights->values);
    *weights = (struct resize_float_weights){0};
}

struct resize_float *resize_float_new(struct size from, struct size to, int channels, struct error *err) {
    struct resize_float *resize = memory_new(1, sizeof *resize, "resize", err);
    if (!resize) return NULL;
    *resize = (struct resize_float){.from = from, .to = to, .channels = channels};
    size_t narrow = (size_t)to.width * (size_t)channels;
    resize->row = memory_new((size_t)from.width * (size_t)channels, sizeof(float), "resize", err);
    resize->middle = memory_new(narrow * (size_t)from.height, sizeof(float), "resize", err);
    resize->sums = memory_new(narrow, sizeof(float), "resize", err);
    if (!resize->row || !resize->middle || !resize->sums ||
        resize_float_weights_new(from.width, to.width, &resize->across, err) ||
        resize_float_weights_new(from.height, to.height, &resize->down, err)) {
        resize_float_free(resize);
        return NULL;
    }
    return resize;
}

void resize_float_free(struct resize_float *resize) {
    if (!resize) return;
    resize_float_weights_free(&resize->across);
    resize_float_weights_free(&resize->down);
    free(resize->row);
    free(resize->middle);
    free(resize->sums);
    free(resize);
}

/* The body is compiled twice on x86: for every machine, and with fused multiplication and addition, which
 * torch uses where it can. */
#define INLINE static inline __attribute__((always_inline))

INLINE float multiply_add(bool fused, float a, float b, float sum) {
    return fused ? fmaf(a, b, sum) : a * b + sum;
}

INLINE void filter_across(bool fused, const struct resize_float_weights *axis, const float *row, int channels,
                          float *out) {
    for (int64_t x = 0; x < axis->length; x++) {
        const float *values = axis->values + x * axis->taps;
        const float *pixels = row + axis->starts[x] * channels;
        for (int c = 0; c < channels; c++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < axis->counts[x]; k++)
                sum = multiply_add(fused, values[k], pixels[k * channels + c], sum);
            out[x * channels + c] = sum;
        }
    }
}

/* One output row from the rows of `middle`; halves are rounded to even, as torch.round does. */
INLINE void filter_down(bool fused, const struct resize_float *resize, int64_t y, uint8_t *destination) {
    const struct resize_float_weights *axis = &resize->down;
    const float *values = axis->values + y * axis->taps;
    size_t width = (size_t)resize->to.width * (size_t)resize->channels;
    const float *rows = resize->middle + (size_t)axis->starts[y] * width;
    float *sums = resize->sums;
    for (size_t i = 0; i < width; i++) sums[i] = 0.0f;
    for (int64_t k = 0; k < axis->counts[y]; k++)
        for (size_t i = 0; i < width; i++)
            sums[i] = multiply_add(fused, values[k], rows[(size_t)k * width + i], sums[i]);
    for (size_t i = 0; i < width; i++) {
        float value = sums[i] < 0.0f ? 0.0f : sums[i] > 255.0f ? 255.0f : sums[i];
        destination[i] = (uint8_t)nearbyintf(value);
    }
}

INLINE void run(bool fused, const struct resize_float *resize, const uint8_t *source, size_t source_stride,
                uint8_t *destination, size_t stride) {
    size_t wide = (size_t)resize->from.width * (size_t)resize->channels;
    size_t narrow = (size_t)resize->to.width * (size_t)resize->channels;
    for (int64_t y = 0; y < resize->from.height; y++) {
        for (size_t i = 0; i < wide; i++) resize->row[i] = source[(size_t)y * source_stride + i];
        filter_across(fused, &resize->across, resize->row, resize->channels,
                      resize->middle + (size_t)y * narrow);
    }
    for (int64_t y = 0; y < resize->to.height; y++)
        filter_down(fused, resize, y, destination + (size_t)y * stride);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void run_fused(const struct resize_float *resize,
                                                          const uint8_t *source, size_t source_stride,
                                                          uint8_t *destination, size_t stride) {
    run(true, resize, source, source_stride, destination, stride);
}

static bool has_fused(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static void run_fused(const struct resize_float *resize, const uint8_t *source, size_t source_stride,
                      uint8_t *destination, size_t stride) {
    run(true, resize, source, source_stride, destination, stride);
}

static bool has_fused(void) {
    return true; /* arm64 */
}
#endif

void resize_float_run(struct resize_float *resize, const uint8_t *source, size_t source_stride,
                      uint8_t *destination, size_t destination_stride) {
    if (has_fused())
        run_fused(resize, source, source_stride, destination, destination_stride);
    else
        run(false, resize, source, source_stride, destination, destination_stride);
}
