#include "eval/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "eval/agreement.h"
#include "eval/correlation.h"

/* ---- One column -------------------------------------------------------------------------------------- */

static void find_levels(const struct benchmark_truth *truth, struct confusion *confusion) {
    for (int score = 1; score <= BENCHMARK_LEVELS; score++) {
        const int level = (int)benchmark_level(truth, score);
        if (!confusion->count || confusion->levels[confusion->count - 1] != level)
            confusion->levels[confusion->count++] = level;
    }
}

/* Which of the levels a value is; -1: none. */
static int level_index(const struct confusion *confusion, double value) {
    for (int i = 0; i < confusion->count; i++)
        if (confusion->levels[i] == value) return i;
    return -1;
}

/* Fills the matrix, and computes kappa of what is in it. */
static enum status count_confusion(const struct points *points, struct column_metrics *metrics,
                                   struct error *err) {
    double *inside = memory_new(2 * points->count, sizeof *inside, "a confusion matrix", err);
    if (!inside) return STATUS_FAILED;
    size_t count = 0;
    for (size_t i = 0; i < points->count; i++) {
        const int truth = level_index(&metrics->confusion, points->truth[i]);
        const int model = level_index(&metrics->confusion, points->level[i]);
        if (truth < 0 || model < 0) {
            metrics->confusion.outside++;
            continue;
        }
        metrics->confusion.cells[truth][model]++;
        inside[count] = points->truth[i];
        inside[points->count + count++] = points->level[i];
    }
    metrics->kappa = weighted_kappa(inside, inside + points->count, count);
    free(inside);
    return STATUS_OK;
}

static void count_exact(const struct points *points, struct column_metrics *metrics) {
    size_t truths[BENCHMARK_LEVELS] = {0};
    for (size_t i = 0; i < points->count; i++) {
        metrics->exact.hits += points->level[i] == points->truth[i];
        metrics->relaxed.hits += fabs(points->level[i] - points->truth[i]) <= 1;
        const int truth = level_index(&metrics->confusion, points->truth[i]);
        if (truth >= 0 && ++truths[truth] > metrics->constant.hits) metrics->constant.hits = truths[truth];
    }
    metrics->exact.count = metrics->relaxed.count = metrics->constant.count = points->count;
    metrics->exact.interval = share_interval(metrics->exact.hits, points->count);
    metrics->relaxed.interval = share_interval(metrics->relaxed.hits, points->count);
}

/* What compares with the truth number by number. */
static enum status compare_numbers(const double *truth, const double *values, size_t count,
                                   struct column_metrics *metrics, struct error *err) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += fabs(values[i] - truth[i]);
    metrics->error.value = count ? sum / (double)count : NAN;
    metrics->alpha_interval = alpha_interval(truth, values, count);
    return alpha_ordinal(truth, values, count, &metrics->alpha_ordinal, err);
}

/* The same on a scale of the benchmark's own, whose levels not every score has. */
static enum status compare_levels(const struct points *points, uint64_t seed, uint32_t stream,
                                  struct column_metrics *metrics, struct error *err) {
    struct column_intervals intervals;
    double *truth = memory_new(2 * points->count, sizeof *truth, "a column of scores", err);
    if (!truth) return STATUS_FAILED;
    double *levels = truth + points->count;
    size_t count = 0;
    for (size_t i = 0; i < points->count; i++) {
        if (isnan(points->level[i])) continue;
        truth[count] = points->truth[i];
        levels[count++] = points->level[i];
    }
    enum status status = compare_numbers(truth, levels, count, metrics, err);
    if (status == STATUS_OK)
        status =
            column_intervals(truth, levels, count, (struct column_figures){.error = metrics->error.value},
                             seed, stream, &intervals, err);
    if (status == STATUS_OK) metrics->error.interval = intervals.error;
    free(truth);
    return status;
}

/* Whether the digit that was written is right, and how confident it was. */
static enum status calibrate(const struct benchmark *benchmark, int column, const struct points *points,
                             const struct result_row *const *rows, struct calibration *calibration,
                             struct error *err) {
    double *confidence = memory_new(points->count, sizeof *confidence, "calibration", err);
    bool *right = memory_new(points->count, sizeof *right, "calibration", err);
    enum status status = confidence && right ? STATUS_OK : STATUS_FAILED;
    size_t count = 0;
    for (size_t i = 0; i < points->count && status == STATUS_OK; i++) {
        const struct result_row *row = rows[points->rows[i]];
        if (isnan(row->confidence[column]) || isnan(row->hard[column])) continue;
        confidence[count] = row->confidence[column];
        right[count++] = column_level(benchmark, column, row->hard, true) == points->truth[i];
    }
    if (status == STATUS_OK) status = calibration_make(confidence, right, count, calibration, err);
    free(confidence);
    free(right);
    return status;
}

/* Accuracy and what else needs levels. */
static enum status level_metrics(const struct benchmark *benchmark, int column, const struct points *points,
                                 const struct result_row *const *rows, uint64_t seed,
                                 struct column_metrics *metrics, struct error *err) {
    const struct benchmark_truth *truth = column_truth(benchmark, column);
    find_levels(truth, &metrics->confusion);
    count_exact(points, metrics);
    enum status status = count_confusion(points, metrics, err);
    if (status == STATUS_OK)
        status = truth->levels ? compare_levels(points, seed, (uint32_t)(COLUMNS + column), metrics, err)
                               : compare_numbers(points->truth, points->score, points->count, metrics, err);
    if (status == STATUS_OK && column != COLUMN_OVERALL)
        status = calibrate(benchmark, column, points, rows, &metrics->calibration, err);
    return status;
}

/* Correlations of the scores as the model gave them, and the intervals. */
static enum status correlate(const struct points *points, bool own_scale, uint64_t seed, uint32_t stream,
                             struct column_metrics *metrics, struct error *err) {
    struct column_intervals intervals;
    struct column_figures figures = {.pearson = pearson(points->truth, points->score, points->count),
                                     .error = metrics->error.value};
    enum status status = spearman(points->truth, points->score, points->count, &figures.spearman, err);
    if (status == STATUS_OK)
        status = kendall(points->truth, points->score, points->count, &metrics->kendall, err);
    if (status == STATUS_OK)
        status = column_intervals(points->truth, points->score, points->count, figures, seed, stream,
                                  &intervals, err);
    if (status != STATUS_OK) return status;
    metrics->pearson = (struct estimate){figures.pearson, intervals.pearson};
    metrics->spearman = (struct estimate){figures.spearman, intervals.spearman};
    if (!own_scale) metrics->error.interval = intervals.error;
    return STATUS_OK;
}

static enum status column_make(const struct benchmark *benchmark, int column,
                               const struct result_row *const *rows, size_t count, bool whole, uint64_t seed,
                               struct column_metrics *metrics, struct error *err) {
    const struct interval none = {NAN, NAN};
    const struct estimate unknown = {NAN, none};
    struct points points;
    *metrics = (struct column_metrics){.exact.interval = none,
                                       .relaxed.interval = none,
                                       .constant.interval = none,
                                       .error = unknown,
                                       .spearman = unknown,
                                       .pearson = unknown,
                                       .kendall = NAN,
                                       .alpha_interval = NAN,
                                       .alpha_ordinal = NAN,
                                       .kappa = NAN};
    enum status status = calibration_make(NULL, NULL, 0, &metrics->calibration, err);
    if (status == STATUS_OK) status = points_make(benchmark, column, rows, count, whole, &points, err);
    if (status != STATUS_OK) return status;
    metrics->count = points.count;
    if (points.count && column_has_levels(benchmark, column))
        status = level_metrics(benchmark, column, &points, rows, seed, metrics, err);
    if (points.count && status == STATUS_OK)
        status =
            correlate(&points, column_truth(benchmark, column)->levels, seed, (uint32_t)column, metrics, err);
    points_free(&points);
    return status;
}

/* ---- The file ---------------------------------------------------------------------------------------- */

/* Rows whose three scores are all exact. */
static struct share count_all_exact(const struct results *results, const struct benchmark *benchmark) {
    struct share share = {.interval = {NAN, NAN}};
    for (int d = 0; d < DIMENSIONS; d++)
        if (!column_has_levels(benchmark, d)) return share;
    for (size_t i = 0; i < results->count; i++) {
        const struct result_row *row = &results->rows[i];
        bool truth = result_scored(row), exact = true;
        for (int d = 0; d < DIMENSIONS; d++) {
            truth &= !isnan(row->truths[d]);
            exact &= column_level(benchmark, d, row->model, results->whole) == row->truths[d];
        }
        share.count += truth;
        share.hits += truth && exact;
    }
    share.interval = share_interval(share.hits, share.count);
    return share;
}

enum status metrics_make(const struct results *results, const struct benchmark *benchmark,
                         const struct benchmark_pair_list *pairs, uint64_t seed, struct metrics *metrics,
                         struct error *err) {
    const struct result_row **rows = memory_new(results->count, sizeof *rows, "results", err);
    if (!rows) return STATUS_FAILED;
    *metrics = (struct metrics){.benchmark = benchmark,
                                .whole = results->whole,
                                .rows = results->count,
                                .read_from_text = results->read_from_text,
                                .all_exact = count_all_exact(results, benchmark),
                                .has_pairs = pairs != NULL};
    for (size_t i = 0; i < results->count; i++) {
        rows[i] = &results->rows[i];
        metrics->scored += result_scored(rows[i]);
    }
    metrics->missing = metrics->rows - metrics->scored;
    enum status status = STATUS_OK;
    for (int c = 0; c < COLUMNS && status == STATUS_OK; c++)
        status =
            column_make(benchmark, c, rows, results->count, results->whole, seed, &metrics->columns[c], err);
    if (status == STATUS_OK && pairs)
        status = pair_metrics_make(benchmark, pairs, results, &metrics->pairs, err);
    free(rows);
    return status;
}
