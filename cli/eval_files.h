/* The result files that a command of vs2-eval is about, and what they are measured by: options and reading.
 */
#ifndef VS2_CLI_EVAL_FILES_H
#define VS2_CLI_EVAL_FILES_H

#include "cli/options.h"
#include "eval/benchmark.h"
#include "eval/results.h"

struct eval_files_options {
    const char *benchmark, *data;
    int score; /* enum score_kind */
    int64_t seed;
};

/* --benchmark, --data, --score and --seed, for an OPTION_TABLE. */
extern const struct option_spec eval_files_table[];

struct eval_files {
    const struct benchmark *benchmark;
    const struct benchmark_pair_list *pairs; /* NULL: no --data */
    uint64_t seed;
    struct results *list; /* [count] */
    size_t count;
    struct benchmark_pair_list owned_pairs;
};

/* Reads them; eval_files_free also after a failure. The structure must stay where it is. */
enum status eval_files_read(const struct eval_files_options *options, char **paths, size_t count,
                            struct eval_files *files, struct error *err);
void eval_files_free(struct eval_files *files);

#endif
