/* The vision tower: patches of videos and images to the features that stand at their pad tokens. */
#ifndef VS2_MODEL_VISION_H
#define VS2_MODEL_VISION_H

#include "model/positions.h"
#include "model/weights.h"
#include "tensor/arena.h"

/* features = what the tower makes of the visuals the plan was made for. features: [plan->features,
 * out_hidden] of the compute type; patches: float [plan->patches, in_channels * temporal_patch * patch^2], in
 * the processor's order (the merge^2 patches of a feature in one run). The plan must live until the device
 * has done the work. `kept`: NULL, or a tensor [patches, hidden] of the compute type for each block and one
 * more, that receive the input of each block and the output of the last (rows in the plan's order); those
 * without data are skipped. Failures are the device's (tensor/device.h). */
void vision_forward(const struct model *model, struct arena *arena, struct tensor features,
                    struct tensor patches, const struct vision_plan *plan, const struct tensor *kept);

#endif
