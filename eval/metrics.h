/* Every figure of a result file, by the published rules where these have it (docs/evaluation.md defines
 * each).
 *
 * Rows in which one of the model's three scores is missing are dropped before everything, and counted. A
 * column is a dimension, or the video as a whole where the benchmark has a truth of it. */
#ifndef VS2_EVAL_METRICS_H
#define VS2_EVAL_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "eval/calibration.h"
#include "eval/pair_metrics.h"
#include "eval/points.h"
#include "eval/resample.h"

/* How often each level was given where another was true. */
struct confusion {
    int levels[BENCHMARK_LEVELS];                     /* of the truth's scale, ascending */
    int count;                                        /* of them; 0: the column has no levels */
    size_t cells[BENCHMARK_LEVELS][BENCHMARK_LEVELS]; /* [truth][model] */
    size_t outside;                                   /* points whose truth or score is none of the levels */
};

/* A figure and its 95% interval; NaN: not defined. */
struct estimate {
    double value;
    struct interval interval;
};

struct column_metrics {
    size_t count;                /* points */
    struct share exact, relaxed; /* level = truth; |level - truth| <= 1 */
    struct share constant;       /* what the level that is true most often would have got right */
    struct estimate error;       /* mean |score - truth|; of mapped scales |level - truth| */
    struct estimate spearman, pearson;
    double kendall;                       /* tau-b */
    double alpha_interval, alpha_ordinal; /* Krippendorff's, of the same values as the error */
    double kappa; /* Cohen's, quadratic weights, of the points of the confusion matrix */
    struct confusion confusion;
    struct calibration calibration; /* of the digit that was written; not of the whole video */
};

struct metrics {
    const struct benchmark *benchmark;
    bool whole;                   /* whole scores */
    size_t rows, scored, missing; /* missing: rows without all three scores */
    size_t read_from_text;        /* rows whose scores were read from their output */
    struct column_metrics columns[COLUMNS];
    struct share all_exact; /* all three dimensions exact; no trials where one of them has no levels */
    bool has_pairs;
    struct pair_metrics pairs;
};

/* `pairs` may be NULL. `seed` is that of the bootstrap. */
enum status metrics_make(const struct results *results, const struct benchmark *benchmark,
                         const struct benchmark_pair_list *pairs, uint64_t seed, struct metrics *metrics,
                         struct error *err);

/* ---- As a list --------------------------------------------------------------------------------------- */

enum metric_unit {
    METRIC_PERCENT, /* `value` is a share or a coefficient: times 100 when shown */
    METRIC_SCORE,   /* on the scale of the scores */
};

/* One figure. */
struct metric {
    char key[32];      /* "v_acc", "overall_acc_ties", ... */
    const char *title; /* "accuracy" */
    int column;        /* COLUMN_..., or -1: of the whole file */
    double value;
    struct interval interval;
    enum metric_unit unit;
    bool less_is_better;
};

enum { METRICS_MOST = 64 };

/* All figures, in the order in which they are shown; those that the benchmark does not have are NaN. Returns
 * how many. */
size_t metrics_list(const struct metrics *metrics, struct metric list[METRICS_MOST]);

/* The figure of that title and column; NULL: there is none. */
const struct metric *metrics_find(const struct metric *list, size_t count, const char *title, int column);

/* A figure of the column is told, or it has points at least. */
bool metrics_have_column(const struct metrics *metrics, const struct metric *list, size_t count, int column);

/* The value as it is shown: percent with 3 decimals, rounded as Python's round does. */
double metric_shown(const struct metric *metric, double value);

/* An object: the counts, every figure of the list under its key (null for NaN), "intervals" by key, and for
 * the columns "confusion", "calibration" and "risk_coverage". NULL: out of memory. */
json_t *metrics_json(const struct metrics *metrics);

/* The same as a table for a terminal. */
void metrics_append(const struct metrics *metrics, struct text *text);

#endif
