#include "train/vision_features.h"

#include <stdlib.h>

#include "base/memory.h"
#include "model/vision.h"

size_t vision_features_bytes(const struct model *model, const struct visual_grid *grid) {
    int64_t rows = grid_features(&model->config.vision, grid);
    return (size_t)(rows * model->config.hidden) * dtype_size(model->compute);
}

enum status vision_features_compute(const struct model *model, struct arena *arena, struct tensor features,
                                    const struct visual_grid *grid, const float *patches,
                                    const struct vision_frames *frames, struct cost *cost,
                                    struct error *err) {
    struct vision_plan plan;
    enum status status = vision_plan_make(&model->config.vision, grid, 1, &plan, err);
    if (status != STATUS_OK) return status;
    struct arena_mark mark = arena_mark(arena);
    struct tensor input = arena_tensor(arena, DTYPE_F32, plan.patches, model->vision.patch_embed.cols);
    vision_write_patches(arena, input, patches, frames);
    vision_forward(model, arena, features, input, &plan);
    arena_release(arena, mark);
    struct cost work = vision_cost(model, &plan);
    cost->flops += work.flops;
    cost->bytes += work.bytes;
    status = device_synchronize(model->device, err); /* the plan ends here */
    vision_plan_free(&plan);
    return status;
}

enum status vision_features_keep(struct vision_cache *cache, const char *key, struct device *device,
                                 struct tensor features, struct error *err) {
    size_t bytes = (size_t)features.rows * (size_t)features.cols * dtype_size(features.dtype);
    void *host = memory_new(bytes, 1, "vision features", err);
    enum status status = host ? device_read(device, host, features, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = vision_cache_store(cache, key, host, bytes, err);
    free(host);
    return status;
}
