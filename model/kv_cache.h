/* The keys and values of past tokens: for each layer one [rows, 2 * kv_heads * head_dim] tensor, keys in the
 * first half of a row and values in the second. Rows are handed out in ranges; a range may have several users
 * (the samples of one prompt) and is free again when the last of them releases it. */
#ifndef VS2_MODEL_KV_CACHE_H
#define VS2_MODEL_KV_CACHE_H

#include <stddef.h>

#include "model/weights.h"
#include "tensor/arena.h"

struct kv_range {
    int64_t first, rows;
    int64_t users;
};

struct kv_cache {
    int64_t layers, rows, width; /* width: kv_heads * head_dim */
    struct tensor both;          /* [layers * rows, 2 * width] */
    struct kv_range *ranges;     /* what is taken, ascending by `first` */
    size_t count, capacity;
};

/* Bytes of one row over all layers. */
int64_t kv_row_bytes(const struct model *model);

/* A cache of `rows` rows in the model's compute type, in the arena, whose release is its end; kv_cache_free
 * frees the rest. On failure nothing is kept. */
enum status kv_cache_make(const struct model *model, struct arena *arena, int64_t rows,
                          struct kv_cache *cache, struct error *err);
void kv_cache_free(struct kv_cache *cache);

struct tensor kv_cache_layer(const struct kv_cache *cache, int64_t layer);  /* [rows, 2 * width] */
struct tensor kv_cache_keys(const struct kv_cache *cache, int64_t layer);   /* [rows, width] */
struct tensor kv_cache_values(const struct kv_cache *cache, int64_t layer); /* [rows, width] */

/* Takes `rows` rows (at least 1) where they first fit, with one user: *first is the first of them, or -1 when
 * there is no such gap now. Fails only when host memory has run out. */
enum status kv_cache_take(struct kv_cache *cache, int64_t rows, int64_t *first, struct error *err);

/* Adds a user to, or takes one from, the range that begins at `first`. */
void kv_cache_share(struct kv_cache *cache, int64_t first);
void kv_cache_release(struct kv_cache *cache, int64_t first);

/* Rows that are free, and those of the largest gap. */
struct kv_space {
    int64_t free, largest;
};
struct kv_space kv_cache_space(const struct kv_cache *cache);

#endif
