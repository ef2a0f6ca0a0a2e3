/* The device, the model on it, the optimizer, and the cache of features. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/visual.h"
#include "model/vision.h"
#include "train/run.h"

enum {
    PIECE_BYTES = 1 << 16,  /* of a tower's weights that are read at once */
    AHEAD_BYTES = 64 << 20, /* of a room for frames: 16 of a 720p video are 44 MB */
    AHEAD_SHARE = 512,      /* of the free memory it takes no more than this part */
};

/* A hash of the frozen tower's weights: features of another tower must not come out of the cache's folder. */
static enum status hash_tower(struct train_run *run, uint64_t *hash, struct error *err) {
    unsigned char *piece = memory_new(PIECE_BYTES, 1, "the vision tower's weights", err);
    enum status status = piece ? STATUS_OK : STATUS_FAILED;
    *hash = 0xcbf29ce484222325u;
    for (size_t i = 0; status == STATUS_OK && i < run->optimizer.parameter_count; i++) {
        const struct parameter *parameter = &run->optimizer.parameters[i];
        if (strncmp(parameter->name, "model.visual.", 13) != 0) continue;
        struct tensor whole = *parameter_tensor(&run->model, parameter);
        struct tensor flat = tensor_reshape(whole, 1, whole.rows * whole.cols);
        int64_t most = PIECE_BYTES / (int64_t)dtype_size(flat.dtype);
        for (int64_t first = 0; status == STATUS_OK && first < flat.cols; first += most) {
            int64_t count = flat.cols - first < most ? flat.cols - first : most;
            struct tensor part = tensor_cols(flat, first, count);
            part.stride = count;
            status = device_read(&run->device, piece, part, err);
            size_t bytes = (size_t)count * dtype_size(flat.dtype);
            for (size_t b = 0; b < bytes; b += 2)
                *hash = (*hash ^ (uint64_t)(piece[b] | piece[b + 1] << 8)) * 0x100000001b3u;
        }
    }
    free(piece);
    return status;
}

/* Features are kept when no part of tower and merger is trained. */
static enum status make_cache(struct train_run *run, struct error *err) {
    const struct train_config *config = run->config;
    if (vision_is_trained(&run->optimizer.gradients)) return STATUS_OK;
    if (config->vision_cache_memory == 0 && !config->vision_cache_dir) return STATUS_OK;
    uint64_t hash = 0;
    if (config->vision_cache_dir && hash_tower(run, &hash, err) != STATUS_OK) return STATUS_FAILED;
    char tower[64];
    snprintf(tower, sizeof tower, "%016llx %s", (unsigned long long)hash, dtype_name(run->model.compute));
    run->cache = vision_cache_new((size_t)config->vision_cache_memory, config->vision_cache_dir, tower, err);
    return run->cache ? STATUS_OK : STATUS_FAILED;
}

struct freeze run_freeze(const struct train_config *config) {
    return (struct freeze){config->freeze_vision_tower, config->freeze_multi_modal_projector,
                           config->freeze_language_model};
}

enum dtype run_dtype(const struct train_config *config) {
    return config->bf16 ? DTYPE_BF16 : DTYPE_F32;
}

enum status run_open_device(struct train_run *run, struct error *err) {
    enum status status = device_open(run->config->device, &run->device, err);
    if (status != STATUS_OK || !run->config->offload_optimizer) return status;
    if (device_describe(&run->device).own_memory) return device_open("cpu", &run->host, err);
    progress_message(run->progress,
                     "offload_optimizer: on this device the optimizer is in host memory anyway");
    return STATUS_OK;
}

struct optimizer_sharing run_sharing(struct train_run *run) {
    const struct train_config *config = run->config;
    return (struct optimizer_sharing){.processes = config->processes,
                                      .stage = (int)config->zero_stage,
                                      .overlaps = run->overlaps,
                                      .host = run->host.backend ? &run->host : NULL};
}

/* Whether exchanges go on beside the passes, once all have their devices: in all processes, or in none. */
static enum status choose_overlap(struct train_run *run, struct error *err) {
    const struct train_config *config = run->config;
    bool can;
    enum status status = communicator_can_join(config->processes, &run->device, &can, err);
    if (status != STATUS_OK) return status;
    if (!can && communicator_size(config->processes) > 1 && device_describe(&run->device).own_memory)
        progress_message(run->progress,
                         "the processes exchange through host memory: one of them has no NCCL, "
                         "or two have the same GPU");
    run->overlaps = config->overlap_unsaid ? can : config->overlap_exchanges;
    double count = run->overlaps;
    status = communicator_sum_values(config->processes, &count, 1, err);
    if (status == STATUS_OK && count != run->overlaps * (double)communicator_size(config->processes))
        status = error_usage(err, "overlap_comm is on in %.0f of %d processes", count,
                             communicator_size(config->processes));
    return run_agree(run, status, err);
}

size_t run_ahead_bytes(const struct device_info *device) {
    if (!device->own_memory) return 0;
    size_t share = device->free_memory / AHEAD_SHARE;
    return share < AHEAD_BYTES ? share : AHEAD_BYTES;
}

/* None on a device that is too full: then frames go up as they are needed. */
static struct ahead *make_ahead(struct device *device) {
    struct error without;
    const struct device_info info = device_describe(device);
    size_t bytes = run_ahead_bytes(&info);
    return bytes > 0 ? ahead_new(device, bytes, &without) : NULL;
}

enum status run_open_model(struct train_run *run, struct error *err) {
    const struct train_config *config = run->config;
    const struct freeze freeze = run_freeze(config);
    enum status status = run_open_device(run, err);
    if (status != STATUS_OK) return status;
    run->visual->frames = device_describe(&run->device).own_memory;
    status = optimizer_open_model(run->folder, &run->device, run_dtype(config), &freeze, &run->model, err);
    status = run_agree(run, status, err); /* what follows they do together */
    if (status == STATUS_OK) status = choose_overlap(run, err);
    if (status == STATUS_OK)
        status = optimizer_open(&run->optimizer, &run->model, &freeze, run_sharing(run), err);
    if (status == STATUS_OK) status = make_cache(run, err);
    if (status != STATUS_OK) return status;
    run->ahead = make_ahead(&run->device);
    const struct pass_settings settings = {
        .model = &run->model,
        .gradients = &run->optimizer.gradients,
        .cache = run->cache,
        .ahead = run->ahead,
        .units = run->optimizer.units,
        .recompute = config->gradient_checkpointing,
        .activation_bytes = pass_activation_bytes(
            config->activation_memory,
            optimizer_bytes(&run->model, run->optimizer.parameters, run->optimizer.parameter_count, &freeze)),
    };
    run->tensors.optimizer = &run->optimizer;
    run->runner = pass_runner_new(&settings, err);
    if (run_leads(run)) run->peak = device_measure(&run->device); /* the others show no share of it */
    return run->runner ? STATUS_OK : STATUS_FAILED;
}

enum status run_reserve(struct train_run *run, struct pass_size size, size_t beside, struct error *err) {
    bool there;
    enum status status = pass_reserve(run->runner, size, beside, &there, err);
    if (status == STATUS_OK && !there)
        progress_message(
            run->progress,
            "the longest sequences may not fit the GPU: it has not as much memory free as a pass "
            "of them takes (--dry-run tells what does)");
    return status;
}
