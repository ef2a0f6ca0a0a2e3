/* Accuracy as rows come in equals that of the metrics of the whole file, at any moment. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "eval/metrics.h"
#include "eval/tally.h"
#include "tests/eval/support_files.h"

enum { VIDEOS = 40, PAIRS = 60 };

/* A whole number in [0, below), the same each time. */
static uint32_t drawn(uint64_t position, uint32_t below) {
    uint32_t words[4];
    random_words((struct random_key){.seed = 5, .position = position}, words);
    return words[0] % below;
}

static json_t *make_points(const struct benchmark *benchmark) {
    json_t *rows = json_array();
    for (int i = 0; i < VIDEOS; i++) {
        json_t *row = json_object();
        char name[32];
        snprintf(name, sizeof name, "clip_%02d.mp4", i);
        json_object_set_new(row, benchmark->video[0], json_string(name));
        json_object_set_new(row, benchmark->prompt[0], json_string("A ball."));
        for (int d = 0; d < DIMENSIONS; d++)
            for (int k = 0; k < BENCHMARK_NAMES && benchmark->truths[d].fields[k]; k++)
                json_object_set_new(row, benchmark->truths[d].fields[k],
                                    i == 3 && d == 2 ? json_null() : json_integer(drawn(i * 3 + d, 5) + 1));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *make_pairs(const struct benchmark *benchmark) {
    const struct benchmark_pairs *pairs = &benchmark->pairs;
    const char *const words[] = {pairs->first, pairs->second, pairs->same[0]};
    json_t *rows = json_array();
    for (int i = 0; i < PAIRS; i++) {
        json_t *row = json_object();
        for (int side = 0; side < 2; side++) {
            char name[32];
            snprintf(name, sizeof name, "x/clip_%02u.mp4", (i + side * (1 + drawn(500 + i, 9))) % VIDEOS);
            json_object_set_new(row, pairs->videos[side], json_string(name));
            if (pairs->models[side]) json_object_set_new(row, pairs->models[side], json_string("m"));
        }
        for (int a = 0; a < PAIR_ASPECTS; a++)
            if (pairs->preferences[a])
                json_object_set_new(row, pairs->preferences[a],
                                    json_string(words[drawn(900 + i * 3 + a, 3)]));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* The figure of metrics that has this key. */
static double metric_of(const struct metrics *metrics, const char *key) {
    struct metric list[METRICS_MOST];
    const size_t count = metrics_list(metrics, list);
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].key, key) == 0) return list[i].value;
    fail_msg("no %s", key);
    return NAN;
}

/* Each figure of the tally beside the metrics of the rows so far. */
static void compare(const struct tally *tally, const json_t *rows, const char *data) {
    struct results results;
    struct metrics metrics;
    struct benchmark_pair_list pairs = {0};
    struct tally_value values[TALLY_VALUES];
    struct error err;
    if (results_read(put_json("res.json", rows), tally->benchmark, SCORE_AS_WRITTEN, &results, &err) !=
        STATUS_OK)
        fail_msg("%s", err.message);
    if (tally->items->pairs)
        assert_int_equal(benchmark_pairs_read(tally->benchmark, data, &pairs, &err), STATUS_OK);
    assert_int_equal(
        metrics_make(&results, tally->benchmark, tally->items->pairs ? &pairs : NULL, 0, &metrics, &err),
        STATUS_OK);
    double sum = 0;
    int numbers = 0;
    const size_t count = tally_list(tally, values);
    for (size_t i = 0; i < count; i++) {
        const double wanted = metric_of(&metrics, values[i].key), got = values[i].value;
        if (isnan(wanted) != isnan(got) || fabs(wanted - got) > 1e-12)
            fail_msg("%s: %s is %g, not %g", tally->benchmark->name, values[i].key, got, wanted);
        if (isnan(got) || strstr(values[i].key, "whole") || strstr(values[i].key, "no_ties")) continue;
        sum += got;
        numbers++;
    }
    const double mean = tally_accuracy(tally);
    assert_true(numbers ? fabs(mean - sum / numbers) < 1e-12 : isnan(mean));
    benchmark_pairs_free(&pairs);
    results_free(&results);
}

/* Scores videos in another order than the file's, whole or not, now and then without one of the scores. */
static void follow(const struct benchmark *benchmark, json_t *data, bool whole) {
    struct benchmark_items items;
    struct tally tally;
    struct error err;
    const char *const path = put_json("data.json", data);
    char kept[256];
    snprintf(kept, sizeof kept, "%s", path);
    if (benchmark_items_read(benchmark, kept, &items, &err) != STATUS_OK) fail_msg("%s", err.message);
    if (tally_open(&tally, benchmark, &items, kept, whole, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(isnan(tally_accuracy(&tally)));
    json_t *rows = json_array();
    for (size_t i = 0; i < items.count; i++) {
        const size_t item = (i * 7 + 3) % items.count;
        double scores[DIMENSIONS];
        json_t *row = benchmark_has_points(benchmark) && !items.pairs ? json_deep_copy(items.list[item].row)
                                                                      : json_object();
        json_object_set_new(row, "video_name", json_string(items.list[item].name));
        for (int d = 0; d < DIMENSIONS; d++) {
            char key[32];
            scores[d] = drawn(item * 3 + (size_t)d + 2000, 5) + 1 + (whole ? 0 : 0.25);
            if (i == 5 && d == 1) scores[d] = NAN;
            snprintf(key, sizeof key, "%s_score_model", dimension_letter((enum dimension)d));
            json_object_set_new(row, key, isnan(scores[d]) ? json_null() : json_real(scores[d]));
            if (items.pairs || !benchmark->truths[d].fields[0]) continue;
            snprintf(key, sizeof key, "%s_score_gt", dimension_letter((enum dimension)d));
            const double truth = items.list[item].truths[d];
            json_object_set_new(row, key, isnan(truth) ? json_null() : json_real(truth));
        }
        tally_add(&tally, item, scores);
        json_array_append_new(rows, row);
        assert_int_equal(tally.added, i + 1);
        assert_int_equal(tally.scored, i + 1 - (i >= 5));
        if (i % 9 == 0 || i + 1 == items.count) compare(&tally, rows, kept);
    }
    json_decref(rows);
    json_decref(data);
    tally_free(&tally);
    benchmark_items_free(&items);
}

static void figures_are_those_of_the_metrics(void **state) {
    (void)state;
    size_t count;
    const struct benchmark *all = benchmarks(&count);
    for (size_t i = 0; i < count; i++)
        for (int whole = 0; whole < 2; whole++) {
            if (benchmark_has_points(&all[i])) follow(&all[i], make_points(&all[i]), whole);
            if (benchmark_has_pairs(&all[i])) follow(&all[i], make_pairs(&all[i]), whole);
        }
}

static void bad_pairs_are_told(void **state) {
    (void)state;
    struct error err;
    struct benchmark_items items;
    struct tally tally;
    const struct benchmark *benchmark = benchmark_find("videogen-reward-bench", &err);
    const char *path =
        put_text("bad.json", "[{\"path_A\": \"a.mp4\", \"path_B\": \"b.mp4\", \"VQ\": \"C\"}]");
    assert_int_equal(benchmark_items_read(benchmark, path, &items, &err), STATUS_OK);
    assert_int_equal(tally_open(&tally, benchmark, &items, path, true, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "bad.json: row 1: 'VQ' is 'C'"));
    benchmark_items_free(&items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_metrics),
        cmocka_unit_test(bad_pairs_are_told),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
