#include "eval/agreement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/correlation.h"

/* Sums over the items. */
struct moments {
    double x, y, xx, yy, difference; /* of x, y, x^2, y^2, (x - y)^2; x and y less the first x */
};

/* The values are taken from the first one on, so that no digits are lost on a large common part. */
static struct moments moments_of(const double *x, const double *y, size_t count) {
    struct moments sums = {0};
    for (size_t i = 0; i < count; i++) {
        const double a = x[i] - x[0], b = y[i] - x[0];
        sums.x += a;
        sums.y += b;
        sums.xx += a * a;
        sums.yy += b * b;
        sums.difference += (a - b) * (a - b);
    }
    return sums;
}

double weighted_kappa(const double *x, const double *y, size_t count) {
    if (!count) return NAN;
    const double n = (double)count;
    const struct moments sums = moments_of(x, y, count);
    const double expected = sums.xx / n + sums.yy / n - 2 * (sums.x / n) * (sums.y / n);
    return expected > 0 ? 1 - sums.difference / n / expected : NAN;
}

double alpha_interval(const double *x, const double *y, size_t count) {
    if (!count) return NAN;
    const double values = 2 * (double)count;
    const struct moments sums = moments_of(x, y, count);
    const double sum = sums.x + sums.y;
    const double expected = 2 * (values * (sums.xx + sums.yy) - sum * sum) / (values * (values - 1));
    return expected > 0 ? 1 - sums.difference / (double)count / expected : NAN;
}

enum status alpha_ordinal(const double *x, const double *y, size_t count, double *alpha, struct error *err) {
    double *values = memory_new(4 * count, sizeof *values, "ranks", err);
    if (!values) return STATUS_FAILED;
    double *ranks = values + 2 * count;
    memcpy(values, x, count * sizeof *x);
    memcpy(values + count, y, count * sizeof *y);
    enum status status = average_ranks(values, 2 * count, ranks, err);
    if (status == STATUS_OK) *alpha = alpha_interval(ranks, ranks + count, count);
    free(values);
    return status;
}
