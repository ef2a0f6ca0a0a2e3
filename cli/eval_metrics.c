/* vs2-eval metrics: from result files to figures, without a model. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/eval.h"
#include "cli/options.h"
#include "eval/comparison.h"
#include "eval/metrics.h"

struct metrics_settings {
    const char *benchmark, *data;
    int score;
    int64_t seed;
    bool json;
};

static const struct option_spec options[] = {
    {.name = "benchmark",
     .argument = "NAME",
     .help = "the benchmark that the rows are of",
     .standard = "rows with ground truth from 1 to 5",
     .kind = OPTION_STRING,
     .offset = offsetof(struct metrics_settings, benchmark)},
    {.name = "data",
     .argument = "PAIRS",
     .help = "the benchmark's file of pairs, JSON or CSV",
     .kind = OPTION_STRING,
     .offset = offsetof(struct metrics_settings, data)},
    {.name = "score",
     .argument = "KIND",
     .help =
         "which scores of a row count: v_score_model as it is written; hard, whole scores, which tie up to "
         "0.5; or float, v_normed_score where a row has it, which are rounded for accuracy and tie up to "
         "0.001",
     .standard = "as-written: hard if all are whole, else float",
     .kind = OPTION_CHOICE,
     .choices = score_kinds,
     .offset = offsetof(struct metrics_settings, score)},
    {.name = "seed",
     .argument = "N",
     .help = "of the bootstrap and the permutations",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .high = 1e15,
     .offset = offsetof(struct metrics_settings, seed)},
    {.name = "json",
     .help = "print JSON: an object for one file; for several {\"files\", \"comparisons\"}",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct metrics_settings, json)},
    {0}};

static const struct program program = {
    .name = "vs2-eval",
    .command = "metrics",
    .synopsis = "[OPTION]... RES.json...",
    .summary =
        "Computes the metrics of result files, without a model. Of several files each is compared with the "
        "first: is it better, by a paired permutation test?",
    .examples = "  vs2-eval metrics --benchmark videoscore-bench-v2 res.json\n"
                "  vs2-eval metrics --benchmark videogen-reward-bench --data videogen-rewardbench.csv "
                "res.json --json\n"
                "  vs2-eval metrics --benchmark videophy2 sft.json grpo.json\n",
    .options = options,
    .operands = 64,
};

/* What all files are measured by. */
struct measure {
    const struct metrics_settings *settings;
    const struct benchmark *benchmark;
    struct benchmark_pair_list pairs;
};

static enum status measure_make(const struct metrics_settings *settings, struct measure *measure,
                                struct error *err) {
    *measure = (struct measure){.settings = settings, .benchmark = benchmark_any()};
    if (settings->benchmark && !(measure->benchmark = benchmark_find(settings->benchmark, err)))
        return STATUS_USAGE;
    if (!settings->data) return STATUS_OK;
    if (!settings->benchmark)
        return error_usage(err, "--data needs --benchmark, which says what its fields are");
    return benchmark_pairs_read(measure->benchmark, settings->data, &measure->pairs, err);
}

static const struct benchmark_pair_list *pairs_of(const struct measure *measure) {
    return measure->settings->data ? &measure->pairs : NULL;
}

/* Prints what was appended, and empties it. */
static enum status print_text(struct text *text, struct error *err) {
    enum status status = text_check(text, "the metrics", err);
    if (status == STATUS_OK) fwrite(text->data, 1, text->length, stdout);
    text_free(text);
    return status;
}

static enum status print_json(const json_t *json, struct error *err) {
    struct text text = {0};
    json_append(&text, json, true);
    text_append_string(&text, "\n");
    return print_text(&text, err);
}

/* ---- One file, or several ---------------------------------------------------------------------------- */

static enum status make(const struct measure *measure, const struct results *results, struct metrics *metrics,
                        struct error *err) {
    return metrics_make(results, measure->benchmark, pairs_of(measure), (uint64_t)measure->settings->seed,
                        metrics, err);
}

static enum status print_one(const struct measure *measure, const struct results *results,
                             struct error *err) {
    struct metrics metrics;
    struct text text = {0};
    enum status status = make(measure, results, &metrics, err);
    if (status != STATUS_OK) return status;
    if (measure->settings->json) {
        json_t *json = metrics_json(&metrics);
        status = print_json(json, err);
        json_decref(json);
        return status;
    }
    metrics_append(&metrics, &text);
    return print_text(&text, err);
}

/* The metrics of a file under its name. */
static json_t *file_json(const char *path, const struct metrics *metrics) {
    json_t *json = metrics_json(metrics);
    if (json_object_set_new(json, "file", json_string(path)) == 0) return json;
    json_decref(json);
    return NULL;
}

static enum status print_several_json(const struct measure *measure, const struct results *files,
                                      size_t count, struct error *err) {
    json_t *metrics_array = json_array(), *comparisons = json_array();
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        struct metrics metrics;
        struct comparison comparison;
        status = make(measure, &files[i], &metrics, err);
        if (status == STATUS_OK &&
            json_array_append_new(metrics_array, file_json(files[i].path, &metrics)) != 0)
            status = error_set(err, "out of memory for the metrics");
        if (status != STATUS_OK || !i) continue;
        status = comparison_make(&files[0], &files[i], measure->benchmark, pairs_of(measure),
                                 (uint64_t)measure->settings->seed, &comparison, err);
        if (status == STATUS_OK && json_array_append_new(comparisons, comparison_json(&comparison)) != 0)
            status = error_set(err, "out of memory for the metrics");
    }
    json_t *json = json_pack("{s:o, s:o}", "files", metrics_array, "comparisons", comparisons);
    if (status == STATUS_OK) status = print_json(json, err);
    json_decref(json);
    return status;
}

static enum status print_several_text(const struct measure *measure, const struct results *files,
                                      size_t count, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        printf("%s%s: ", i ? "\n" : "", files[i].path);
        status = print_one(measure, &files[i], err);
    }
    for (size_t i = 1; i < count && status == STATUS_OK; i++) {
        struct comparison comparison;
        struct text text = {0};
        status = comparison_make(&files[0], &files[i], measure->benchmark, pairs_of(measure),
                                 (uint64_t)measure->settings->seed, &comparison, err);
        if (status != STATUS_OK) break;
        text_format(&text, "\nA is %s, B is %s: ", files[0].path, files[i].path);
        comparison_append(&comparison, &text);
        status = print_text(&text, err);
    }
    return status;
}

static enum status print_metrics(const struct measure *measure, char **paths, size_t count,
                                 struct error *err) {
    struct results *files = memory_new(count, sizeof *files, "results", err);
    enum status status = files ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = results_read(paths[i], measure->benchmark, (enum score_kind)measure->settings->score,
                              &files[i], err);
    if (status == STATUS_OK && count == 1)
        status = print_one(measure, &files[0], err);
    else if (status == STATUS_OK)
        status = measure->settings->json ? print_several_json(measure, files, count, err)
                                         : print_several_text(measure, files, count, err);
    for (size_t i = 0; i < count && files; i++) results_free(&files[i]);
    free(files);
    return status;
}

int eval_metrics(int argc, char **argv) {
    struct metrics_settings settings = {0};
    struct measure measure = {0};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no file is named");
    if (status == STATUS_OK && !finished) status = measure_make(&settings, &measure, &err);
    if (status == STATUS_OK && !finished)
        status = print_metrics(&measure, argv + first, (size_t)(argc - first), &err);
    benchmark_pairs_free(&measure.pairs);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
