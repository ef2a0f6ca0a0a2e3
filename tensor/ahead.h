/* Host memory that goes up to a device while it computes, for operations that come later.
 *
 *     ahead_put(ahead, pixels, bytes);               while long work is queued
 *     ahead_turn(ahead);                             what was put is there for all that is queued from now on
 *     memory = ahead_find(ahead, pixels);            until the next turn
 *
 * Two rooms take turns: copies fill the one, on a queue of their own and from pinned memory, beside
 * operations that read the other. At a turn the two queues wait for each other; the host waits for neither.
 * Where a device computes in the host's memory a put is a copy like any other. */
#ifndef VS2_TENSOR_AHEAD_H
#define VS2_TENSOR_AHEAD_H

#include "tensor/device.h"

struct ahead;

/* Two rooms of so many bytes, on a device that outlives them. NULL with err set when there is no memory. */
struct ahead *ahead_new(struct device *device, size_t bytes, struct error *err);
void ahead_free(struct ahead *ahead); /* NULL is fine */

/* Begins to copy; the host memory has been read on return, and its address is the copy's name: nothing else
 * may be put or looked for under it until the turn after the next. False, and nothing is copied, where the
 * room is full. */
bool ahead_put(struct ahead *ahead, const void *host, size_t bytes);

/* Operations queued before still find what they were given; those queued from now on what was put since the
 * last turn. */
void ahead_turn(struct ahead *ahead);

/* Where it lies on the device, aligned to 64; NULL: it was not put before the last turn. */
void *ahead_find(const struct ahead *ahead, const void *host);

#endif
