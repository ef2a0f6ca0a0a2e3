/* vs2-eval metrics: from result files to figures. */
#include <stdio.h>

#include "cli/eval.h"
#include "cli/options.h"
#include "eval/results.h"

struct metrics_settings {
    const char *benchmark;
    int score;
};

static const char *const scores[] = {"as-written", "hard", "float", NULL};

static const struct option_spec options[] = {{.name = "benchmark",
                                              .argument = "NAME",
                                              .help = "the benchmark that the rows are of",
                                              .standard = "rows with ground truth from 1 to 5",
                                              .kind = OPTION_STRING,
                                              .offset = offsetof(struct metrics_settings, benchmark)},
                                             {.name = "score",
                                              .help = "which scores of a row count",
                                              .standard = "as-written",
                                              .kind = OPTION_CHOICE,
                                              .choices = scores,
                                              .offset = offsetof(struct metrics_settings, score)},
                                             {0}};

static const struct program program = {
    .name = "vs2-eval",
    .command = "metrics",
    .synopsis = "[OPTION]... RES.json",
    .summary = "Computes the metrics of a result file.",
    .options = options,
    .operands = 1,
};

static enum status print_metrics(const char *path, const struct metrics_settings *settings,
                                 struct error *err) {
    const struct benchmark *benchmark = NULL;
    struct results results;
    if (settings->benchmark && !(benchmark = benchmark_find(settings->benchmark, err))) return STATUS_USAGE;
    enum status status = results_read(path, benchmark, (enum score_kind)settings->score, &results, err);
    if (status != STATUS_OK) return status;
    size_t scored = 0;
    for (size_t i = 0; i < results.count; i++) scored += result_scored(&results.rows[i]);
    printf("rows %zu\nscored %zu\nmissing %zu\n", results.count, scored, results.count - scored);
    results_free(&results);
    return STATUS_OK;
}

int eval_metrics(int argc, char **argv) {
    struct metrics_settings settings = {0};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no file is named");
    if (status == STATUS_OK && !finished) status = print_metrics(argv[first], &settings, &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
