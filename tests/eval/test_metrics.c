/* Metrics of whole files beside scipy, scikit-learn, krippendorff and the published rules
 * (tests/reference/metrics.py made tests/golden/metrics.json), and what they do when memory runs out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "eval/best_of_n.h"
#include "eval/comparison.h"
#include "eval/metrics.h"
#include "tests/eval/support_files.h"
#include "tests/refuse_one.h"

/* ---- Cases ------------------------------------------------------------------------------------------- */

static json_t *golden;

static int setup(void **state) {
    struct error err;
    golden = json_read_file("tests/golden/metrics.json", 1 << 24, &err);
    return golden ? make_folder(state) : -1;
}

static int teardown(void **state) {
    json_decref(golden);
    return remove_folder(state);
}

/* A case's files, read. */
struct files {
    const struct benchmark *benchmark;
    struct results results;
    struct benchmark_pair_list pairs;
    bool has_pairs;
};

static enum score_kind kind_of(const char *word) {
    return strcmp(word, "hard") == 0    ? SCORE_HARD
           : strcmp(word, "float") == 0 ? SCORE_FLOAT
                                        : SCORE_AS_WRITTEN;
}

static const struct benchmark *benchmark_of(const json_t *example) {
    struct error err;
    const char *name = json_string_value(json_object_get(example, "benchmark"));
    return strcmp(name, "any") == 0 ? benchmark_any() : benchmark_find(name, &err);
}

/* Writes the files of a case. */
static void put_case(const json_t *example) {
    const json_t *pairs = json_object_get(example, "pairs");
    put_json("res.json", json_object_get(example, "rows"));
    if (json_is_string(pairs)) put_text("pairs.csv", json_string_value(pairs));
    if (json_is_array(pairs)) put_json("pairs.json", pairs);
}

/* Reads what put_case wrote. */
static enum status read_case(const json_t *example, struct files *files, struct error *err) {
    const json_t *pairs = json_object_get(example, "pairs");
    const enum score_kind kind = kind_of(json_string_value(json_object_get(example, "score")));
    *files = (struct files){.benchmark = benchmark_of(example), .has_pairs = !json_is_null(pairs)};
    assert_non_null(files->benchmark);
    enum status status = results_read(path_of("res.json"), files->benchmark, kind, &files->results, err);
    if (status == STATUS_OK && files->has_pairs)
        status = benchmark_pairs_read(files->benchmark,
                                      path_of(json_is_string(pairs) ? "pairs.csv" : "pairs.json"),
                                      &files->pairs, err);
    return status;
}

static void files_free(struct files *files) {
    benchmark_pairs_free(&files->pairs);
    results_free(&files->results);
}

static enum status measure(const struct files *files, struct metrics *metrics, struct error *err) {
    return metrics_make(&files->results, files->benchmark, files->has_pairs ? &files->pairs : NULL, 0,
                        metrics, err);
}

/* The figure as the golden values have it; NaN where it is null. */
static double figure(const struct metric *metric) {
    return metric->unit == METRIC_PERCENT ? 100 * metric->value : metric->value;
}

static void assert_figure(const char *name, const char *key, double found, const json_t *wanted) {
    if (json_is_null(wanted) ? isnan(found) : fabs(found - json_number_value(wanted)) <= 1e-9) return;
    fail_msg("%s: %s is %.12g, not %.12g", name, key, found,
             json_is_null(wanted) ? NAN : json_number_value(wanted));
}

static void assert_counts(const char *name, const struct metrics *metrics, const json_t *wanted) {
    const struct {
        const char *key;
        size_t value;
    } counts[] = {{"rows", metrics->rows},
                  {"scored", metrics->scored},
                  {"missing", metrics->missing},
                  {"pairs", metrics->pairs.pairs},
                  {"pairs_dropped", metrics->pairs.dropped}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (json_object_get(wanted, counts[i].key))
            assert_figure(name, counts[i].key, (double)counts[i].value,
                          json_object_get(wanted, counts[i].key));
}

static void figures_are_those_of_the_references(void **state) {
    (void)state;
    size_t i, compared = 0;
    json_t *example;
    json_array_foreach(golden, i, example) {
        struct error err;
        struct files files;
        struct metrics metrics;
        struct metric list[METRICS_MOST];
        const char *name = json_string_value(json_object_get(example, "name"));
        const json_t *wanted = json_object_get(example, "expected");
        put_case(example);
        if (read_case(example, &files, &err) != STATUS_OK || measure(&files, &metrics, &err) != STATUS_OK)
            fail_msg("%s: %s", name, err.message);
        assert_counts(name, &metrics, wanted);
        const size_t count = metrics_list(&metrics, list);
        for (size_t k = 0; k < count; k++) {
            const json_t *value = json_object_get(wanted, list[k].key);
            assert_figure(name, list[k].key, figure(&list[k]), value ? value : json_null());
            compared += value != NULL;
            if (isnan(list[k].interval.low)) continue;
            assert_true(list[k].interval.low <= list[k].interval.high);
            assert_false(isnan(list[k].value));
        }
        files_free(&files);
    }
    assert_true(compared > 1000);
}

/* ---- What they are shown as --------------------------------------------------------------------------- */

static const json_t *case_named(const char *name) {
    size_t i;
    json_t *example;
    json_array_foreach(golden, i, example) if (strcmp(json_string_value(json_object_get(example, "name")),
                                                      name) == 0) return example;
    fail_msg("no case '%s'", name);
    return NULL;
}

static void json_has_every_key(void **state) {
    (void)state;
    struct error err;
    struct files files;
    struct metrics metrics;
    const json_t *example = case_named("mj-bench-video, whole");
    put_case(example);
    assert_int_equal(read_case(example, &files, &err), STATUS_OK);
    assert_int_equal(measure(&files, &metrics, &err), STATUS_OK);
    json_t *json = metrics_json(&metrics);
    static const char *const keys[] = {"rows",           "scored",         "missing",
                                       "v_acc",          "t_acc",          "p_acc",
                                       "v_acc_relaxed",  "t_acc_relaxed",  "p_acc_relaxed",
                                       "acc_whole_item", "overall_acc",    "v_spcc",
                                       "t_spcc",         "p_spcc",         "overall_spcc",
                                       "v_plcc",         "t_plcc",         "p_plcc",
                                       "overall_plcc",   "pairs",          "pairs_dropped",
                                       "vq_acc_ties",    "ta_acc_ties",    "overall_acc_ties",
                                       "vq_acc_no_ties", "ta_acc_no_ties", "overall_acc_no_ties"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_object_get(json, keys[i])) fail_msg("no key '%s'", keys[i]);
    assert_true(json_is_null(json_object_get(json, "vq_acc_ties")));
    const json_t *confusion = json_object_get(json_object_get(json, "confusion"), "v");
    json_t *levels = json_pack("[i, i, i]", 0, 1, 2);
    assert_true(json_equal(json_object_get(confusion, "levels"), levels));
    json_decref(levels);
    const double shown = json_number_value(json_object_get(json, "overall_acc_ties"));
    assert_true(fabs(shown * 1000 - round(shown * 1000)) < 1e-6);
    json_decref(json);
    struct text text = {0};
    metrics_append(&metrics, &text);
    assert_non_null(strstr(text.data, "MJ-Bench-Video, hard scores: 16 rows"));
    assert_non_null(strstr(text.data, "pairs, without ties"));
    assert_null(strstr(text.data, "nan"));
    text_free(&text);
    files_free(&files);
}

static void shown_values_round_as_python_does(void **state) {
    (void)state;
    const struct metric percent = {.unit = METRIC_PERCENT}, score = {.unit = METRIC_SCORE};
    assert_true(metric_shown(&percent, 1.0 / 3) == 33.333);
    assert_true(metric_shown(&percent, 0.000005) == 0.001); /* 100 times it is 0.0005000000000000001 */
    assert_true(metric_shown(&score, 0.0625) == 0.062);     /* half to even */
    assert_true(metric_shown(&score, -0.1875) == -0.188);
    assert_true(isnan(metric_shown(&percent, NAN)));
}

/* ---- Two files --------------------------------------------------------------------------------------- */

static const struct difference *difference_of(const struct comparison *comparison, const char *key) {
    for (size_t i = 0; i < comparison->count; i++)
        if (strcmp(comparison->list[i].key, key) == 0) return &comparison->list[i];
    fail_msg("no difference '%s'", key);
    return NULL;
}

/* The rows of a case with v_score_model as it should be, or a copy. */
static json_t *rows_of(const json_t *example, bool perfect) {
    size_t i;
    json_t *row, *rows = json_deep_copy(json_object_get(example, "rows"));
    json_array_foreach(rows, i, row) if (perfect)
        json_object_set(row, "v_score_model", json_object_get(row, "v_score_gt"));
    return rows;
}

static void better_files_are_called_better(void **state) {
    (void)state;
    struct error err;
    struct results a, b;
    struct comparison comparison;
    const json_t *example = case_named("whole scores with ties");
    json_t *rows = rows_of(example, true);
    assert_int_equal(
        results_read(put_json("a.json", json_object_get(example, "rows")), NULL, SCORE_HARD, &a, &err),
        STATUS_OK);
    assert_int_equal(results_read(put_json("b.json", rows), NULL, SCORE_HARD, &b, &err), STATUS_OK);
    assert_int_equal(comparison_make(&a, &b, benchmark_any(), NULL, 1, &comparison, &err), STATUS_OK);
    assert_int_equal(comparison.rows, 40);
    static const char *const keys[] = {"v_acc", "v_mae", "v_spcc", "v_plcc"};
    for (size_t i = 0; i < 4; i++) {
        const struct difference *d = difference_of(&comparison, keys[i]);
        assert_true(d->p < 0.01);
        assert_string_equal(difference_better(d), "B");
        d = difference_of(&comparison, i == 1 ? "t_mae" : "t_spcc");
        assert_true(d->a == d->b && d->p == 1);
        assert_string_equal(difference_better(d), "neither");
    }
    assert_int_equal(comparison_make(&b, &a, benchmark_any(), NULL, 1, &comparison, &err), STATUS_OK);
    assert_string_equal(difference_better(difference_of(&comparison, "v_mae")), "A");
    json_t *json = comparison_json(&comparison);
    const json_t *differences = json_object_get(json, "differences");
    assert_string_equal(json_string_value(json_object_get(json_object_get(differences, "v_acc"), "better")),
                        "A");
    json_decref(json);
    json_decref(rows);
    results_free(&a);
    results_free(&b);
}

static void files_without_common_videos_have_nothing_to_compare(void **state) {
    (void)state;
    struct error err;
    struct results a, b;
    struct comparison comparison;
    const char *one = "[{\"video_name\":\"%s\",\"v_score_gt\":1,\"v_score_model\":1,\"t_score_model\":1,"
                      "\"p_score_model\":1}]";
    char text[256];
    snprintf(text, sizeof text, one, "a");
    assert_int_equal(results_read(put_text("a.json", text), NULL, SCORE_HARD, &a, &err), STATUS_OK);
    snprintf(text, sizeof text, one, "b");
    assert_int_equal(results_read(put_text("b.json", text), NULL, SCORE_HARD, &b, &err), STATUS_OK);
    assert_int_equal(comparison_make(&a, &b, benchmark_any(), NULL, 1, &comparison, &err), STATUS_OK);
    assert_int_equal(comparison.rows, 0);
    assert_int_equal(comparison.count, 0);
    results_free(&a);
    results_free(&b);
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

/* Reading, measuring and comparing, with everything freed again. */
static enum status whole_way(const json_t *example, struct error *err) {
    struct files files;
    struct metrics metrics;
    struct comparison comparison;
    enum status status = read_case(example, &files, err);
    if (status == STATUS_OK) status = measure(&files, &metrics, err);
    if (status == STATUS_OK)
        status = comparison_make(&files.results, &files.results, files.benchmark,
                                 files.has_pairs ? &files.pairs : NULL, 0, &comparison, err);
    files_free(&files);
    return status;
}

/* Reading a benchmark's videos, and picking the best of what their rows say. */
static enum status picking_way(const json_t *example, struct error *err) {
    struct benchmark_items items = {0};
    struct group_prompts prompts = {0};
    struct results results = {0};
    struct best_of_n best = {0};
    const struct benchmark *benchmark = benchmark_of(example);
    enum status status = benchmark_items_read(benchmark, path_of("pairs.json"), &items, err);
    for (size_t i = 0; i < items.count && status == STATUS_OK; i++) {
        char *path = benchmark_item_path(&items.list[i], "/nowhere", err);
        if (!path) status = STATUS_FAILED;
        free(path);
    }
    if (status == STATUS_OK) status = group_prompts_read(path_of("prompts.jsonl"), &prompts, err);
    if (status == STATUS_OK) status = results_read(path_of("res.json"), benchmark, SCORE_HARD, &results, err);
    if (status == STATUS_OK) status = best_of_n_make(&results, &prompts, 0, &best, err);
    best_of_n_free(&best);
    results_free(&results);
    group_prompts_free(&prompts);
    benchmark_items_free(&items);
    return status;
}

/* Goes the way with one allocation refused after another, until it is gone to the end. */
static void assert_every_lack_is_told(enum status way(const json_t *example, struct error *err),
                                      const json_t *example, int least) {
    enum status status = STATUS_FAILED;
    int tried = 0;
    for (; status != STATUS_OK && tried < 5000; tried++) {
        struct error err = {0};
        allowed = tried;
        status = way(example, &err);
        const bool refused = allowed < 0;
        allowed = -1;
        assert_true(refused == (status != STATUS_OK));
        if (status != STATUS_OK && !strstr(err.message, "out of memory")) fail_msg("%s", err.message);
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(tried > least);
}

static void every_lack_of_memory_is_told(void **state) {
    (void)state;
    static const char *const names[] = {"two rows", "mj-bench-video, whole", "videogen-reward-bench, float"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *example = case_named(names[i]);
        put_case(example);
        assert_every_lack_is_told(whole_way, example, 30);
    }
    const json_t *example = case_named("mj-bench-video, whole");
    json_t *rows = json_deep_copy(json_object_get(example, "rows")), *row;
    size_t i;
    json_array_foreach(rows, i, row) json_object_set_new(row, "prompt", json_string(i % 2 ? "odd" : "even"));
    put_case(example);
    put_json("res.json", rows);
    put_text("prompts.jsonl", "{\"idx\": 1, \"text\": \"odd\"}\n{\"idx\": 0, \"text\": \"even\"}\n");
    assert_every_lack_is_told(picking_way, example, 30);
    json_decref(rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_references),
        cmocka_unit_test(json_has_every_key),
        cmocka_unit_test(shown_values_round_as_python_does),
        cmocka_unit_test(better_files_are_called_better),
        cmocka_unit_test(files_without_common_videos_have_nothing_to_compare),
        cmocka_unit_test(every_lack_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
