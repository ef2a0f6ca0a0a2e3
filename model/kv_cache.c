#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

int64_t kv_row_bytes(const struct model *model) {
    const struct model_config *config = &model->config;
    return 2 * config->layers * config->kv_heads * config->head_dim * (int64_t)dtype_size(model->compute);
}

enum status kv_cache_make(const struct model *model, struct arena *arena, int64_t rows,
                          struct kv_cache *cache, struct error *err) {
    const struct model_config *config = &model->config;
    *cache = (struct kv_cache){
        .layers = config->layers, .rows = rows, .width = config->kv_heads * config->head_dim};
    if (rows > INT64_MAX / kv_row_bytes(model) || rows > INT32_MAX)
        return error_set(err, "a key/value cache of %lld tokens is too large", (long long)rows);
    int64_t bytes = rows * kv_row_bytes(model);
    if (arena_reserve(arena, (size_t)bytes, err) != STATUS_OK) {
        error_prefix(err, "a key/value cache of %lld tokens needs %lld MiB", (long long)rows,
                     (long long)(bytes >> 20));
        return STATUS_FAILED;
    }
    cache->both = arena_tensor(arena, model->compute, cache->layers * rows, 2 * cache->width);
    return STATUS_OK;
}

void kv_cache_free(struct kv_cache *cache) {
    free(cache->ranges);
    *cache = (struct kv_cache){0};
}

struct tensor kv_cache_layer(const struct kv_cache *cache, int64_t layer) {
    return tensor_rows(cache->both, layer * cache->rows, cache->rows);
}

struct tensor kv_cache_keys(const struct kv_cache *cache, int64_t layer) {
    return tensor_cols(kv_cache_layer(cache, layer), 0, cache->width);
}

struct tensor kv_cache_values(const struct kv_cache *cache, int64_t layer) {
    return tensor_cols(kv_cache_layer(cache, layer), cache->width, cache->width);
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
