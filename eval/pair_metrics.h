/* Accuracy on pairs of videos: does the model prefer the one that people prefer? */
#ifndef VS2_EVAL_PAIR_METRICS_H
#define VS2_EVAL_PAIR_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "eval/benchmark.h"
#include "eval/resample.h"
#include "eval/results.h"

/* A share of hits among trials. */
struct share {
    size_t hits, count;
    struct interval interval; /* 95%, of the share; NaN when there are no trials */
};

struct pair_metrics {
    size_t pairs;   /* in the file */
    size_t dropped; /* left out: a video without a row, or without all three scores */
    size_t unknown; /* those of them with a video without a row */
    /* With ties: the predicted preference equals the true one, scores no further apart than the threshold
     * being the same. Without: pairs whose truth is a tie are left out, and the higher score wins; equal
     * scores are wrong. */
    struct share ties[PAIR_ASPECTS], no_ties[PAIR_ASPECTS];
};

/* What came of each pair in each aspect, with and without ties. */
enum outcome { OUTCOME_NONE, OUTCOME_WRONG, OUTCOME_RIGHT };

struct pair_outcome {
    enum outcome ties[PAIR_ASPECTS], no_ties[PAIR_ASPECTS];
};

/* The difference of scores up to which two videos are the same: 0.5 for whole scores, 0.001 for others. */
double tie_threshold(bool whole);

/* Of one pair, from the three scores of each of its videos. */
struct pair_outcome pair_judge(const struct benchmark *benchmark, const struct benchmark_pair *pair,
                               const double first[DIMENSIONS], const double second[DIMENSIONS],
                               double threshold);

/* Fills outcomes[pairs->count]. */
void pair_outcomes(const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                   const struct results *results, struct pair_outcome *outcomes);

enum status pair_metrics_make(const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                              const struct results *results, struct pair_metrics *metrics, struct error *err);

#endif
