/* What is to be scored: videos with their prompts. */
#ifndef VS2_EVAL_JOBS_H
#define VS2_EVAL_JOBS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/benchmark.h"

struct score_job {
    char *video;     /* path of a file or folder */
    char *prompt;    /* that the video was made from */
    uint32_t stream; /* which random numbers it draws: its place in the list, unless it is set otherwise */
};

struct score_jobs {
    struct score_job *list;
    size_t count, capacity;
};

/* Appends a job with copies of both. */
enum status score_jobs_add(struct score_jobs *jobs, const char *video, const char *prompt, struct error *err);

/* Appends the video of a benchmark's item, whose place becomes the job's stream. */
enum status score_jobs_add_item(struct score_jobs *jobs, const struct benchmark_items *items, size_t item,
                                const char *folder, struct error *err);

/* Reads a file with an object {"video": PATH, "prompt": TEXT, ...} a line; other members are let be, empty
 * lines too. Relative paths are taken under `media_dir` when it is not NULL. A wrong line is an error
 * "FILE:LINE: ..."; so is a file without any job. */
enum status score_jobs_read(const char *path, const char *media_dir, struct score_jobs *jobs,
                            struct error *err);
void score_jobs_free(struct score_jobs *jobs);

#endif
