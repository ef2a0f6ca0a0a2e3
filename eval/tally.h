/* Accuracy as rows come in: for the progress of a run, and for a model in training. */
#ifndef VS2_EVAL_TALLY_H
#define VS2_EVAL_TALLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "eval/benchmark.h"
#include "eval/pair_metrics.h"
#include "eval/points.h"

struct tally {
    const struct benchmark *benchmark;
    const struct benchmark_items *items;
    double (*scores)[DIMENSIONS]; /* [items->count]; NaN: none yet */
    size_t added, scored;         /* items with an answer; with all three scores */
    struct benchmark_pair_list pairs;
    size_t (*sides)[2]; /* [pairs.count]: items */
    double tie_threshold;
    struct share exact[DIMENSIONS], all_exact, ties[PAIR_ASPECTS], no_ties[PAIR_ASPECTS];
};

/* `data` is the file that the items are from, whose pairs are judged where it has pairs; `whole`: the scores
 * will be whole ones. tally_free ends it. */
enum status tally_open(struct tally *tally, const struct benchmark *benchmark,
                       const struct benchmark_items *items, const char *data, bool whole, struct error *err);
void tally_free(struct tally *tally);

/* Counts the scores of an item, once an item. Rows without all three are left out, as everywhere. */
void tally_add(struct tally *tally, size_t item, const double scores[DIMENSIONS]);

/* The mean of the accuracies of the dimensions, or of the pairs' aspects with ties; NaN when nothing can be
 * counted. */
double tally_accuracy(const struct tally *tally);

/* One figure, under the name that eval/metrics.h has for it. */
struct tally_value {
    char key[32];
    double value; /* in [0, 1]; NaN: nothing was counted */
};

enum { TALLY_VALUES = DIMENSIONS + 1 + 2 * PAIR_ASPECTS };

/* Those that the benchmark and its file have; returns how many. */
size_t tally_list(const struct tally *tally, struct tally_value values[TALLY_VALUES]);

#endif
