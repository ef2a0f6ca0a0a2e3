#include "tensor/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/launcher.h"
#include "tensor/backend.h"
#include "tensor/cuda_module.h"

/* The kinds that are always there. The emulated one is when a test links it. */
#pragma weak backend_emulated
static const struct backend *const backends[] = {&backend_cpu, &backend_guard, &backend_emulated};

static const struct {
    const char *kind;
    bool numbered; /* KIND:N names one of several */
} names[] = {{"auto", false}, {"cpu", false}, {"cuda", true}, {"guard", false}, {"emulated", true}};

static bool is_kind(const char *name, const char *kind) {
    size_t length = strcspn(name, ":");
    return strncmp(name, kind, length) == 0 && !kind[length];
}

/* *number is -1 when the name has none. */
static bool number_read(const char *name, int *number) {
    const char *colon = strchr(name, ':');
    *number = -1;
    if (!colon) return true;
    size_t digits = strspn(colon + 1, "0123456789");
    if (digits < 1 || digits > 6 || colon[1 + digits]) return false;
    *number = atoi(colon + 1);
    return true;
}

enum status device_name_check(const char *name, struct error *err) {
    int number;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_kind(name, names[i].kind) && number_read(name, &number) &&
            (names[i].numbered || !strchr(name, ':')))
            return STATUS_OK;
    return error_usage(err, "device \"%s\": there is no such device (auto, cpu, cuda, cuda:N or guard)",
                       name);
}

static enum status backend_find(const char *name, const struct backend **backend, struct error *err) {
    if (is_kind(name, "cuda")) return cuda_module_load(backend, err);
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        *backend = backends[i];
        if (*backend && is_kind(name, (*backend)->name)) return STATUS_OK;
    }
    return error_usage(err, "device \"%s\" is not part of this program", name);
}

/* Which of several: the named one, or by this process's place on the machine. */
static enum status number_choose(const char *name, const struct backend *backend, int *number,
                                 struct error *err) {
    int count = 1;
    struct launcher_place place;
    enum status status = backend->count ? backend->count(&count, err) : STATUS_OK;
    if (status != STATUS_OK) return status;
    number_read(name, number);
    if (*number >= count)
        return error_usage(err, "device \"%s\": there %s %d of them here, numbered from 0", name,
                           count == 1 ? "is" : "are", count);
    if (*number >= 0) return STATUS_OK;
    *number = 0;
    if (count == 1) return STATUS_OK;
    if (launcher_find(&place, err) != STATUS_OK) return STATUS_FAILED; /* no reason for "auto" to go on */
    *number = (int)(place.local_rank % count);
    return STATUS_OK;
}

enum status device_open(const char *name, struct device *device, struct error *err) {
    *device = (struct device){0};
    enum status status = device_name_check(name, err);
    if (status != STATUS_OK) return status;
    if (strcmp(name, "auto") == 0) {
        status = cuda_driver_is_installed() ? device_open("cuda", device, err) : STATUS_USAGE;
        if (status != STATUS_USAGE) return status; /* there is a GPU, for better or worse */
        name = "cpu";
    }
    status = backend_find(name, &device->backend, err);
    if (status == STATUS_OK) status = number_choose(name, device->backend, &device->number, err);
    if (status == STATUS_OK) status = device->backend->open(device, err);
    if (status != STATUS_OK) *device = (struct device){0};
    return status;
}

void device_close(struct device *device) {
    collective_part(device);
    if (device->backend) device->backend->close(device);
    *device = (struct device){0};
}

struct device device_counting(const struct device *device) {
    return (struct device){.backend = device->backend,
                           .state = device->state,
                           .number = device->number,
                           .counts = true,
                           .stands_for_gpu = device->stands_for_gpu};
}

static bool is_at_work(const struct device *device) {
    return !device->failed && !device->counts;
}

struct device_info device_describe(const struct device *device) {
    struct device_info info = {0};
    device->backend->describe(device, &info);
    return info;
}

struct device_peak device_measure(struct device *device) {
    struct device_peak peak = {0};
    if (!device->failed) device->backend->measure(device, &peak);
    return peak;
}

void device_fail(struct device *device, const char *format, ...) {
    if (device->failed) return;
    device->failed = true;
    va_list arguments;
    va_start(arguments, format);
    char message[ERROR_MESSAGE_SIZE];
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error_set(&device->error, "device %s: %s", device->backend->name, message);
}

static void tell_no_memory(struct device *device, const char *what, size_t bytes, struct error *err) {
    device->full = true;
    struct device_info info = device_describe(device);
    if (info.own_memory)
        error_no_memory(err, "out of memory for %s (%zu bytes; the GPU has %zu free)", what, bytes,
                        info.free_memory);
    else
        error_no_memory(err, "out of memory for %s (%zu bytes)", what, bytes);
}

void device_fail_no_memory(struct device *device, const char *what, size_t bytes) {
    struct error err;
    tell_no_memory(device, what, bytes, &err);
    device_fail(device, "%s", err.message);
}

void *device_allocate(struct device *device, size_t bytes, const char *what, struct error *err) {
    void *memory = device->backend->allocate(device, bytes ? bytes : 1);
    if (!memory) tell_no_memory(device, what, bytes, err);
    return memory;
}

void device_release(struct device *device, void *memory) {
    if (memory) device->backend->release(device, memory);
}

void *device_import(struct device *device, const void *host, size_t bytes, const char *what,
                    struct error *err) {
    if (!device->backend->import) {
        error_set(err, "%s: device %s reads no memory of the host", what, device->backend->name);
        return NULL;
    }
    void *memory = device->backend->import(device, host, bytes);
    if (!memory) tell_no_memory(device, what, bytes, err);
    return memory;
}

void device_unimport(struct device *device, void *memory) {
    if (memory) device->backend->unimport(device, memory);
}

static size_t contiguous_bytes(struct tensor t) {
    assert(t.stride == t.cols || t.rows <= 1);
    return (size_t)t.rows * (size_t)t.cols * dtype_size(t.dtype);
}

void device_write(struct device *device, struct tensor to, const void *from) {
    size_t bytes = contiguous_bytes(to);
    activity_step();
    if (bytes && is_at_work(device)) device->backend->write(device, to.data, from, bytes);
}

enum status device_read(struct device *device, void *to, struct tensor from, struct error *err) {
    size_t bytes = contiguous_bytes(from);
    activity_wait(true);
    if (bytes && is_at_work(device)) device->backend->read(device, to, from.data, bytes);
    if (device->counts) memset(to, 0, bytes);
    return device_synchronize(device, err);
}

void device_fetch(struct device *device, int place, struct tensor from) {
    size_t bytes = contiguous_bytes(from);
    assert(place >= 0 && place < DEVICE_FETCHES && bytes <= DEVICE_FETCH_BYTES);
    if (bytes && is_at_work(device) && device->backend->fetch)
        device->backend->fetch(device, place, from.data, bytes);
}

enum status device_fetched(struct device *device, int place, void *to, struct tensor from,
                           struct error *err) {
    size_t bytes = contiguous_bytes(from);
    if (!device->backend->fetch || device->counts) return device_read(device, to, from, err);
    activity_wait(true);
    if (bytes && !device->failed) device->backend->fetched(device, place, to, bytes);
    activity_wait(false);
    return device->failed ? error_set(err, "%s", device->error.message) : STATUS_OK;
}

void device_group_begin(struct device *device, int64_t key) {
    if (device->backend->group_begin && is_at_work(device)) device->backend->group_begin(device, key);
}

void device_group_end(struct device *device) {
    if (device->backend->group_end && !device->counts) device->backend->group_end(device);
}

enum status device_synchronize(struct device *device, struct error *err) {
    activity_wait(true);
    if (is_at_work(device)) device->backend->synchronize(device);
    activity_wait(false);
    return device->failed ? error_set(err, "%s", device->error.message) : STATUS_OK;
}
