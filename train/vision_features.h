/* Features of one visual under a frozen vision tower. Each is computed by itself, so that its bits do not
 * depend on what else is computed: passes, rollouts and the cache hold the same. */
#ifndef VS2_TRAIN_VISION_FEATURES_H
#define VS2_TRAIN_VISION_FEATURES_H

#include "model/cost.h"
#include "model/vision_frames.h"
#include "tensor/arena.h"
#include "train/vision_cache.h"

/* Bytes of a visual's features: [grid_features, hidden] of the compute type. */
size_t vision_features_bytes(const struct model *model, const struct visual_grid *grid);

/* features = what the tower makes of the patches or, where they are NULL, of the frames; *cost grows by the
 * work. Waits for the device. */
enum status vision_features_compute(const struct model *model, struct arena *arena, struct tensor features,
                                    const struct visual_grid *grid, const float *patches,
                                    const struct vision_frames *frames, struct cost *cost, struct error *err);

/* Puts a copy into the cache. Waits for the device. */
enum status vision_features_keep(struct vision_cache *cache, const char *key, struct device *device,
                                 struct tensor features, struct error *err);

#endif
