#include "tensor/arena.h"

#include <stdlib.h>

#include "base/memory.h"

struct arena_chunk {
    char *memory;
    size_t bytes;
};

enum { ARENA_ALIGNMENT = 64, ARENA_CHUNK_BYTES = 64 << 20 };

void arena_init(struct arena *arena, struct device *device, size_t chunk_bytes) {
    *arena = (struct arena){.device = device, .chunk_bytes = chunk_bytes ? chunk_bytes : ARENA_CHUNK_BYTES};
}

void arena_free(struct arena *arena) {
    for (size_t i = 0; i < arena->count; i++) device_release(arena->device, arena->chunks[i].memory);
    free(arena->chunks);
    *arena = (struct arena){0};
}

/* Appends a chunk that holds `bytes`. */
static enum status arena_grow(struct arena *arena, size_t bytes, struct error *err) {
    enum status status = memory_grow(&arena->chunks, &arena->capacity, arena->count + 1,
                                     sizeof arena->chunks[0], "an arena", err);
    if (status != STATUS_OK) return status;
    size_t size = bytes > arena->chunk_bytes ? bytes : arena->chunk_bytes;
    char *memory = device_allocate(arena->device, size, "activations", err);
    if (!memory) return STATUS_FAILED;
    arena->chunks[arena->count++] = (struct arena_chunk){memory, size};
    return STATUS_OK;
}

/* Makes the chunk after the current one a chunk that holds `bytes`, and the current one. All chunks after
 * the current one are free, so they may change places. */
static enum status arena_advance(struct arena *arena, size_t bytes, struct error *err) {
    size_t next = arena->count ? arena->current + 1 : 0, found = next;
    while (found < arena->count && arena->chunks[found].bytes < bytes) found++;
    if (found >= arena->count) {
        enum status status = arena_grow(arena, bytes, err);
        if (status != STATUS_OK) return status;
    }
    struct arena_chunk chunk = arena->chunks[found];
    arena->chunks[found] = arena->chunks[next];
    arena->chunks[next] = chunk;
    arena->current = next;
    arena->used = 0;
    return STATUS_OK;
}

/* Empty ones take a place too: NULL would read as "no tensor". */
size_t arena_bytes(size_t bytes) {
    return bytes ? (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT : ARENA_ALIGNMENT;
}

enum status arena_reserve(struct arena *arena, size_t bytes, struct error *err) {
    bytes = arena_bytes(bytes);
    if (arena->device->counts) return STATUS_OK;
    if (arena->count > 0 && arena->chunks[arena->current].bytes - arena->used >= bytes) return STATUS_OK;
    return arena_advance(arena, bytes, err);
}

/* On a device that counts an address that nobody follows. */
static void *place_of_next(const struct arena *arena) {
    static _Alignas(ARENA_ALIGNMENT) char nowhere[ARENA_ALIGNMENT];
    return arena->device->counts ? nowhere : arena->chunks[arena->current].memory + arena->used;
}

struct tensor arena_tensor(struct arena *arena, enum dtype dtype, int64_t rows, int64_t cols) {
    assert(rows >= 0 && cols >= 0);
    struct tensor tensor = tensor_at(NULL, dtype, rows, cols);
    struct device *device = arena->device;
    if (device->failed) return tensor;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)rows, (size_t)cols, &bytes) ||
        __builtin_mul_overflow(bytes, dtype_size(dtype), &bytes) || bytes > SIZE_MAX / 2) {
        device_fail(device, "out of memory for activations (%lld x %lld elements)", (long long)rows,
                    (long long)cols);
        return tensor;
    }
    bytes = arena_bytes(bytes);
    struct error err;
    if (arena_reserve(arena, bytes, &err) != STATUS_OK) {
        device_fail(device, "%s", err.message);
        return tensor;
    }
    tensor.data = place_of_next(arena);
    arena->used += bytes;
    arena->in_use += bytes;
    if (arena->in_use > arena->peak) arena->peak = arena->in_use;
    return tensor;
}

struct tensor arena_upload(struct arena *arena, enum dtype dtype, int64_t rows, int64_t cols,
                           const void *host) {
    struct tensor tensor = arena_tensor(arena, dtype, rows, cols);
    device_write(arena->device, tensor, host);
    return tensor;
}

struct arena_mark arena_mark(const struct arena *arena) {
    return (struct arena_mark){arena->current, arena->used, arena->in_use};
}

void arena_release(struct arena *arena, struct arena_mark mark) {
    assert(mark.in_use <= arena->in_use);
    arena->current = mark.current;
    arena->used = mark.used;
    arena->in_use = mark.in_use;
}
