/* What a checkpoint of a run holds beside weights and moments, and how these come out of the optimizer
 * and back. */
#ifndef VS2_TRAIN_RUN_STATE_H
#define VS2_TRAIN_RUN_STATE_H

#include "train/checkpoint.h"
#include "train/config.h"
#include "train/optimizer.h"
#include "train/skipped.h"

/* How far a run is: all that the next step depends on beside the parameters. */
struct run_position {
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
json_t *run_position_save(const struct run_position *position, const struct skipped *skipped);
enum status run_position_load(struct run_position *position, struct skipped *skipped, const json_t *state,
                              struct error *err);

/* The settings of every stage that decide what the steps compute, under their keys: a run resumed with others
 * would not be the same run. NULL when out of memory. */
json_t *run_fingerprint(const struct train_config *config);

/* Where a checkpoint's tensors lie. */
struct run_tensors {
    struct optimizer *optimizer;
    struct optimizer *reference; /* a moving reference model of the same parameters; NULL: there is none */
};
struct checkpoint_reader run_state_reader(struct run_tensors *tensors);
struct checkpoint_sink run_state_sink(struct run_tensors *tensors);

/* Which of the optimizer's parameters are trained, for struct checkpoint_run; free() it. */
bool *run_trained(const struct optimizer *optimizer, struct error *err);

#endif
