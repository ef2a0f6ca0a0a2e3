/* Devices: who computes, and whose memory tensors lie in.
 *
 * A process has one device. Operations and transfers are queued in order; only device_read and
 * device_synchronize wait. Queued work returns no status: the first failure (no memory, a fault of the
 * device) is kept in the device, everything queued after it is skipped, and device_synchronize, device_read
 * and arena_* report it. So a forward pass reads as a list of operations, and is checked once at its end.
 */
#ifndef VS2_TENSOR_DEVICE_H
#define VS2_TENSOR_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "tensor/tensor.h"

struct backend;    /* tensor/backend.h: the table that a kind of device fills in */
struct collective; /* tensor/collective.h */

struct device {
    const struct backend *backend;
    int number;                    /* of several of its kind, from 0 */
    void *state;                   /* the backend's own */
    struct collective *collective; /* it has joined devices of other processes; NULL: it has not */
    bool failed;                   /* sticky: the error below happened */
    bool full;                     /* memory was asked for that it does not have; sticky, too */
    bool counts;                   /* it computes nothing (device_counting) */
    bool stands_for_gpu;           /* a CPU on which a GPU's run is planned: it has the limits of one */
    struct error error;
};

/* What the machine gives, for plans and benchmarks. */
struct device_info {
    char name[128];     /* the processor or GPU in words, with the instruction set in use */
    int threads;        /* host threads that compute; 1 for a GPU */
    bool native_bf16;   /* bf16 products run on their own units (AMX, AVX-512 BF16, tensor cores) */
    bool own_memory;    /* it computes in memory of its own, not the host's */
    size_t free_memory; /* bytes of that which are free now */
};

/* What it reaches at most, measured on the spot. */
struct device_peak {
    double flops;      /* f32 operations a second, a multiply-add being two */
    double bf16_flops; /* of products of bf16; the same as f32's where there are no units for them */
    double bytes;      /* read from memory in a second */
};

/* Opens a device by name: "cpu", "cuda", "cuda:N" or "auto" (a GPU if there is one, else the CPU); for tests
 * "guard" (the CPU with memory that is unreadable outside operations), "emulated" and "emulated:N" (the CUDA
 * backend run by tests/emulator). Without a number a process takes the GPU of its place among those that were
 * started together on its machine (base/launcher.h), counted round when there are fewer GPUs. Unknown or
 * absent devices are a usage error. The process has no other device of a kind that comes in several, and only
 * the thread that opened it uses it. */
enum status device_open(const char *name, struct device *device, struct error *err);

/* A usage error unless the name is one that device_open understands, whether there is such a device or not.
 */
enum status device_name_check(const char *name, struct error *err);

void device_close(struct device *device);

/* A device beside that one which computes nothing and has no memory: operations do nothing, reads give zeros,
 * and arenas only count what is taken of them. Not to be closed. For who wants to know what memory it takes
 * to go that way. */
struct device device_counting(const struct device *device);

struct device_info device_describe(const struct device *device);
struct device_peak device_measure(struct device *device); /* takes about a second; all zero when it cannot */

/* The limit of products of that type. */
static inline double device_peak_flops(const struct device_peak *peak, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? peak->bf16_flops : peak->flops;
}

/* Keeps the first failure; later ones are dropped. */
void device_fail(struct device *device, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for want of memory: says what it was for, how much it was, and how much a GPU has free. */
void device_fail_no_memory(struct device *device, const char *what, size_t bytes);

/* `bytes` of device memory, zeroed, aligned to 64; NULL with err set when there is none. */
void *device_allocate(struct device *device, size_t bytes, const char *what, struct error *err);
void device_release(struct device *device, void *memory);

/* Makes host memory (a mapped file) readable by operations without a copy; it must stay unchanged until
 * device_unimport. Read-only. NULL with err set where the device cannot: a GPU is too slow at it. */
void *device_import(struct device *device, const void *host, size_t bytes, const char *what,
                    struct error *err);
void device_unimport(struct device *device, void *memory);

/* Copies contiguous tensors from and to host memory of rows * cols elements of the tensor's dtype.
 * device_write has read the host memory when it returns; device_read waits for all queued work. */
void device_write(struct device *device, struct tensor to, const void *from);
enum status device_read(struct device *device, void *to, struct tensor from, struct error *err);

/* A read in two halves, between which the host does something else: the first begins to copy what the tensor
 * is behind all queued work, at most DEVICE_FETCH_BYTES of it; the second waits for that alone. There are two
 * places for it, 0 and 1. The tensor must not change between the halves. */
enum { DEVICE_FETCHES = 2, DEVICE_FETCH_BYTES = 1 << 20 };
void device_fetch(struct device *device, int place, struct tensor from);
enum status device_fetched(struct device *device, int place, void *to, struct tensor from, struct error *err);

/* Operations and writes between the two are handed over together where the device can (a CUDA graph), once
 * the group before had the same key: the caller's number for the shapes in it. It never changes results.
 * Reads, and memory taken or given back, end a group early. */
void device_group_begin(struct device *device, int64_t key);
void device_group_end(struct device *device);

/* Waits for all queued work and reports the sticky failure, if any. */
enum status device_synchronize(struct device *device, struct error *err);

#endif
