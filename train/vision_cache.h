/* Features of a frozen vision tower, computed once: kept in memory up to a budget, and in a folder beyond it
 * (and for the next run). What comes out has the very bits that went in.
 *
 * A key says all that the features depend on: the file, how its frames are chosen and sized, the tower, the
 * type. Nothing is ever thrown out, so what was found once is found again. All functions may be called from
 * several threads. */
#ifndef VS2_TRAIN_VISION_CACHE_H
#define VS2_TRAIN_VISION_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct vision_cache;

/* `memory_bytes` 0: nothing is kept in memory; `folder` NULL: nothing on disk (it is made when it is not
 * there). `tower` is put in front of every key. NULL with err set on failure. */
struct vision_cache *vision_cache_new(size_t memory_bytes, const char *folder, const char *tower,
                                      struct error *err);
void vision_cache_free(struct vision_cache *cache); /* NULL is fine */

/* Features that were found. */
struct cached_features {
    const void *data; /* NULL: not there */
    size_t size;
    void *owned; /* what vision_cache_release frees; NULL: the data is the cache's */
};

/* Looks for `size` bytes under the key. What lies in the folder is read; a file that is cut short, of another
 * key or size, or unreadable counts as not there. Fails only when out of memory. */
enum status vision_cache_find(struct vision_cache *cache, const char *key, size_t size,
                              struct cached_features *found, struct error *err);
void vision_cache_release(struct cached_features *found);

/* Keeps a copy, if there is room and the key is new. A folder that cannot be written to is an error. */
enum status vision_cache_store(struct vision_cache *cache, const char *key, const void *data, size_t size,
                               struct error *err);

/* What it holds now. */
struct vision_cache_use {
    size_t entries, bytes; /* in memory */
    size_t found, missed;  /* answers of vision_cache_find so far */
    size_t files_written;
};
struct vision_cache_use vision_cache_use(struct vision_cache *cache);

#endif
