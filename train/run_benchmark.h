/* A benchmark that the model is scored on while it is trained (keys eval_benchmark, eval_data, eval_videos):
 * as vs2-eval run scores the saved model by default, but in memory. So the processor's own resize is that of
 * preprocessor_config.json, whatever max_pixels and min_pixels of stage grpo say for training. Its videos are
 * shared by the processes.
 *
 * The figures are those of vs2-eval metrics, in percent, their keys after "eval_":
 *
 *     eval_mean_acc         the mean of v_acc, t_acc and p_acc, or of the pairs' accuracies with ties
 *     eval_v_acc, ..., eval_acc_whole_item
 *     eval_vq_acc_ties, ..., eval_overall_acc_no_ties     of a file with pairs
 *     eval_scored           videos with all three scores: only these count
 *     eval_benchmark_runtime    seconds
 */
#ifndef VS2_TRAIN_RUN_BENCHMARK_H
#define VS2_TRAIN_RUN_BENCHMARK_H

#include "eval/tally.h"
#include "train/log.h"

struct train_run;
struct run_benchmark;

enum { RUN_BENCHMARK_VALUES = TALLY_VALUES + 3 };

struct run_benchmark_figures {
    struct log_value values[RUN_BENCHMARK_VALUES];
    size_t count;
    char names[TALLY_VALUES][40]; /* what the values' names point to */
};

/* Reads the benchmark's file; *opened is NULL where the configuration names none. The run must outlive it. */
enum status run_benchmark_open(const struct train_run *run, struct run_benchmark **opened, struct error *err);
void run_benchmark_free(struct run_benchmark *benchmark); /* NULL is fine */

/* Videos that are scored, by all processes. */
size_t run_benchmark_videos(const struct run_benchmark *benchmark);

/* Scores the videos with the model as it is now; all processes call it, and get the same figures. A video
 * that cannot be read has no scores, and is named in a message. */
enum status run_benchmark_score(struct run_benchmark *benchmark, struct run_benchmark_figures *figures,
                                struct error *err);

#endif
