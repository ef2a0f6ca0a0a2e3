#include "eval/calibration.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "eval/correlation.h"

static int bin_of(double confidence) {
    const int bin = (int)ceil(confidence * CALIBRATION_BINS) - 1;
    return bin < 0 ? 0 : bin >= CALIBRATION_BINS ? CALIBRATION_BINS - 1 : bin;
}

static void fill_bins(const double *confidence, const bool *right, size_t count,
                      struct calibration *calibration) {
    calibration->error = 0;
    for (size_t i = 0; i < count; i++) {
        struct calibration_bin *bin = &calibration->bins[bin_of(confidence[i])];
        bin->count++;
        bin->confidence += confidence[i];
        bin->accuracy += right[i];
    }
    for (struct calibration_bin *bin = calibration->bins; bin < calibration->bins + CALIBRATION_BINS; bin++) {
        bin->confidence /= (double)bin->count;
        bin->accuracy /= (double)bin->count;
        if (bin->count)
            calibration->error += (double)bin->count / (double)count * fabs(bin->accuracy - bin->confidence);
    }
}

/* Walks from the most confident score down; `order` is ascending. */
static void fill_risks(const double *confidence, const bool *right, size_t count, const size_t *order,
                       struct calibration *calibration) {
    size_t taken = 0, step = 0;
    double wrong = 0, area = 0;
    while (taken < count) {
        size_t end = taken, wrong_here = 0;
        const double tied = confidence[order[count - 1 - taken]];
        for (; end < count && confidence[order[count - 1 - end]] == tied; end++)
            wrong_here += !right[order[count - 1 - end]];
        const double share = (double)wrong_here / (double)(end - taken);
        for (size_t k = taken + 1; k <= end; k++) area += (wrong + share * (double)(k - taken)) / (double)k;
        for (; step < COVERAGE_STEPS; step++) {
            const double covered = (double)(step + 1) / COVERAGE_STEPS * (double)count;
            if (covered > (double)end) break;
            calibration->risk[step] = (wrong + share * (covered - (double)taken)) / covered;
        }
        wrong += (double)wrong_here;
        taken = end;
    }
    for (; step < COVERAGE_STEPS; step++) calibration->risk[step] = wrong / (double)count;
    calibration->risk_area = area / (double)count;
}

enum status calibration_make(const double *confidence, const bool *right, size_t count,
                             struct calibration *calibration, struct error *err) {
    *calibration = (struct calibration){.count = count, .error = NAN, .risk_area = NAN};
    for (int i = 0; i < CALIBRATION_BINS && !count; i++)
        calibration->bins[i].confidence = calibration->bins[i].accuracy = NAN;
    for (int i = 0; i < COVERAGE_STEPS && !count; i++) calibration->risk[i] = NAN;
    if (!count) return STATUS_OK;
    size_t *order = memory_new(count, sizeof *order, "calibration", err);
    if (!order) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) order[i] = i;
    enum status status = sort_order(confidence, count, order, err);
    fill_bins(confidence, right, count, calibration);
    if (status == STATUS_OK) fill_risks(confidence, right, count, order, calibration);
    free(order);
    return status;
}
