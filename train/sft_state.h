/* What a checkpoint of an SFT run holds beside weights and moments, and how these come out of the optimizer
 * and back. */
#ifndef VS2_TRAIN_SFT_STATE_H
#define VS2_TRAIN_SFT_STATE_H

#include "train/checkpoint.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/skipped.h"

/* How far a run is: all that the next step depends on beside the parameters. */
struct sft_position {
    int64_t step;         /* optimizer steps done, skipped ones counted */
    int64_t epoch;        /* epochs done */
    int64_t batch;        /* micro-batches done in this epoch */
    int64_t updates;      /* steps that changed the weights: AdamW counts these */
    int64_t bad_steps;    /* steps left out for NaN or infinity, in all */
    int64_t bad_in_a_row; /* and since the last good one */
    int64_t samples, tokens, labels;
    double flops;
    double window_loss, total_loss; /* sums of the losses of steps: since the last log line, and of all */
    int64_t window_steps, loss_steps;
};

/* JSON objects; NULL when out of memory. */
json_t *sft_position_save(const struct sft_position *position, const struct skipped *skipped);
enum status sft_position_load(struct sft_position *position, struct skipped *skipped, const json_t *state,
                              struct error *err);

/* The settings that decide what the steps compute, under their keys: a run resumed with others would not be
 * the same run. `rows` and `groups` tell a data set that has changed. */
json_t *sft_fingerprint(const struct train_config *config, int64_t rows, int64_t groups, int64_t tokens);

/* The optimizer's tensors as the checkpoints read and write them. */
struct checkpoint_reader sft_state_reader(struct optimizer *optimizer);
struct checkpoint_sink sft_state_sink(struct optimizer *optimizer);

/* Which of the optimizer's parameters are trained, for struct checkpoint_run; free() it. */
bool *sft_trained(const struct optimizer *optimizer, struct error *err);

#endif
