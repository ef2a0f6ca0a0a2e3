#include "data/resize_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Keys' cubic with a = -0.5, with the operations in the order of each reference, since the last bit counts.
 */
static double cubic_pillow(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double cubic_torch(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2.0) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return 0.0;
}

enum {
    PILLOW_PRECISION = 32 - 8 - 2,
    TORCH_MAX_PRECISION = 22,
};

/* torch: as many bits as keep the largest weight in 16. */
static int torch_precision(const double *values, int64_t count) {
    double most = 0.0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, values[i]);
    int precision = 0;
    while (precision < TORCH_MAX_PRECISION && (int)(0.5 + most * (1 << (precision + 1))) < (1 << 15))
        precision++;
    return precision;
}

/* Rounds half away from zero, and splits where there is a high part. */
static void to_fixed(const double *exact, int64_t count, struct resize_weights *weights) {
    for (int64_t i = 0; i < count; i++) {
        double scaled = exact[i] * (1 << weights->precision);
        int32_t fixed = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
        if (weights->high) {
            weights->high[i] = (int16_t)(fixed >> RESIZE_HIGH_SHIFT);
            fixed &= (1 << RESIZE_HIGH_SHIFT) - 1;
        }
        weights->low[i] = (int16_t)fixed;
    }
}

/* The weights of output i before they are made fixed, summing to 1. */
static void fill_row(enum resize_kind kind, int64_t from, double scale, int64_t i, double *row,
                     struct resize_weights *weights) {
    double (*cubic)(double) = kind == RESIZE_TORCH ? cubic_torch : cubic_pillow;
    double widened = scale < 1.0 ? 1.0 : scale;
    double support = 2.0 * widened;
    double inverse = 1.0 / widened;
    double center = scale * ((double)i + 0.5);
    int64_t first = (int64_t)(center - support + 0.5);
    int64_t end = (int64_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > from) end = from;

    double total = 0.0;
    for (int64_t k = 0; k < end - first; k++) {
        row[k] = cubic(((double)(k + first) - center + 0.5) * inverse);
        total += row[k];
    }
    if (total != 0.0)
        for (int64_t k = 0; k < end - first; k++) row[k] /= total;
    weights->starts[i] = (int32_t)first;
    weights->counts[i] = (int32_t)(end - first);
}

enum status resize_weights_new(enum resize_kind kind, int64_t from, int64_t to,
                               struct resize_weights *weights, struct error *err) {
    double scale = (double)from / (double)to;
    int64_t taps = (int64_t)ceil(2.0 * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
    taps += taps % 2;
    size_t cells = (size_t)to * (size_t)taps;
    *weights = (struct resize_weights){.length = to, .taps = taps};
    double *exact = memory_new(cells, sizeof *exact, "resize weights", err);
    weights->starts = memory_new((size_t)to, sizeof *weights->starts, "resize weights", err);
    weights->counts = memory_new((size_t)to, sizeof *weights->counts, "resize weights", err);
    weights->low = memory_new(cells, sizeof *weights->low, "resize weights", err);
    if (kind == RESIZE_PILLOW)
        weights->high = memory_new(cells, sizeof *weights->high, "resize weights", err);
    if (!exact || !weights->starts || !weights->counts || !weights->low) goto err;
    if (kind == RESIZE_PILLOW && !weights->high) goto err;

    for (int64_t i = 0; i < to; i++) fill_row(kind, from, scale, i, exact + i * taps, weights);
    weights->precision = kind == RESIZE_TORCH ? torch_precision(exact, (int64_t)cells) : PILLOW_PRECISION;
    to_fixed(exact, (int64_t)cells, weights);
    free(exact);
    return STATUS_OK;
err:
    free(exact);
    resize_weights_free(weights);
    return STATUS_FAILED;
}

void resize_weights_free(struct resize_weights *weights) {
    free(weights->starts);
    free(weights->counts);
    free(weights->low);
    free(weights->high);
    *weights = (struct resize_weights){0};
}
