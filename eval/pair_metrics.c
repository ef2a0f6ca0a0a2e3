#include "eval/pair_metrics.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

double tie_threshold(bool whole) {
    return whole ? 0.5 : 0.001;
}

/* The score that an aspect compares. */
static double aspect_score(enum pair_rule rule, enum pair_aspect aspect, const double scores[DIMENSIONS]) {
    if (aspect == PAIR_VISUAL) return scores[DIMENSION_VISUAL];
    if (aspect == PAIR_ALIGNMENT) return scores[DIMENSION_ALIGNMENT];
    const double sum = scores[DIMENSION_VISUAL] + scores[DIMENSION_ALIGNMENT] + scores[DIMENSION_PHYSICAL];
    return rule == PAIR_MEAN ? sum / DIMENSIONS : sum;
}

static enum preference prefer(double difference, double threshold) {
    return difference > threshold ? PREFER_FIRST : difference < -threshold ? PREFER_SECOND : PREFER_SAME;
}

struct pair_outcome pair_judge(const struct benchmark *benchmark, const struct benchmark_pair *pair,
                               const double first[DIMENSIONS], const double second[DIMENSIONS],
                               double threshold) {
    struct pair_outcome outcome = {0};
    for (int a = 0; a < PAIR_ASPECTS; a++) {
        const enum preference truth = pair->preferences[a];
        if (truth == PREFER_NOT_TOLD) continue;
        const enum pair_rule rule = benchmark->pairs.rule;
        const double difference =
            aspect_score(rule, (enum pair_aspect)a, first) - aspect_score(rule, (enum pair_aspect)a, second);
        outcome.ties[a] = prefer(difference, threshold) == truth ? OUTCOME_RIGHT : OUTCOME_WRONG;
        if (truth == PREFER_SAME) continue;
        outcome.no_ties[a] = prefer(difference, 0) == truth ? OUTCOME_RIGHT : OUTCOME_WRONG;
    }
    return outcome;
}

void pair_outcomes(const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                   const struct results *results, struct pair_outcome *outcomes) {
    const double threshold = tie_threshold(results->whole);
    for (size_t i = 0; i < pairs->count; i++) {
        const struct benchmark_pair *pair = &pairs->list[i];
        const struct result_row *const rows[2] = {results_find(results, pair->videos[0]),
                                                  results_find(results, pair->videos[1])};
        const bool judged = rows[0] && rows[1] && result_scored(rows[0]) && result_scored(rows[1]);
        outcomes[i] = judged ? pair_judge(benchmark, pair, rows[0]->model, rows[1]->model, threshold)
                             : (struct pair_outcome){0};
    }
}

static void count_outcome(enum outcome outcome, struct share *share) {
    share->count += outcome != OUTCOME_NONE;
    share->hits += outcome == OUTCOME_RIGHT;
}

enum status pair_metrics_make(const struct benchmark *benchmark, const struct benchmark_pair_list *pairs,
                              const struct results *results, struct pair_metrics *metrics,
                              struct error *err) {
    struct pair_outcome *outcomes = memory_new(pairs->count, sizeof *outcomes, "pairs", err);
    *metrics = (struct pair_metrics){.pairs = pairs->count};
    if (!outcomes) return STATUS_FAILED;
    pair_outcomes(benchmark, pairs, results, outcomes);
    for (size_t i = 0; i < pairs->count; i++) {
        bool judged = false;
        for (int a = 0; a < PAIR_ASPECTS; a++) {
            judged |= outcomes[i].ties[a] != OUTCOME_NONE;
            count_outcome(outcomes[i].ties[a], &metrics->ties[a]);
            count_outcome(outcomes[i].no_ties[a], &metrics->no_ties[a]);
        }
        metrics->dropped += !judged;
        metrics->unknown += !results_find(results, pairs->list[i].videos[0]) ||
                            !results_find(results, pairs->list[i].videos[1]);
    }
    for (int a = 0; a < PAIR_ASPECTS; a++) {
        metrics->ties[a].interval = share_interval(metrics->ties[a].hits, metrics->ties[a].count);
        metrics->no_ties[a].interval = share_interval(metrics->no_ties[a].hits, metrics->no_ties[a].count);
    }
    free(outcomes);
    return STATUS_OK;
}
