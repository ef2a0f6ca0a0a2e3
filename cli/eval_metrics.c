/* vs2-eval metrics: from result files to figures, without a model. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/eval.h"
#include "cli/eval_files.h"
#include "cli/options.h"
#include "eval/comparison.h"
#include "eval/metrics.h"

struct metrics_settings {
    struct eval_files_options files;
    bool json;
};

static const struct option_spec options[] = {
    {.kind = OPTION_TABLE, .table = eval_files_table, .offset = offsetof(struct metrics_settings, files)},
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

static enum status make(const struct eval_files *files, size_t i, struct metrics *metrics,
                        struct error *err) {
    return metrics_make(&files->list[i], files->benchmark, files->pairs, files->seed, metrics, err);
}

/* The i-th beside the first. */
static enum status compare(const struct eval_files *files, size_t i, struct comparison *comparison,
                           struct error *err) {
    return comparison_make(&files->list[0], &files->list[i], files->benchmark, files->pairs, files->seed,
                           comparison, err);
}

static enum status print_one(const struct eval_files *files, size_t i, bool as_json, struct error *err) {
    struct metrics metrics;
    struct text text = {0};
    enum status status = make(files, i, &metrics, err);
    if (status != STATUS_OK) return status;
    if (as_json) {
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

static enum status print_several_json(const struct eval_files *files, struct error *err) {
    json_t *metrics_array = json_array(), *comparisons = json_array();
    enum status status = STATUS_OK;
    for (size_t i = 0; i < files->count && status == STATUS_OK; i++) {
        struct metrics metrics;
        struct comparison comparison;
        status = make(files, i, &metrics, err);
        if (status == STATUS_OK &&
            json_array_append_new(metrics_array, file_json(files->list[i].path, &metrics)) != 0)
            status = error_set(err, "out of memory for the metrics");
        if (status != STATUS_OK || !i) continue;
        status = compare(files, i, &comparison, err);
        if (status == STATUS_OK && json_array_append_new(comparisons, comparison_json(&comparison)) != 0)
            status = error_set(err, "out of memory for the metrics");
    }
    json_t *json = json_pack("{s:o, s:o}", "files", metrics_array, "comparisons", comparisons);
    if (status == STATUS_OK) status = print_json(json, err);
    json_decref(json);
    return status;
}

static enum status print_several_text(const struct eval_files *files, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; i < files->count && status == STATUS_OK; i++) {
        printf("%s%s: ", i ? "\n" : "", files->list[i].path);
        status = print_one(files, i, false, err);
    }
    for (size_t i = 1; i < files->count && status == STATUS_OK; i++) {
        struct comparison comparison;
        struct text text = {0};
        status = compare(files, i, &comparison, err);
        if (status != STATUS_OK) break;
        text_format(&text, "\nA is %s, B is %s: ", files->list[0].path, files->list[i].path);
        comparison_append(&comparison, &text);
        status = print_text(&text, err);
    }
    return status;
}

static enum status print_metrics(const struct eval_files *files, bool as_json, struct error *err) {
    if (files->count == 1) return print_one(files, 0, as_json, err);
    return as_json ? print_several_json(files, err) : print_several_text(files, err);
}

int eval_metrics(int argc, char **argv) {
    struct metrics_settings settings = {0};
    struct eval_files files = {0};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished) {
        status = eval_files_read(&settings.files, argv + first, (size_t)(argc - first), &files, &err);
        if (status == STATUS_OK) status = print_metrics(&files, settings.json, &err);
    }
    eval_files_free(&files);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
