/* Best of N: of the videos that were made for one prompt, the one with the highest score. */
#ifndef VS2_EVAL_BEST_OF_N_H
#define VS2_EVAL_BEST_OF_N_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/jobs.h"
#include "eval/results.h"

/* The group that a video's name tells, the second field between '_' of its stem: 12 of "model_0012_3.mp4".
 * false when that is no number. */
bool group_of_name(const char *video_name, int64_t *group);

/* Prompts and their groups, from a file of {"idx": GROUP, "text": PROMPT} a line. */
struct group_prompts {
    struct group_prompt {
        int64_t index;
        char *text;
    } * list; /* by text */
    size_t count, capacity;
};

/* An idx or a text that comes twice is an error "FILE:LINE: ...". */
enum status group_prompts_read(const char *path, struct group_prompts *prompts, struct error *err);
void group_prompts_free(struct group_prompts *prompts);

/* The videos of a folder whose names tell their group, sorted by name, with the prompts of these. Other files
 * are passed over; a group without a prompt is an error. */
enum status group_jobs_read(const char *folder, const struct group_prompts *prompts, struct score_jobs *jobs,
                            struct error *err);

/* The same folder as a benchmark without truths, for eval/benchmark_run.h, and its file: an object
 * {"video_name", "prompt"} a line for each of the jobs. */
const struct benchmark *best_of_n_benchmark(void);
enum status best_of_n_data_write(const struct score_jobs *jobs, const char *path, struct error *err);

struct candidate {
    const struct result_row *row;
    int64_t group;
    double mean;  /* of the three scores; NaN when one is missing: it cannot be picked */
    double truth; /* mean of the ground truth that there is; NaN: none */
};

struct candidate_group {
    int64_t index;
    size_t first, count; /* its candidates */
    size_t best;         /* the first with the highest mean; first + count when none can be picked */
};

struct best_of_n {
    struct candidate *candidates; /* by group, then by name */
    struct candidate_group *groups;
    size_t group_count;
    size_t left_out; /* groups of another size than the wanted one */
};

/* Groups the rows by their names, or, where prompts are given, by their prompts. A row that is in no group is
 * an error "FILE: row N: ...". With `size` > 0, groups of another size are left out and counted. */
enum status best_of_n_make(const struct results *results, const struct group_prompts *prompts, int64_t size,
                           struct best_of_n *best, struct error *err);
void best_of_n_free(struct best_of_n *best);

/* The published result: [{"group_idx", "scores": [{"video", "aspect_scores": {"visual", "t2v", "physical"},
 * "mean"}], "best"}], means with 4 decimals; null where a score is missing, "best" is "" when there is none.
 * NULL: out of memory. */
json_t *best_of_n_json(const struct best_of_n *best);

/* What picking is worth by the ground truth, over the groups in which at least two candidates have a truth
 * and the picked one is of them. Means over these groups; NaN when there are none. */
struct best_of_n_gain {
    size_t groups;
    double picked, random, possible; /* truth of the picked one, of a random one, of the best one */
    double hits, random_hits;        /* share of groups whose pick is (one of) the best; of a random pick */
};

struct best_of_n_gain best_of_n_gain(const struct best_of_n *best);

/* {"groups", "picked", "random", "possible", "gain", "reach", "hits", "random_hits"}: gain is picked -
 * random; reach, in percent, is the gain over possible - random; hits are in percent. NULL: out of memory. */
json_t *best_of_n_gain_json(const struct best_of_n_gain *gain);

#endif
