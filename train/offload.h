/* Master weights and moments in the host's memory, for a model on a device with memory of its own: AdamW runs
 * on the host, to which gradients come down and from which the new weights go up, a piece at a time. The
 * numbers are those of the CPU's AdamW, which differs from the device's in the last bits at most.
 *
 * While the host computes a piece, the gradient of the next one comes down and the weights of the one before
 * go up. */
#ifndef VS2_TRAIN_OFFLOAD_H
#define VS2_TRAIN_OFFLOAD_H

#include "tensor/ops.h"
#include "train/optimizer.h"

struct offload;

/* Between `device`, the model's, and `host`, a CPU; both outlive it. NULL with err set: no memory for a piece
 * on either. */
struct offload *offload_new(struct device *device, struct device *host, struct error *err);
void offload_free(struct offload *offload); /* NULL is fine */

/* Like all that computes, these report failures through the model's device. */

/* kept (f32, on the host) = stored (any type, on the device), of as many elements. */
void offload_take(struct offload *offload, struct tensor kept, struct tensor stored);

/* adamw_step of a parameter whose weight and moments are on the host; its gradient is zero afterwards. */
void offload_step(struct offload *offload, const struct trained_parameter *trained,
                  struct adamw_options options);

/* Gives the device the parameter's weight as it is on the host, in the types that passes take. */
void offload_show(struct offload *offload, const struct trained_parameter *trained);

#endif
