/* Supervised fine-tuning: the run that `stage: sft` configures, from data set to saved model.
 *
 * A step is gradient_accumulation_steps micro-batches of per_device_train_batch_size sequences. Its loss is
 * the mean over the micro-batches of each one's mean over its labels, as LLaMA-Factory has it for models with
 * a processor. Steps do not reach over the end of an epoch. */
#ifndef VS2_TRAIN_SFT_H
#define VS2_TRAIN_SFT_H

#include "train/config.h"
#include "train/gpu.h"

/* Runs to the end, or, after SIGINT or SIGTERM, to the end of the step, and saves. Log and progress go to
 * stderr, the summary to stdout. */
enum status train_sft_run(const struct train_config *config, struct error *err);

/* Prints the plan of the run to stdout (--dry-run): what is trained, how long it is, how many bytes it takes
 * and whether this machine has them, or that GPU, unless it is NULL. Reads the data sets and measures every
 * row, but decodes no video. */
enum status train_sft_plan(const struct train_config *config, const struct gpu *gpu, struct error *err);

#endif
