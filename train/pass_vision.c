/* The vision tower's part of a training pass. */
#include "model/cost.h"
#include "train/pass_parts.h"
#include "train/vision_features.h"

/* The frames of a visual, or none: with their place on the device, in *there, where they went ahead. */
static const struct vision_frames *find_frames(const struct pass_run *run, const struct pass_visuals *visuals,
                                               int64_t number, struct vision_frames *there) {
    const struct vision_frames *frames = pass_visual_frames(visuals, number);
    const struct ahead *ahead = run->runner->settings.ahead;
    void *uploaded = frames && ahead ? ahead_find(ahead, frames->pixels) : NULL;
    if (!uploaded) return frames;
    *there = *frames;
    there->uploaded = uploaded;
    return there;
}

/* The features of one visual of a frozen tower: given, or computed and kept in the cache. */
static enum status frozen_visual(struct pass_run *run, const struct pass_visuals *visuals, int64_t number,
                                 struct tensor features, struct error *err) {
    struct pass_statistics *statistics = &run->runner->statistics;
    const struct visual_grid *grid = &visuals->grids[number];
    if (visuals->features && visuals->features[number]) {
        device_write(run->model->device, features, visuals->features[number]);
        return STATUS_OK;
    }
    struct cost cost = {0};
    struct vision_frames there;
    enum status status =
        vision_features_compute(run->model, run->arena, features, grid, visuals->patches[number],
                                find_frames(run, visuals, number, &there), &cost, err);
    if (status != STATUS_OK) return status;
    statistics->patches += grid->t * grid->h * grid->w;
    statistics->flops += cost.flops;
    const char *key = visuals->keys ? visuals->keys[number] : NULL;
    if (!run->runner->settings.cache || !key) return STATUS_OK;
    return vision_features_keep(run->runner->settings.cache, key, run->model->device, features, err);
}

static enum status frozen_features(struct pass_run *run, struct error *err) {
    int64_t first = 0;
    for (int64_t s = 0; s < run->layout.visual_sources; s++) {
        const struct pass_visuals *visuals = &run->layout.visuals[s];
        for (int64_t v = 0; v < visuals->count; v++) {
            int64_t rows = grid_features(&run->model->config.vision, &visuals->grids[v]);
            enum status status = frozen_visual(run, visuals, v, tensor_rows(run->features, first, rows), err);
            if (status != STATUS_OK) return status;
            first += rows;
        }
    }
    return STATUS_OK;
}

/* run->patches: those of all visuals. */
static void write_patches(struct pass_run *run) {
    run->patches =
        arena_tensor(run->arena, DTYPE_F32, run->plan.patches, run->model->vision.patch_embed.cols);
    int64_t first = 0;
    for (int64_t s = 0; s < run->layout.visual_sources; s++) {
        const struct pass_visuals *visuals = &run->layout.visuals[s];
        for (int64_t v = 0; v < visuals->count; v++) {
            int64_t rows = visuals->grids[v].t * visuals->grids[v].h * visuals->grids[v].w;
            struct vision_frames there;
            vision_write_patches(run->arena, tensor_rows(run->patches, first, rows), visuals->patches[v],
                                 find_frames(run, visuals, v, &there));
            first += rows;
        }
    }
}

/* All visuals through the tower at once, keeping what its backward pass needs. */
static enum status trained_features(struct pass_run *run, struct error *err) {
    const struct vision_config *config = &run->model->config.vision;
    enum status status =
        vision_plan_make(config, run->layout.grids, run->layout.visual_count, &run->plan, err);
    if (status != STATUS_OK) return status;
    write_patches(run);
    run->runner->statistics.patches += run->plan.patches;
    double forward = vision_cost(run->model, &run->plan).flops;
    run->runner->statistics.flops += run->backward ? 3 * forward : forward;
    if (!run->backward) {
        vision_forward(run->model, run->arena, run->features, run->patches, &run->plan);
        return STATUS_OK;
    }
    struct tape_depth depth = {.frozen = vision_frozen_blocks(run->gradients)};
    if (!run->runner->settings.recompute) depth.attention = depth.whole = config->depth;
    status = vision_tape_make(&run->vision_tape, run->model, run->arena, &run->plan, depth, err);
    if (status != STATUS_OK) return status;
    vision_forward_keep(run->model, run->arena, run->features, run->patches, &run->plan, &run->vision_tape);
    return STATUS_OK;
}

enum status pass_see(struct pass_run *run, struct error *err) {
    if (run->layout.visual_count == 0) {
        if (run->together.sees) units_pass_vision_forward(run->runner->settings.units);
        return STATUS_OK;
    }
    run->features =
        arena_tensor(run->arena, run->model->compute, run->layout.features, run->model->config.hidden);
    enum status status = run->trains_vision ? trained_features(run, err) : frozen_features(run, err);
    if (status != STATUS_OK) return status;
    return pass_end_part(run, &run->runner->statistics.seconds.vision, err);
}
