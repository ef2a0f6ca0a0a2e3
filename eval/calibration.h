/* Does the confidence tell how often the score is right? */
#ifndef VS2_EVAL_CALIBRATION_H
#define VS2_EVAL_CALIBRATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { CALIBRATION_BINS = 10, COVERAGE_STEPS = 50 };

struct calibration_bin {
    size_t count;
    double confidence, accuracy; /* means; NaN when the bin is empty */
};

struct calibration {
    size_t count;                                  /* scores with a confidence; 0: the rest is NaN */
    struct calibration_bin bins[CALIBRATION_BINS]; /* of equal width: bin i holds (i/10, (i+1)/10] */
    /* Expected calibration error: sum over bins of count / n |accuracy - confidence| (Guo et al., "On
     * calibration of modern neural networks", ICML 2017). */
    double error;
    /* Risk against coverage: the share of wrong scores among the most confident (i + 1) / COVERAGE_STEPS of
     * all. Equally confident ones are in no order: a part of them has their share. */
    double risk[COVERAGE_STEPS];
    /* Its mean over all coverages k / n (AURC; Geifman and El-Yaniv, "Selective classification", 2017). */
    double risk_area;
};

/* From confidences in [0, 1] and whether each score is right. */
enum status calibration_make(const double *confidence, const bool *right, size_t count,
                             struct calibration *calibration, struct error *err);

#endif
