/* A model by units (model/units.h), for processes that keep no whole gradients (ZeRO stage 2) and no whole
 * model (stage 3).
 *
 * Units of which one is used at a time share a room that is as large as the largest of them: the embedding
 * and the head one, layers and all others another. When a pass is done with a unit's gradients, all processes
 * add theirs up, each keeps the sums of its shards, and the room is empty again. In stage 3 a unit's weights
 * are gathered from everybody's shards when a pass comes to it, unless they are there yet; units take turns
 * in two rooms. So do gradients, where GPUs exchange them beside the passes. Frozen weights are not shared:
 * they are mapped from the checkpoint, and processes of a machine have its pages in common.
 *
 * So all processes must go through the same units together. Passes therefore go in rounds: units_begin says
 * that a process begins one; one that has none left waits in units_finish, and takes part in the others' with
 * nothing to add. Below stage 2 (units is NULL) nothing of this happens. */
#ifndef VS2_TRAIN_UNITS_H
#define VS2_TRAIN_UNITS_H

#include "train/optimizer.h"

/* Makes the rooms for what is trained of the optimizer's model, which is being opened. NULL with err set on
 * failure; units_free, with the device still open. */
struct units *units_new(struct optimizer *optimizer, const struct freeze *freeze,
                        struct optimizer_sharing sharing, struct error *err);
void units_free(struct units *units);

/* Bytes of the rooms for what is trained of the model, whose parameters these are; none below stage 2. */
int64_t units_bytes(const struct model *model, const struct parameter *parameters, size_t count,
                    const struct freeze *freeze, struct optimizer_sharing sharing);

/* Where the wholes of parameter `index` of the optimizer's list lie: f32 weights, their copy, the gradient;
 * no tensor for what has no place in a room. */
struct unit_tensors {
    struct tensor weight, operand, gradient;
};
struct unit_tensors units_tensors(const struct units *units, size_t index);

/* Watches the passes from now on: all parameters have their tensors. */
void units_watch(struct units *units);

/* From now on exchanges go on beside the passes (train/exchange.h): of the gradients that the pass has just
 * left, and of the weights that it comes to next. All processes call it, once their units watch; memory that
 * is short is a failure of this one alone. */
enum status units_overlap(struct units *units, struct error *err);

/* Ends the sums that are being made beside the passes: now every shard has its own. */
enum status units_settle(struct units *units, struct error *err);

/* Whether passes gather weights, in stage 3: not while the model has whole ones. */
void units_gather(struct units *units, bool gathers);

/* What lies in the rooms is no longer what the weights are. */
void units_forget(struct units *units);

/* ---- Passes ------------------------------------------------------------------------------------------ */

/* What a pass goes through. */
struct units_pass {
    bool backward;
    bool sees; /* the vision tower, where it is trained */
};

/* Begins a pass; *all is what the processes go through together: `sees` where any does. All that are in
 * training passes, or all that are in others, at a time. Fails where a process has failed. */
enum status units_begin(struct units *units, struct units_pass own, struct units_pass *all,
                        struct error *err);

/* The pass is done; not after a failure. */
void units_end(struct units *units);

/* The vision tower's part of a pass of others, for a process that has nothing to see: before, or after, its
 * own language model's. */
void units_pass_vision_forward(struct units *units);
void units_pass_vision_backward(struct units *units);

/* Takes part in the others' passes until none begins one any more. All processes leave with the same status,
 * as communicator_agree has it; but for one that failed in a pass, where the others wait for it: it is to end
 * all (communicator_close). `units` may be NULL: then it is communicator_agree. */
enum status units_finish(struct units *units, struct communicator *processes, bool backward,
                         enum status status, struct error *err);

#endif
