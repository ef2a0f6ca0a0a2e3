#include "cli/eval_files.h"

#include <stdlib.h>

#include "base/memory.h"

const struct option_spec eval_files_table[] = {
    {.name = "benchmark",
     .argument = "NAME",
     .help = "the benchmark that the rows are of",
     .standard = "rows with ground truth from 1 to 5",
     .kind = OPTION_STRING,
     .offset = offsetof(struct eval_files_options, benchmark)},
    {.name = "data",
     .argument = "PAIRS",
     .help = "the benchmark's file of pairs, JSON or CSV",
     .kind = OPTION_STRING,
     .offset = offsetof(struct eval_files_options, data)},
    {.name = "score",
     .argument = "KIND",
     .help =
         "which scores of a row count: v_score_model as it is written; hard, whole scores, which tie up to "
         "0.5; or float, v_normed_score where a row has it, which are rounded for accuracy and tie up to "
         "0.001",
     .standard = "as-written: hard if all are whole, else float",
     .kind = OPTION_CHOICE,
     .choices = score_kinds,
     .offset = offsetof(struct eval_files_options, score)},
    {.name = "seed",
     .argument = "N",
     .help = "of the bootstrap and the permutations",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .high = 1e15,
     .offset = offsetof(struct eval_files_options, seed)},
    {0}};

enum status eval_files_read(const struct eval_files_options *options, char **paths, size_t count,
                            struct eval_files *files, struct error *err) {
    *files = (struct eval_files){.benchmark = benchmark_any(), .seed = (uint64_t)options->seed};
    if (!count) return error_usage(err, "no file is named");
    if (options->benchmark && !(files->benchmark = benchmark_find(options->benchmark, err)))
        return STATUS_USAGE;
    if (options->data && !options->benchmark)
        return error_usage(err, "--data needs --benchmark, which says what its fields are");
    enum status status = STATUS_OK;
    if (options->data) {
        status = benchmark_pairs_read(files->benchmark, options->data, &files->owned_pairs, err);
        files->pairs = &files->owned_pairs;
    }
    if (status != STATUS_OK) return status;
    if (!(files->list = memory_new(count, sizeof *files->list, "results", err))) return STATUS_FAILED;
    files->count = count;
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status =
            results_read(paths[i], files->benchmark, (enum score_kind)options->score, &files->list[i], err);
    return status;
}

void eval_files_free(struct eval_files *files) {
    for (size_t i = 0; i < files->count; i++) results_free(&files->list[i]);
    benchmark_pairs_free(&files->owned_pairs);
    free(files->list);
}
