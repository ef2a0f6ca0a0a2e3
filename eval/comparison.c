#include "eval/comparison.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/correlation.h"

static const double significant = 0.05;

static void add(struct comparison *comparison, const char *prefix, const char *suffix, enum metric_unit unit,
                bool less_is_better, double a, double b, double p) {
    struct difference *difference = &comparison->list[comparison->count++];
    *difference = (struct difference){.unit = unit, .less_is_better = less_is_better, .a = a, .b = b, .p = p};
    if (isnan(a) || isnan(b)) difference->p = NAN;
    snprintf(difference->key, sizeof difference->key, "%s%s", prefix, suffix);
}

/* Outcomes of the same trials in both files. */
struct trials {
    size_t count, a, b;  /* trials, and right ones */
    size_t wins, losses; /* only b is right, only a is */
};

static void trials_add(struct trials *trials, bool a, bool b) {
    trials->count++;
    trials->a += a;
    trials->b += b;
    trials->wins += b && !a;
    trials->losses += a && !b;
}

static void add_trials(struct comparison *comparison, const char *prefix, const char *suffix,
                       const struct trials *trials) {
    const double n = (double)trials->count;
    add(comparison, prefix, suffix, METRIC_PERCENT, false, trials->count ? (double)trials->a / n : NAN,
        trials->count ? (double)trials->b / n : NAN, share_test(trials->wins, trials->losses));
}

/* ---- Points ------------------------------------------------------------------------------------------ */

/* The rows of both files for the same videos, with one truth. */
struct both {
    const struct result_row **a, **b;
    struct result_row *copies; /* what b points to */
    size_t count;
    bool a_whole, b_whole;
};

/* One column of both. */
struct column {
    struct points a, b;
    bool levels, mapped;
};

static double mean_error(const struct points *points, const double *values) {
    double sum = 0;
    for (size_t i = 0; i < points->count; i++) sum += fabs(values[i] - points->truth[i]);
    return points->count ? sum / (double)points->count : NAN;
}

static void compare_levels(const struct column *column, const char *name, bool relaxed,
                           struct comparison *comparison) {
    struct trials exact = {0}, near = {0};
    for (size_t i = 0; i < column->a.count; i++) {
        const double truth = column->a.truth[i], a = column->a.level[i], b = column->b.level[i];
        trials_add(&exact, a == truth, b == truth);
        trials_add(&near, fabs(a - truth) <= 1, fabs(b - truth) <= 1);
    }
    add_trials(comparison, name, "_acc", &exact);
    if (relaxed) add_trials(comparison, name, "_acc_relaxed", &near);
}

static enum status compare_column(const struct column *column, const char *name, uint64_t seed,
                                  uint32_t stream, struct comparison *comparison, struct error *err) {
    const struct points *a = &column->a, *b = &column->b;
    struct column_tests tests;
    double a_rho, b_rho;
    enum status status = column_tests(a->truth, a->score, b->score, a->count, seed, stream, &tests, err);
    if (status == STATUS_OK) status = spearman(a->truth, a->score, a->count, &a_rho, err);
    if (status == STATUS_OK) status = spearman(b->truth, b->score, b->count, &b_rho, err);
    if (status != STATUS_OK) return status;
    add(comparison, name, "_spcc", METRIC_PERCENT, false, a_rho, b_rho, tests.spearman);
    add(comparison, name, "_plcc", METRIC_PERCENT, false, pearson(a->truth, a->score, a->count),
        pearson(b->truth, b->score, b->count), tests.pearson);
    if (column->levels && !column->mapped)
        add(comparison, name, "_mae", METRIC_SCORE, true, mean_error(a, a->score), mean_error(b, b->score),
            tests.error);
    return STATUS_OK;
}

static enum status compare_points(const struct benchmark *benchmark, int c, const struct both *both,
                                  uint64_t seed, struct comparison *comparison, struct error *err) {
    struct column column = {.levels = column_has_levels(benchmark, c),
                            .mapped = column_truth(benchmark, c)->levels};
    enum status status = points_make(benchmark, c, both->a, both->count, both->a_whole, &column.a, err);
    if (status == STATUS_OK)
        status = points_make(benchmark, c, both->b, both->count, both->b_whole, &column.b, err);
    if (status == STATUS_OK && column.a.count) {
        if (column.levels) compare_levels(&column, column_name(c), c != COLUMN_OVERALL, comparison);
        status = compare_column(&column, column_name(c), seed, (uint32_t)c, comparison, err);
    }
    points_free(&column.a);
    points_free(&column.b);
    return status;
}

static void compare_all_exact(const struct benchmark *benchmark, const struct both *both,
                              struct comparison *comparison) {
    struct trials trials = {0};
    for (int d = 0; d < DIMENSIONS; d++)
        if (!column_has_levels(benchmark, d)) return;
    for (size_t i = 0; i < both->count; i++) {
        bool truth = true, a = true, b = true;
        for (int d = 0; d < DIMENSIONS; d++) {
            const double wanted = both->a[i]->truths[d];
            truth &= !isnan(wanted);
            a &= column_level(benchmark, d, both->a[i]->model, both->a_whole) == wanted;
            b &= column_level(benchmark, d, both->b[i]->model, both->b_whole) == wanted;
        }
        if (truth) trials_add(&trials, a, b);
    }
    if (trials.count) add_trials(comparison, "", "acc_whole_item", &trials);
}

static void both_free(struct both *both) {
    free(both->a);
    free(both->b);
    free(both->copies);
}

static enum status both_make(const struct results *a, const struct results *b, struct both *both,
                             struct error *err) {
    *both = (struct both){.a = memory_new(a->count, sizeof(*both->a), "results", err),
                          .b = memory_new(a->count, sizeof(*both->b), "results", err),
                          .copies = memory_new(a->count, sizeof(*both->copies), "results", err),
                          .a_whole = a->whole,
                          .b_whole = b->whole};
    if (!both->a || !both->b || !both->copies) return STATUS_FAILED;
    for (size_t i = 0; i < a->count; i++) {
        const struct result_row *row = &a->rows[i], *other = results_find(b, row->video_name);
        if (!other || !result_scored(row) || !result_scored(other)) continue;
        struct result_row *copy = &both->copies[both->count];
        *copy = *other;
        memcpy(copy->truths, row->truths, sizeof copy->truths);
        copy->overall = row->overall;
        both->a[both->count] = row;
        both->b[both->count++] = copy;
    }
    return STATUS_OK;
}

/* ---- Pairs ------------------------------------------------------------------------------------------- */

static void add_pair_trials(struct comparison *comparison, enum pair_aspect aspect, const char *suffix,
                            const struct trials *trials) {
    if (trials->count) add_trials(comparison, pair_aspect_name(aspect), suffix, trials);
}

static void outcome_add(struct trials *trials, enum outcome a, enum outcome b) {
    if (a != OUTCOME_NONE && b != OUTCOME_NONE) trials_add(trials, a == OUTCOME_RIGHT, b == OUTCOME_RIGHT);
}

static enum status compare_pairs(const struct results *a, const struct results *b,
                                 const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                                 struct comparison *comparison, struct error *err) {
    struct trials ties[PAIR_ASPECTS] = {{0}}, no_ties[PAIR_ASPECTS] = {{0}};
    struct pair_outcome *outcomes = memory_new(2 * pairs->count, sizeof *outcomes, "pairs", err);
    if (!outcomes) return STATUS_FAILED;
    const struct pair_outcome *of_a = outcomes, *of_b = outcomes + pairs->count;
    pair_outcomes(benchmark, pairs, a, outcomes);
    pair_outcomes(benchmark, pairs, b, outcomes + pairs->count);
    for (size_t i = 0; i < pairs->count; i++) {
        bool judged = false;
        for (int k = 0; k < PAIR_ASPECTS; k++) {
            judged |= of_a[i].ties[k] != OUTCOME_NONE && of_b[i].ties[k] != OUTCOME_NONE;
            outcome_add(&ties[k], of_a[i].ties[k], of_b[i].ties[k]);
            outcome_add(&no_ties[k], of_a[i].no_ties[k], of_b[i].no_ties[k]);
        }
        comparison->pairs += judged;
    }
    for (int k = 0; k < PAIR_ASPECTS; k++)
        add_pair_trials(comparison, (enum pair_aspect)k, "_acc_ties", &ties[k]);
    for (int k = 0; k < PAIR_ASPECTS; k++)
        add_pair_trials(comparison, (enum pair_aspect)k, "_acc_no_ties", &no_ties[k]);
    free(outcomes);
    return STATUS_OK;
}

enum status comparison_make(const struct results *a, const struct results *b,
                            const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                            uint64_t seed, struct comparison *comparison, struct error *err) {
    struct both both;
    *comparison = (struct comparison){0};
    enum status status = both_make(a, b, &both, err);
    comparison->rows = both.count;
    for (int c = 0; c < COLUMNS && status == STATUS_OK; c++)
        status = compare_points(benchmark, c, &both, seed, comparison, err);
    if (status == STATUS_OK) compare_all_exact(benchmark, &both, comparison);
    if (status == STATUS_OK && pairs) status = compare_pairs(a, b, benchmark, pairs, comparison, err);
    both_free(&both);
    return status;
}

/* ---- Showing it -------------------------------------------------------------------------------------- */

const char *difference_better(const struct difference *difference) {
    if (!(difference->p < significant) || difference->a == difference->b) return "neither";
    return (difference->b > difference->a) != difference->less_is_better ? "B" : "A";
}

static double shown(const struct difference *difference, double value) {
    return metric_shown(&(struct metric){.unit = difference->unit}, value);
}

static json_t *number(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *difference_json(const struct difference *d) {
    return json_pack("{s:o, s:o, s:o, s:o, s:s}", "a", number(shown(d, d->a)), "b", number(shown(d, d->b)),
                     "difference", number(shown(d, d->b - d->a)), "p", number(d->p), "better",
                     difference_better(d));
}

json_t *comparison_json(const struct comparison *comparison) {
    json_t *differences = json_object();
    bool done = true;
    for (size_t i = 0; i < comparison->count && done; i++)
        done = json_object_set_new(differences, comparison->list[i].key,
                                   difference_json(&comparison->list[i])) == 0;
    if (!done) {
        json_decref(differences);
        return NULL;
    }
    return json_pack("{s:I, s:I, s:o}", "rows", (json_int_t)comparison->rows, "pairs",
                     (json_int_t)comparison->pairs, "differences", differences);
}

void comparison_append(const struct comparison *comparison, struct text *text) {
    text_format(text, "%zu videos scored in both", comparison->rows);
    if (comparison->pairs) text_format(text, ", %zu pairs judged in both", comparison->pairs);
    text_format(text, "\n%-22s%10s%10s%12s%10s  better\n", "", "A", "B", "difference", "p");
    for (size_t i = 0; i < comparison->count; i++) {
        const struct difference *d = &comparison->list[i];
        char p[16] = "<0.0001";
        if (isnan(d->p)) continue;
        if (d->p >= 0.0001) snprintf(p, sizeof p, "%.4f", d->p);
        text_format(text, "%-22s%10.3f%10.3f%+12.3f%10s  %s\n", d->key, shown(d, d->a), shown(d, d->b),
                    shown(d, d->b - d->a), p, difference_better(d));
    }
}
