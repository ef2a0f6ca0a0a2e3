/* The reference model, from which the trained one is held not to go far: the weights that training began
 * with, mapped from their files a second time and read only. Its passes work in the memory of the run's. With
 * sync_ref_model it has weights of its own, which move towards the trained ones now and then. */
#ifndef VS2_GRPO_REFERENCE_H
#define VS2_GRPO_REFERENCE_H

#include "train/run.h"

struct reference {
    struct model model;
    struct pass_runner *runner;
    struct optimizer weights; /* of a model that moves: weights and copies, nothing else */
    bool moves;
};

/* Opens the reference model of a run, whose own model is open. One that moves becomes part of its
 * checkpoints. On failure nothing stays. */
enum status reference_open(struct reference *reference, struct train_run *run, bool moves, struct error *err);
void reference_close(struct reference *reference); /* also one that was never opened */

/* weights = alpha * trained + (1 - alpha) * weights, in f32, as TRL's SyncRefModelCallback does it. */
enum status reference_sync(struct reference *reference, const struct optimizer *trained, double alpha,
                           struct error *err);

#endif
