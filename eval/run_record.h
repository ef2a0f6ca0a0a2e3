/* What a run was made with, kept beside its rows: rows of different settings never come together in one file.
 *
 *     {"settings": {...}, "about": {"model", "data", "videos", "version"}}
 *
 * The settings are those of vs2-eval run under the names of its options, null where the checkpoint decides,
 * and checksums in place of the contents of files: "data", "model", "template". What is only about the run
 * may change. */
#ifndef VS2_EVAL_RUN_RECORD_H
#define VS2_EVAL_RUN_RECORD_H

#include <jansson.h>

#include "base/error.h"
#include "eval/benchmark_run.h"

/* The record of these settings; json_decref it. Reads the files that it has checksums of; of the weights only
 * parts that show any training. */
json_t *run_record_new(const struct benchmark_run *run, struct error *err);

/* An error that names the first setting in which the run that left `old` in the file `path` differs. */
enum status run_record_compare(const json_t *old, const json_t *new, const char *path, struct error *err);

#endif
