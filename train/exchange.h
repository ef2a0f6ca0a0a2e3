/* Exchanges between processes that go on while they compute: sums of a layer's gradients while the backward
 * pass is at the layer before, and weights of the next layer while this one is used.
 *
 * The process copies what it sends to host memory, a thread of the communicator brings it to the others and
 * theirs here, and the process takes it when it wants it. So the device is only used by its own thread, and
 * what was copied may change at once. Exchanges are made one after another, in the order in which they were
 * begun: all processes begin the same ones in the same order. A function of the communicator that all call
 * waits for those that were begun before it. Sums are those of communicator_reduce, to the bit. */
#ifndef VS2_TRAIN_EXCHANGE_H
#define VS2_TRAIN_EXCHANGE_H

#include "train/communicator.h"

struct exchange;

/* Room for one exchange at a time; the communicator has more than one process. NULL with err set when memory
 * is short. exchange_free waits for what was begun; NULL is fine. */
struct exchange *exchange_new(struct communicator *communicator, struct error *err);
void exchange_free(struct exchange *exchange);

enum exchange_kind {
    EXCHANGE_REDUCE, /* slice += the sums over the processes of these elements of whole. f32 */
    EXCHANGE_GATHER, /* whole = the slices of all processes */
};

/* Begins one, after the last one's end. The list stays the caller's, unchanged until then. */
enum status exchange_begin(struct exchange *exchange, struct device *device, enum exchange_kind kind,
                           const struct sliced *list, size_t count, struct error *err);

/* Waits for it, and puts what came into slices or wholes; nothing where none was begun. */
enum status exchange_end(struct exchange *exchange, struct device *device, struct error *err);

/* Waits for it, and forgets what came. */
void exchange_drop(struct exchange *exchange);

#endif
