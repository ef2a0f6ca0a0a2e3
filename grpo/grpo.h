/* Group-relative policy optimization: the run that `stage: grpo` configures, from problems to saved model.
 *
 * A micro-batch is per_device_train_batch_size prompts with all their completions, a step
 * gradient_accumulation_steps micro-batches. The rollouts of steps_per_generation micro-batches are drawn
 * with the weights as they are then, and trained on num_iterations times. Neither steps nor generations reach
 * over the end of an epoch. With `rollouts: FILE` completions and rewards come from that file
 * (grpo/recorded.h), of which an epoch is one pass.
 *
 * Beside what every run writes there is OUTPUT_DIR/completions/step_N.jsonl (grpo/completions.h). */
#ifndef VS2_GRPO_GRPO_H
#define VS2_GRPO_GRPO_H

#include "train/config.h"
#include "train/gpu.h"

/* Runs to the end, or, after SIGINT or SIGTERM, to the end of the step, and saves. Log and progress go to
 * stderr, the summary to stdout. */
enum status grpo_run(const struct train_config *config, struct error *err);

/* Prints the plan of the run to stdout (--dry-run): what is trained, how long it is, how many bytes it takes
 * and whether this machine has them, or that GPU, unless it is NULL. Reads the problems and measures every
 * prompt, but decodes no video. */
enum status grpo_plan(const struct train_config *config, const struct gpu *gpu, struct error *err);

#endif
