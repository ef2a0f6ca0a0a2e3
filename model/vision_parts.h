/* What the forward and the backward pass of the vision tower share. */
#ifndef VS2_MODEL_VISION_PARTS_H
#define VS2_MODEL_VISION_PARTS_H

#include "model/blocks.h"
#include "model/vision.h"

#define VISION_EPSILON 1e-6f /* the published tower's own, not in the configuration */

/* A block's weights, or their gradients. */
struct block vision_block(const struct vision_block_weights *weights);

struct block_shape vision_block_shape(const struct vision_config *config);

struct block_call vision_call(const struct model *model, const struct vision_plan *plan,
                              struct vision_tape *tape, int64_t number);

/* The patches in the tower's order, of the compute type. */
struct tensor vision_order_patches(const struct model *model, struct arena *arena, struct tensor patches,
                                   const struct vision_plan *plan);

#endif
