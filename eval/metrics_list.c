/* The figures by name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/metrics.h"

struct list {
    struct metric *metrics;
    size_t count;
};

static void add(struct list *list, int column, const char *suffix, const char *title,
                struct estimate estimate, enum metric_unit unit, bool less_is_better) {
    struct metric *metric = &list->metrics[list->count++];
    *metric = (struct metric){.title = title,
                              .column = column,
                              .value = estimate.value,
                              .interval = estimate.interval,
                              .unit = unit,
                              .less_is_better = less_is_better};
    snprintf(metric->key, sizeof metric->key, "%s%s", column < 0 ? "" : column_name(column), suffix);
}

static struct estimate of_share(const struct share *share) {
    return (struct estimate){share->count ? (double)share->hits / (double)share->count : NAN,
                             share->interval};
}

/* A figure without an interval. */
static struct estimate bare(double value) {
    return (struct estimate){value, {NAN, NAN}};
}

static void add_points(const struct metrics *metrics, struct list *list) {
    const struct column_metrics *columns = metrics->columns;
    for (int c = 0; c < DIMENSIONS; c++)
        add(list, c, "_acc", "accuracy", of_share(&columns[c].exact), METRIC_PERCENT, false);
    for (int c = 0; c < DIMENSIONS; c++)
        add(list, c, "_acc_relaxed", "accuracy within 1", of_share(&columns[c].relaxed), METRIC_PERCENT,
            false);
    add(list, COLUMN_OVERALL, "_acc", "accuracy", of_share(&columns[COLUMN_OVERALL].exact), METRIC_PERCENT,
        false);
    add(list, -1, "acc_whole_item", "all three exact", of_share(&metrics->all_exact), METRIC_PERCENT, false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_spcc", "Spearman's rho", columns[c].spearman, METRIC_PERCENT, false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_plcc", "Pearson's r", columns[c].pearson, METRIC_PERCENT, false);
}

/* What the published script does not have. */
static void add_further(const struct metrics *metrics, struct list *list) {
    const struct column_metrics *columns = metrics->columns;
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_acc_constant", "best constant guess", of_share(&columns[c].constant), METRIC_PERCENT,
            false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_mae", "mean absolute error", columns[c].error, METRIC_SCORE, true);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_kendall", "Kendall's tau-b", bare(columns[c].kendall), METRIC_PERCENT, false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_alpha_interval", "Krippendorff's alpha, interval", bare(columns[c].alpha_interval),
            METRIC_PERCENT, false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_alpha_ordinal", "Krippendorff's alpha, ordinal", bare(columns[c].alpha_ordinal),
            METRIC_PERCENT, false);
    for (int c = 0; c < COLUMNS; c++)
        add(list, c, "_kappa", "Cohen's kappa, quadratic", bare(columns[c].kappa), METRIC_PERCENT, false);
    for (int c = 0; c < DIMENSIONS; c++)
        add(list, c, "_ece", "calibration error", bare(columns[c].calibration.error), METRIC_PERCENT, true);
    for (int c = 0; c < DIMENSIONS; c++)
        add(list, c, "_aurc", "area under risk-coverage", bare(columns[c].calibration.risk_area),
            METRIC_PERCENT, true);
}

static void add_pairs(const struct pair_metrics *pairs, struct list *list) {
    static const int columns[PAIR_ASPECTS] = {DIMENSION_VISUAL, DIMENSION_ALIGNMENT, COLUMN_OVERALL};
    for (int with = 1; with >= 0; with--)
        for (int a = 0; a < PAIR_ASPECTS; a++) {
            add(list, columns[a], "", with ? "pairs, with ties" : "pairs, without ties",
                of_share(with ? &pairs->ties[a] : &pairs->no_ties[a]), METRIC_PERCENT, false);
            struct metric *metric = &list->metrics[list->count - 1];
            snprintf(metric->key, sizeof metric->key, "%s_acc_%s", pair_aspect_name((enum pair_aspect)a),
                     with ? "ties" : "no_ties");
        }
}

size_t metrics_list(const struct metrics *metrics, struct metric list[METRICS_MOST]) {
    struct list made = {.metrics = list};
    add_points(metrics, &made);
    if (metrics->has_pairs) add_pairs(&metrics->pairs, &made);
    add_further(metrics, &made);
    return made.count;
}

const struct metric *metrics_find(const struct metric *list, size_t count, const char *title, int column) {
    for (size_t i = 0; i < count; i++)
        if (list[i].column == column && strcmp(list[i].title, title) == 0) return &list[i];
    return NULL;
}

bool metrics_have_column(const struct metrics *metrics, const struct metric *list, size_t count, int column) {
    for (size_t i = 0; i < count; i++)
        if (list[i].column == column && !isnan(list[i].value)) return true;
    return metrics->columns[column].count > 0;
}

double metric_shown(const struct metric *metric, double value) {
    char decimals[64];
    if (isnan(value)) return NAN;
    snprintf(decimals, sizeof decimals, "%.3f", metric->unit == METRIC_PERCENT ? value * 100 : value);
    return strtod(decimals, NULL);
}
