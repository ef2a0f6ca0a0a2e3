/* Arenas: device memory handed out in order and given back by marks, for activations and caches.
 * An arena grows by chunks that it keeps, so a second pass of the same shape allocates nothing. On a device
 * that counts (device_counting) it has no memory, and its peak is what was to be found out. */
#ifndef VS2_TENSOR_ARENA_H
#define VS2_TENSOR_ARENA_H

#include "tensor/device.h"

struct arena_chunk;

struct arena {
    struct device *device;
    struct arena_chunk *chunks; /* array of `count` */
    size_t count, capacity;
    size_t current; /* the chunk being handed out */
    size_t used;    /* bytes used of it */
    size_t chunk_bytes;
    size_t in_use, peak; /* bytes over all chunks, now and at most */
};

struct arena_mark {
    size_t current, used, in_use;
};

/* An empty arena whose chunks have at least chunk_bytes (0: 64 MiB). It allocates on first use. */
void arena_init(struct arena *arena, struct device *device, size_t chunk_bytes);
void arena_free(struct arena *arena);

/* What a tensor of so many bytes takes of an arena. */
size_t arena_bytes(size_t bytes);

/* Makes sure that a tensor of so many bytes, the next one, has its place, or tensors that take so many
 * together: in one chunk. Fails when there is no memory, and the device is as it was. */
enum status arena_reserve(struct arena *arena, size_t bytes, struct error *err);

/* An uninitialised contiguous [rows, cols] tensor. When there is no memory the device
 * has failed (see device.h) and the tensor's data is NULL; operations on it are then skipped. */
struct tensor arena_tensor(struct arena *arena, enum dtype dtype, int64_t rows, int64_t cols);

/* A [rows, cols] tensor holding a copy of host memory. */
struct tensor arena_upload(struct arena *arena, enum dtype dtype, int64_t rows, int64_t cols,
                           const void *host);

/* Everything handed out after the mark is given back. Queued operations may still use it: what is handed
 * out next is written by later operations only. */
struct arena_mark arena_mark(const struct arena *arena);
void arena_release(struct arena *arena, struct arena_mark mark);

#endif
