#include "data/statistics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum status statistics_add(struct statistics *statistics, double value, struct error *err) {
    if (memory_grow(&statistics->values, &statistics->capacity, statistics->count + 1,
                    sizeof *statistics->values, "statistics", err) != STATUS_OK)
        return STATUS_FAILED;
    statistics->values[statistics->count++] = value;
    return STATUS_OK;
}

void statistics_free(struct statistics *statistics) {
    free(statistics->values);
    *statistics = (struct statistics){0};
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

struct statistics_summary statistics_sum_up(struct statistics *statistics) {
    const double *values = statistics->values;
    size_t count = statistics->count;
    struct statistics_summary summary = {0};
    if (count == 0) return summary;
    qsort(statistics->values, count, sizeof *values, compare);
    for (size_t i = 0; i < count; i++) summary.mean += values[i] / (double)count;
    summary.least = values[0];
    summary.median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    summary.high = values[(size_t)ceil(0.95 * (double)count) - 1];
    summary.most = values[count - 1];
    return summary;
}

/* 1, 2 or 5 times a power of ten, at least `least`. */
static double round_width(double least) {
    double power = pow(10, floor(log10(least)));
    static const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i] * power >= least * (1 - 1e-9)) return steps[i] * power;
    return 10 * power;
}

/* Sets where the bins lie. */
static void choose_bins(struct histogram *histogram, double least, double most, bool whole) {
    enum { ABOUT = 12 };
    histogram->whole = whole && most - least < HISTOGRAM_BINS;
    if (histogram->whole) {
        histogram->low = least;
        histogram->width = 1;
        histogram->bins = (int)(most - least) + 1;
        return;
    }
    double span = most - least;
    if (span <= 0) span = fmax(fabs(most), 1) * 0.1;
    histogram->width = round_width(span / ABOUT);
    if (whole) histogram->width = fmax(1, histogram->width);
    histogram->low = floor(least / histogram->width) * histogram->width;
    double bins = floor((most - histogram->low) / histogram->width) + 1;
    histogram->bins = bins < HISTOGRAM_BINS ? (int)bins : HISTOGRAM_BINS;
}

struct histogram histogram_make(const struct statistics *statistics) {
    struct histogram histogram = {0};
    double least = INFINITY, most = -INFINITY;
    bool whole = true;
    for (size_t i = 0; i < statistics->count; i++) {
        least = fmin(least, statistics->values[i]);
        most = fmax(most, statistics->values[i]);
        whole = whole && statistics->values[i] == floor(statistics->values[i]);
    }
    if (statistics->count == 0) return histogram;
    choose_bins(&histogram, least, most, whole);
    for (size_t i = 0; i < statistics->count; i++) {
        double bin = (statistics->values[i] - histogram.low) / histogram.width;
        histogram.counts[bin < histogram.bins ? (int)fmax(bin, 0) : histogram.bins - 1]++;
    }
    return histogram;
}

void histogram_label(const struct histogram *histogram, int bin, char *label, size_t size) {
    double low = histogram->low + bin * histogram->width;
    if (histogram->whole)
        snprintf(label, size, "%g", low);
    else
        snprintf(label, size, "%g-%g", low, low + histogram->width);
}
