/* What a training run tells of itself while it runs: from one record a logged step come
 *
 *   OUTPUT_DIR/trainer_log.jsonl     a line a record, whole and on disk when train_log_record returns
 *   OUTPUT_DIR/trainer_state.json    Hugging Face's TrainerState with its log_history
 *   OUTPUT_DIR/runs/events.out...    TensorBoard scalars (train/loss, eval/loss, ...)
 *   OUTPUT_DIR/training_loss.svg     and training_eval_loss.svg, benchmark_accuracy.svg, reward_curve.svg
 * where there are such values OUTPUT_DIR/train_results.json    and all_results.json, at the end
 *
 * A resumed run begins with the log that its checkpoint holds, so that in the end the log is that of an
 * unbroken run but for the times.
 */
#ifndef VS2_TRAIN_LOG_H
#define VS2_TRAIN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct train_log;

/* What does not change in a run; TrainerState wants to know it. */
struct train_log_settings {
    const char *output_dir; /* made when it is not there */
    int64_t max_steps;      /* of the whole run */
    int64_t logging_steps, save_steps;
    int64_t eval_steps; /* 0: no evaluation */
    int64_t train_batch_size;
    double num_train_epochs;
    bool tensorboard; /* write event files */
    bool plot_loss;   /* draw curves */
};

/* One named number. Names are those of trainer_log.jsonl: "loss", "grad_norm", "lr" (learning_rate in
 * trainer_state.json and TensorBoard, as Hugging Face calls it), "tokens_per_second", "step_seconds", "mfu",
 * "memory", "eval_loss", "reward", "rewards/NAME", any other. A value that is not finite is null in JSON. */
struct log_value {
    const char *name;
    double value;
};

/* How far the run is. */
struct train_position {
    int64_t step;         /* steps done */
    double epoch;         /* epochs done, with their fraction */
    int64_t input_tokens; /* seen since the run began */
    double total_flos;    /* done since the run began */
};

/* One logged step, or one evaluation (whose names begin with "eval_": eval_loss, eval_runtime,
 * eval_samples_per_second, eval_steps_per_second). The log itself adds current_steps, total_steps and epoch
 * in front of the values and elapsed_time and remaining_time (seconds, from its own clock, which a resumed
 * run carries on) after them. */
struct train_record {
    struct train_position at;
    const struct log_value *values;
    size_t count;
};

/* Begins the log. `resume` is the checkpoint folder to go on from (its trainer_log.jsonl and
 * trainer_state.json replace those of the output folder), or NULL for a new run, which drops a log that lies
 * there from before. NULL with err set on failure. */
struct train_log *train_log_open(const struct train_log_settings *settings, const char *resume,
                                 struct error *err);

enum status train_log_record(struct train_log *log, const struct train_record *record, struct error *err);

/* Seconds of training so far (of all sessions of the run), and an estimate of those left after `step` steps.
 */
double train_log_elapsed(const struct train_log *log);
double train_log_remaining(const struct train_log *log, int64_t step);

/* The text of trainer_log.jsonl so far, which stays the log's and lasts until the next record, and the text
 * of trainer_state.json (free() it; NULL with err set on failure): what a checkpoint written here holds under
 * these names (struct checkpoint_file), and what a resumed run begins with. */
const char *train_log_lines(const struct train_log *log, size_t *length);
char *train_log_state(const struct train_log *log, const struct train_position *at, struct error *err);

/* Writes trainer_state.json and the curves as of now. Worth doing with every checkpoint and evaluation;
 * train_log_finish does it too. */
enum status train_log_publish(struct train_log *log, const struct train_position *at, struct error *err);

/* Figures for the end of a run, as Hugging Face's Trainer reports them. */
struct train_summary {
    struct train_position at;
    double train_loss; /* the mean over all steps of the run */
    int64_t samples;   /* rows trained on since the run began, those of every epoch counted */
};

/* Ends the log: adds the summary to the history, writes train_results.json and merges it into
 * all_results.json, then publishes. */
enum status train_log_finish(struct train_log *log, const struct train_summary *summary, struct error *err);

/* Writes SPLIT_results.json ("eval", ...) in the output folder and merges it into all_results.json. */
enum status train_log_results(struct train_log *log, const char *split, const struct log_value *values,
                              size_t count, struct error *err);

/* Closes files and frees; log may be NULL. */
void train_log_free(struct train_log *log);

#endif
