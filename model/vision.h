/* The vision tower: patches of videos and images to the features that stand at their pad tokens. */
#ifndef VS2_MODEL_VISION_H
#define VS2_MODEL_VISION_H

#include "model/positions.h"
#include "model/tape.h"
#include "model/weights.h"
#include "tensor/arena.h"

/* features = what the tower makes of the visuals the plan was made for. features: [plan->features,
 * out_hidden] of the compute type; patches: float [plan->patches, in_channels * temporal_patch * patch^2], in
 * the processor's order (the merge^2 patches of a feature in one run). The plan must live until the device
 * has done the work. Failures are the device's (tensor/device.h). */
void vision_forward(const struct model *model, struct arena *arena, struct tensor features,
                    struct tensor patches, const struct vision_plan *plan);

/* ---- Training: gradients are as in model/language.h -------------------------------------------------- */

/* What a training pass keeps; its tensors lie in an arena. */
struct vision_tape {
    struct block_tape *blocks;  /* [config.vision.depth] */
    struct tensor cosine, sine; /* f32 [patches, head / 2] */
    struct tensor output;       /* [patches, hidden]: the stream after the last block */
    struct tensor inner;        /* [features, merge^2 * hidden]: the merger's first layer, before the GELU */
};

/* Whether any part of the tower or its merger is trained: whether the gradients of the features are wanted.
 */
bool vision_is_trained(const struct model *gradients);

/* The blocks below which there is nothing to train, for tape_depth.frozen; all, when only the merger is
 * trained. */
int64_t vision_frozen_blocks(const struct model *gradients);

/* Makes the tape of one pass, which has then to be run once, and backward once at most. The tensors go with
 * the arena's mark; vision_tape_free frees the rest. */
enum status vision_tape_make(struct vision_tape *tape, const struct model *model, struct arena *arena,
                             const struct vision_plan *plan, struct tape_depth depth, struct error *err);
void vision_tape_free(struct vision_tape *tape);

/* vision_forward, keeping what vision_backward needs. */
void vision_forward_keep(const struct model *model, struct arena *arena, struct tensor features,
                         struct tensor patches, const struct vision_plan *plan, struct vision_tape *tape);

/* The backward pass of vision_forward_keep, which uses the tape up. d_features: [features, out_hidden] of the
 * compute type; patches and plan as in the forward pass. */
void vision_backward(const struct model *model, const struct model *gradients, struct arena *arena,
                     struct tensor d_features, struct tensor patches, const struct vision_plan *plan,
                     struct vision_tape *tape);

#endif
