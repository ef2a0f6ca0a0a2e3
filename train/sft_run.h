/* What the files of the SFT run share. */
#ifndef VS2_TRAIN_SFT_RUN_H
#define VS2_TRAIN_SFT_RUN_H

#include "train/run.h"
#include "train/sft_data.h"

struct sft {
    struct train_run run;
    struct sample_options encoding;
    struct sft_data data;

    /* The epoch that is running. */
    int64_t *order;
    struct stream *stream;
};

/* sft.c: the stage's table, its context being the struct sft. */
struct run_stage sft_stage(struct sft *sft);

/* sft_step.c: the largest pass of a step, with micro-batches of so many sequences of so many tokens at most;
 * and with those that there are. */
struct pass_size sft_pass_size(const struct sft *sft, int64_t batch, int64_t longest);
struct pass_size sft_largest_pass(const struct sft *sft);

/* sft_step.c: members of the table. */
enum status sft_gradients(void *context, struct run_step *step, struct error *err);

/* The mean loss over the held-out sequences, as Hugging Face's Trainer averages it: over batches of
 * per_device_eval_batch_size, by their number of sequences. */
enum status sft_evaluate(void *context, struct run_evaluation *evaluation, struct error *err);

#endif
