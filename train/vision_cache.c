#include "train/vision_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

enum { BUCKETS = 1 << 12, NAME_SIZE = 48 };

struct entry {
    struct entry *next;
    char *key;
    void *data;
    size_t size;
};

struct vision_cache {
    pthread_mutex_t mutex;
    char *folder, *tower;
    size_t budget;
    struct vision_cache_use use;
    struct entry *buckets[BUCKETS];
};

struct vision_cache *vision_cache_new(size_t memory_bytes, const char *folder, const char *tower,
                                      struct error *err) {
    struct vision_cache *cache = memory_new(1, sizeof *cache, "the vision cache", err);
    if (!cache) return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    cache->budget = memory_bytes;
    cache->tower = memory_text(tower, strlen(tower), "the vision cache", err);
    if (!cache->tower) goto err;
    if (folder) {
        cache->folder = memory_text(folder, strlen(folder), "the vision cache", err);
        if (!cache->folder) goto err;
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
            error_set(err, "%s: cannot make the folder: %s", folder, strerror(errno));
            goto err;
        }
    }
    return cache;
err:
    vision_cache_free(cache);
    return NULL;
}

void vision_cache_free(struct vision_cache *cache) {
    if (!cache) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct entry *entry = cache->buckets[i];
        while (entry) {
            struct entry *next = entry->next;
            free(entry->key);
            free(entry->data);
            free(entry);
            entry = next;
        }
    }
    pthread_mutex_destroy(&cache->mutex);
    free(cache->folder);
    free(cache->tower);
    free(cache);
}

/* FNV-1a, 64 bits, from one of two starts: names of files, and buckets. Files hold their whole key, so two
 * keys of one hash are no more than a miss. */
static uint64_t hash_text(const char *text, uint64_t start) {
    uint64_t hash = start;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

static struct entry *find_entry(struct vision_cache *cache, const char *key) {
    struct entry *entry = cache->buckets[hash_text(key, 0xcbf29ce484222325u) % BUCKETS];
    while (entry && strcmp(entry->key, key) != 0) entry = entry->next;
    return entry;
}

/* The file of a key, and what it begins with: a mark, the tower and the key, each ended by a newline. */
struct cache_file {
    char *path;
    struct text head;
};

static enum status name_file(const struct vision_cache *cache, const char *key, struct cache_file *file,
                             struct error *err) {
    *file = (struct cache_file){0};
    text_format(&file->head, "vs2 vision features 1\n%s\n%s\n", cache->tower, key);
    if (text_check(&file->head, "a key of the vision cache", err) != STATUS_OK) return STATUS_FAILED;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%016llx%016llx.vs2",
             (unsigned long long)hash_text(file->head.data, 0xcbf29ce484222325u),
             (unsigned long long)hash_text(file->head.data, 0x84222325cbf29ce4u));
    file->path = file_join(cache->folder, name, err);
    return file->path ? STATUS_OK : STATUS_FAILED;
}

static void forget_file(struct cache_file *file) {
    free(file->path);
    text_free(&file->head);
}

/* The file's features, when it is whole and of this key. */
static enum status read_features(const struct vision_cache *cache, const char *key, size_t size,
                                 struct cached_features *found, struct error *err) {
    struct cache_file file;
    struct file_map map = {0};
    struct error unreadable;
    enum status status = name_file(cache, key, &file, err);
    if (status == STATUS_OK && file_map(file.path, &map, &unreadable) == STATUS_OK &&
        map.size == file.head.length + size && memcmp(map.data, file.head.data, file.head.length) == 0) {
        found->owned = memory_new(size, 1, "cached features", err);
        if (found->owned)
            memcpy(found->owned, map.data + file.head.length, size);
        else
            status = STATUS_FAILED;
        found->data = found->owned;
        found->size = size;
    }
    file_unmap(&map);
    forget_file(&file);
    return status;
}

enum status vision_cache_find(struct vision_cache *cache, const char *key, size_t size,
                              struct cached_features *found, struct error *err) {
    *found = (struct cached_features){0};
    pthread_mutex_lock(&cache->mutex);
    const struct entry *entry = find_entry(cache, key);
    if (entry && entry->size == size) *found = (struct cached_features){entry->data, size, NULL};
    pthread_mutex_unlock(&cache->mutex);
    enum status status = STATUS_OK;
    if (!found->data && cache->folder) status = read_features(cache, key, size, found, err);
    pthread_mutex_lock(&cache->mutex);
    if (found->data)
        cache->use.found++;
    else
        cache->use.missed++;
    pthread_mutex_unlock(&cache->mutex);
    return status;
}

void vision_cache_release(struct cached_features *found) {
    free(found->owned);
    *found = (struct cached_features){0};
}

/* Adds an entry; the caller holds the mutex and has seen that the key is new. */
static enum status add_entry(struct vision_cache *cache, const char *key, const void *data, size_t size,
                             struct error *err) {
    struct entry *entry = memory_new(1, sizeof *entry, "cached features", err);
    if (!entry) return STATUS_FAILED;
    entry->key = memory_text(key, strlen(key), "cached features", err);
    entry->data = memory_new(size, 1, "cached features", err);
    if (!entry->key || !entry->data) {
        free(entry->key);
        free(entry->data);
        free(entry);
        return STATUS_FAILED;
    }
    memcpy(entry->data, data, size);
    entry->size = size;
    struct entry **bucket = &cache->buckets[hash_text(key, 0xcbf29ce484222325u) % BUCKETS];
    entry->next = *bucket;
    *bucket = entry;
    cache->use.entries++;
    cache->use.bytes += size;
    return STATUS_OK;
}

static enum status write_features(struct vision_cache *cache, const char *key, const void *data, size_t size,
                                  struct error *err) {
    struct cache_file file;
    struct file_writer writer;
    enum status status = name_file(cache, key, &file, err);
    if (status == STATUS_OK) status = file_writer_open(&writer, file.path, err);
    if (status == STATUS_OK) {
        file_writer_write(&writer, file.head.data, file.head.length);
        file_writer_write(&writer, data, size);
        status = file_writer_commit(&writer, err);
    }
    if (status == STATUS_OK) {
        pthread_mutex_lock(&cache->mutex);
        cache->use.files_written++;
        pthread_mutex_unlock(&cache->mutex);
    }
    forget_file(&file);
    return status;
}

enum status vision_cache_store(struct vision_cache *cache, const char *key, const void *data, size_t size,
                               struct error *err) {
    enum status status = STATUS_OK;
    pthread_mutex_lock(&cache->mutex);
    bool fits = cache->use.bytes + size <= cache->budget;
    bool known = find_entry(cache, key) != NULL;
    if (fits && !known) status = add_entry(cache, key, data, size, err);
    pthread_mutex_unlock(&cache->mutex);
    if (status != STATUS_OK || known || !cache->folder) return status;
    return write_features(cache, key, data, size, err);
}

struct vision_cache_use vision_cache_use(struct vision_cache *cache) {
    pthread_mutex_lock(&cache->mutex);
    struct vision_cache_use use = cache->use;
    pthread_mutex_unlock(&cache->mutex);
    return use;
}
