#include "eval/tally.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/item_index.h"

/* ---- Opening ----------------------------------------------------------------------------------------- */

/* Finds the items of every pair: all of them are from the same file. */
static enum status find_sides(struct tally *tally, struct error *err) {
    struct item_index index;
    tally->sides = memory_new(tally->pairs.count, sizeof *tally->sides, "pairs", err);
    if (!tally->sides || item_index_make(tally->items, &index, err) != STATUS_OK) return STATUS_FAILED;
    for (size_t i = 0; i < tally->pairs.count; i++)
        for (int side = 0; side < 2; side++) {
            const char *name = tally->pairs.list[i].videos[side];
            tally->sides[i][side] = item_index_find(&index, (struct name_part){name, strlen(name)});
        }
    item_index_free(&index);
    return STATUS_OK;
}

enum status tally_open(struct tally *tally, const struct benchmark *benchmark,
                       const struct benchmark_items *items, const char *data, bool whole, struct error *err) {
    *tally = (struct tally){.benchmark = benchmark, .items = items, .tie_threshold = tie_threshold(whole)};
    enum status status = STATUS_OK;
    tally->scores = memory_new(items->count, sizeof *tally->scores, "scores", err);
    if (!tally->scores) return STATUS_FAILED;
    for (size_t i = 0; i < items->count; i++)
        for (int d = 0; d < DIMENSIONS; d++) tally->scores[i][d] = NAN;
    if (items->pairs) status = benchmark_pairs_read(benchmark, data, &tally->pairs, err);
    if (items->pairs && status == STATUS_OK) status = find_sides(tally, err);
    if (status != STATUS_OK) tally_free(tally);
    return status;
}

void tally_free(struct tally *tally) {
    benchmark_pairs_free(&tally->pairs);
    free(tally->sides);
    free(tally->scores);
    *tally = (struct tally){0};
}

/* ---- Counting ---------------------------------------------------------------------------------------- */

static bool is_scored(const double scores[DIMENSIONS]) {
    for (int d = 0; d < DIMENSIONS; d++)
        if (isnan(scores[d])) return false;
    return true;
}

static void count_outcome(enum outcome outcome, struct share *share) {
    share->count += outcome != OUTCOME_NONE;
    share->hits += outcome == OUTCOME_RIGHT;
}

static void count_points(struct tally *tally, const struct benchmark_item *item,
                         const double scores[DIMENSIONS]) {
    bool levels = true, truth = true, all = true;
    for (int d = 0; d < DIMENSIONS; d++) {
        const bool exact = column_level(tally->benchmark, d, scores, false) == item->truths[d];
        levels &= column_has_levels(tally->benchmark, d);
        truth &= !isnan(item->truths[d]);
        all &= exact;
        if (!column_has_levels(tally->benchmark, d) || isnan(item->truths[d])) continue;
        tally->exact[d].count++;
        tally->exact[d].hits += exact;
    }
    tally->all_exact.count += levels && truth;
    tally->all_exact.hits += levels && truth && all;
}

/* Judges the pairs of an item with those that were scored before. */
static void count_pairs(struct tally *tally, size_t item) {
    for (size_t i = 0; i < tally->pairs.count; i++) {
        const size_t *sides = tally->sides[i];
        if ((sides[0] != item && sides[1] != item) || sides[0] == SIZE_MAX || sides[1] == SIZE_MAX ||
            !is_scored(tally->scores[sides[0]]) || !is_scored(tally->scores[sides[1]]))
            continue;
        const struct pair_outcome outcome =
            pair_judge(tally->benchmark, &tally->pairs.list[i], tally->scores[sides[0]],
                       tally->scores[sides[1]], tally->tie_threshold);
        for (int a = 0; a < PAIR_ASPECTS; a++) {
            count_outcome(outcome.ties[a], &tally->ties[a]);
            count_outcome(outcome.no_ties[a], &tally->no_ties[a]);
        }
    }
}

void tally_add(struct tally *tally, size_t item, const double scores[DIMENSIONS]) {
    tally->added++;
    if (!is_scored(scores)) return;
    tally->scored++;
    memcpy(tally->scores[item], scores, sizeof tally->scores[item]);
    if (!tally->items->pairs) count_points(tally, &tally->items->list[item], scores);
    count_pairs(tally, item);
}

/* ---- Figures ----------------------------------------------------------------------------------------- */

static double value_of(const struct share *share) {
    return share->count ? (double)share->hits / (double)share->count : NAN;
}

/* The mean of those that are numbers. */
static double mean_of(const struct share *shares, int count) {
    double sum = 0;
    int numbers = 0;
    for (int i = 0; i < count; i++) {
        if (!shares[i].count) continue;
        sum += value_of(&shares[i]);
        numbers++;
    }
    return numbers ? sum / numbers : NAN;
}

double tally_accuracy(const struct tally *tally) {
    return tally->items->pairs ? mean_of(tally->ties, PAIR_ASPECTS) : mean_of(tally->exact, DIMENSIONS);
}

static void add_value(struct tally_value *values, size_t *count, const char *prefix, const char *suffix,
                      const struct share *share) {
    struct tally_value *value = &values[(*count)++];
    snprintf(value->key, sizeof value->key, "%s%s", prefix, suffix);
    value->value = value_of(share);
}

size_t tally_list(const struct tally *tally, struct tally_value values[TALLY_VALUES]) {
    const struct benchmark *benchmark = tally->benchmark;
    size_t count = 0;
    int levels = 0;
    for (int d = 0; d < DIMENSIONS && !tally->items->pairs; d++) {
        if (!column_has_levels(benchmark, d)) continue;
        levels++;
        add_value(values, &count, dimension_letter((enum dimension)d), "_acc", &tally->exact[d]);
    }
    if (levels == DIMENSIONS) add_value(values, &count, "", "acc_whole_item", &tally->all_exact);
    for (int with = 1; with >= 0 && tally->items->pairs; with--)
        for (int a = 0; a < PAIR_ASPECTS; a++)
            if (benchmark->pairs.preferences[a])
                add_value(values, &count, pair_aspect_name((enum pair_aspect)a),
                          with ? "_acc_ties" : "_acc_no_ties", with ? &tally->ties[a] : &tally->no_ties[a]);
    return count;
}
