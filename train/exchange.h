/* Exchanges between processes that go on while they compute: sums of a layer's gradients while the backward
 * pass is at the layer before, and weights of the next layer while this one is used.
 *
 * Between GPUs they are queued with the device's collectives (tensor/collective.h), whose queue runs beside
 * the operations. Elsewhere the process copies what it sends to host memory, a thread of the communicator
 * brings it to the others and theirs here, and the process takes it when it wants it: the device is only used
 * by its own thread.
 *
 * Exchanges are made one after another, in the order in which they were begun: all processes begin the same
 * ones in the same order. A function of the communicator that all call waits for those that were begun before
 * it. Sums are those of communicator_reduce, to the bit. */
#ifndef VS2_TRAIN_EXCHANGE_H
#define VS2_TRAIN_EXCHANGE_H

#include "train/communicator.h"

struct exchange;

/* One exchange at a time, of tensors of that device, which outlives it; the communicator has more than one
 * process, and all make it. NULL with err set when memory is short. exchange_free waits for what was begun;
 * NULL is fine. */
struct exchange *exchange_new(struct communicator *communicator, struct device *device, struct error *err);
void exchange_free(struct exchange *exchange);

/* Room for that list, so that to begin it allocates nothing. */
enum status exchange_reserve(struct exchange *exchange, const struct sliced *list, size_t count,
                             struct error *err);

enum exchange_kind {
    EXCHANGE_SUM,    /* slice = the sums over the processes of these elements of whole. f32 */
    EXCHANGE_MOVE,   /* slice += the sums, and whole = 0. f32 */
    EXCHANGE_GATHER, /* whole = the slices of all processes */
};

/* Begins one, after the last one's end. Until its own end the list stays as it is, nothing is written to what
 * it reads, and what it writes is not used. */
enum status exchange_begin(struct exchange *exchange, enum exchange_kind kind, const struct sliced *list,
                           size_t count, struct error *err);

/* What is queued from now on finds in slices or wholes what came; nothing where none was begun. Waits for it
 * where it goes through host memory. */
enum status exchange_end(struct exchange *exchange, struct error *err);

/* Ends it without a use for what came, which may be in the wholes or not. */
void exchange_drop(struct exchange *exchange);

#endif
