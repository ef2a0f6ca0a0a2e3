#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int64_t kv_row_bytes(const struct model *model) {
    const struct model_config *config = &model->config;
    return 2 * config->layers * config->kv_heads * config->head_dim * (int64_t)dtype_size(model->compute);
}

enum status kv_cache_make(const struct model *model, int64_t rows, struct kv_cache *cache,
                          struct error *err) {
    const struct model_config *config = &model->config;
    int64_t width = config->kv_heads * config->head_dim;
    *cache = (struct kv_cache){.device = model->device,
                               .layers = config->layers,
                               .rows = rows,
                               .width = width,
                               .dtype = model->compute};
    if (rows > INT64_MAX / kv_row_bytes(model) || rows > INT32_MAX) {
        error_set(err, "a key/value cache of %lld tokens is too large", (long long)rows);
        goto err;
    }
    cache->both = memory_new((size_t)config->layers, sizeof *cache->both, "the key/value cache", err);
    if (!cache->both) goto err;
    for (int64_t layer = 0; layer < config->layers; layer++) {
        size_t bytes = (size_t)(rows * 2 * width) * dtype_size(cache->dtype);
        void *memory = device_allocate(model->device, bytes, "the key/value cache", err);
        if (!memory) {
            error_prefix(err, "a key/value cache of %lld tokens needs %lld MiB", (long long)rows,
                         (long long)(rows * kv_row_bytes(model) >> 20));
            goto err;
        }
        cache->both[layer] = tensor_at(memory, cache->dtype, rows, 2 * width);
    }
    return STATUS_OK;
err:
    kv_cache_free(cache);
    return STATUS_FAILED;
}

void kv_cache_free(struct kv_cache *cache) {
    for (int64_t layer = 0; cache->both && layer < cache->layers; layer++)
        if (cache->both[layer].data) device_release(cache->device, cache->both[layer].data);
    free(cache->both);
    free(cache->ranges);
    *cache = (struct kv_cache){0};
}

struct tensor kv_cache_keys(const struct kv_cache *cache, int64_t layer) {
    return tensor_cols(cache->both[layer], 0, cache->width);
}

struct tensor kv_cache_values(const struct kv_cache *cache, int64_t layer) {
    return tensor_cols(cache->both[layer], cache->width, cache->width);
}

/* The end of range i - 1: where the gap before range i begins. */
static int64_t gap_start(const struct kv_cache *cache, size_t i) {
    return i == 0 ? 0 : cache->ranges[i - 1].first + cache->ranges[i - 1].rows;
}

static int64_t gap_rows(const struct kv_cache *cache, size_t i) {
    return (i == cache->count ? cache->rows : cache->ranges[i].first) - gap_start(cache, i);
}

enum status kv_cache_take(struct kv_cache *cache, int64_t rows, int64_t *first, struct error *err) {
    size_t i = 0;
    assert(rows > 0);
    *first = -1;
    while (i <= cache->count && gap_rows(cache, i) < rows) i++;
    if (i > cache->count) return STATUS_OK;
    if (memory_grow(&cache->ranges, &cache->capacity, cache->count + 1, sizeof *cache->ranges,
                    "the key/value cache", err))
        return STATUS_FAILED;
    memmove(&cache->ranges[i + 1], &cache->ranges[i], (cache->count - i) * sizeof *cache->ranges);
    *first = gap_start(cache, i);
    cache->ranges[i] = (struct kv_range){*first, rows, 1};
    cache->count++;
    return STATUS_OK;
}

static size_t find_range(const struct kv_cache *cache, int64_t first) {
    size_t i = 0;
    while (i < cache->count && cache->ranges[i].first != first) i++;
    assert(i < cache->count);
    return i;
}

void kv_cache_share(struct kv_cache *cache, int64_t first) {
    cache->ranges[find_range(cache, first)].users++;
}

void kv_cache_release(struct kv_cache *cache, int64_t first) {
    size_t i = find_range(cache, first);
    if (--cache->ranges[i].users > 0) return;
    cache->count--;
    memmove(&cache->ranges[i], &cache->ranges[i + 1], (cache->count - i) * sizeof *cache->ranges);
}

struct kv_space kv_cache_space(const struct kv_cache *cache) {
    struct kv_space space = {0};
    for (size_t i = 0; i <= cache->count; i++) {
        int64_t rows = gap_rows(cache, i);
        space.free += rows;
        if (rows > space.largest) space.largest = rows;
    }
    return space;
}
