/* Sums of whole gradients, made while the backward pass goes on: for processes that each keep all gradients
 * (ZeRO stages 0 and 1; from stage 2 on that is train/units.h).
 *
 * Only a step's last pass adds what is missing to a unit's gradients (model/units.h). As it leaves a unit,
 * the sums over the processes begin to be made beside it (train/exchange.h); what no pass has come by is
 * begun when the step's passes are over. Every process begins the sums of all units, in the order of a
 * backward pass, so it does not matter who has how many passes, or any. The sums are those of
 * communicator_reduce, to the bit. */
#ifndef VS2_TRAIN_BUCKETS_H
#define VS2_TRAIN_BUCKETS_H

#include "train/optimizer.h"

struct buckets;

/* Of an optimizer of several processes whose parameters have their tensors; watches its gradients from now
 * on. With `gathers` all get whole sums, else each those of its shards. NULL with err set on failure. */
struct buckets *buckets_new(struct optimizer *optimizer, bool gathers, struct error *err);
void buckets_free(struct buckets *buckets); /* NULL is fine */

/* The pass that comes next is this process's last one of the step. */
void buckets_last_pass(struct buckets *buckets);

/* Begins what has not begun, before anything else that processes do together: their order is the same
 * everywhere. After a failure this process can do nothing with the others any more. Nothing is begun twice in
 * a step. */
enum status buckets_begin_rest(struct buckets *buckets, struct error *err);

/* How many units' sums have begun in this step. */
size_t buckets_begun(const struct buckets *buckets);

/* Begins what has not begun, and ends all; then the next step may begin. */
enum status buckets_settle(struct buckets *buckets, struct error *err);

#endif
