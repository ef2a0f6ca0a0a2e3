/* What the vision tower and the language model are both built from. */
#ifndef VS2_MODEL_BLOCKS_H
#define VS2_MODEL_BLOCKS_H

#include "model/weights.h"
#include "tensor/arena.h"
#include "tensor/ops.h"

enum { MAX_HEAD = 256 }; /* the widest head that attention takes */

/* out = x W^T + bias. x: [rows, inputs], out: [rows, outputs], possibly views of columns. */
void linear_forward(struct device *device, struct tensor out, struct tensor x, struct tensor weight,
                    struct tensor bias);

/* The gated MLP: out = down(silu(gate(x)) * up(x)), some rows at a time so that the wide activations stay
 * small. x, out: [rows, width], not overlapping. */
void mlp_forward(struct device *device, struct arena *arena, struct tensor out, struct tensor x,
                 const struct linear *gate, const struct linear *up, const struct linear *down);

/* theta^(-2i/width) for i < width / 2, as the reference rounds them. */
void rope_frequencies(double theta, int64_t width, float *frequencies);

#endif
