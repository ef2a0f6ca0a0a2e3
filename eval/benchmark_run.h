/* A benchmark's videos scored, to a result file.
 *
 * RES.json appears when its last row is there, in the order of the benchmark. Until then each process keeps
 * its rows in a journal of its own in the folder RES.json.run, a row on the disk before the next. Killed at
 * any time, nothing that was scored is lost or scored twice: another call goes on, and ends with the bytes
 * that an unbroken run would have written, but for the seconds. What a video's samples draw is keyed by its
 * place in the benchmark, so it matters neither where a run was interrupted nor who scored what. A video that
 * could not be scored has its row, too; another call tries it again.
 *
 * Processes share the work by row numbers: process r of n takes the rows i with i % n = r. The one that
 * finds all rows there puts them together, whichever that is.
 */
#ifndef VS2_EVAL_BENCHMARK_RUN_H
#define VS2_EVAL_BENCHMARK_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/launcher.h"
#include "eval/benchmark.h"
#include "eval/scorer.h"

/* How far it is, counted over all rows that are wanted, also those of earlier calls. */
struct run_progress {
    int64_t rows, done, failed;
    int64_t mine, mine_done; /* what this call scores */
    int64_t new_tokens;
    double seconds;  /* of this call */
    double accuracy; /* eval/tally.h; NaN: there is none */
};

struct benchmark_run {
    const struct benchmark *benchmark;
    const char *data, *videos, *output; /* file, folder, RES.json */
    struct scorer_settings scorer;      /* `progress` is set by the run */
    int64_t limit;                      /* rows at most; 0: all */
    bool drawn; /* the rows of a limit are drawn by sample_seed; else they are the first ones */
    uint64_t sample_seed;
    struct launcher_place place;

    void (*progress)(void *context, const struct run_progress *progress); /* before the first row,
                                                                           and often; may be NULL */
    void (*failed)(void *context, const char *message); /* a video could not be scored; may be NULL */
    void *context;
};

struct run_outcome {
    int64_t rows, failed; /* wanted; and those whose video could not be scored */
    int64_t scored;       /* by this call */
    int64_t waiting;      /* not there yet: other processes have them; RES.json is written when 0 */
    double accuracy;
};

/* The folder of the journals, "RES.json.run"; free() it. NULL with err set when out of memory. */
char *benchmark_run_folder(const char *output, struct error *err);

enum status benchmark_run(const struct benchmark_run *run, struct run_outcome *outcome, struct error *err);

#endif
