#include "tensor/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tensor/backend.h"

/* Every kind of device; "auto" takes the first. The emulated one is there when a test links it. */
#pragma weak backend_emulated
static const struct backend *const backends[] = {&backend_cpu, &backend_guard, &backend_emulated};

enum status device_open(const char *kind, struct device *device, struct error *err) {
    *device = (struct device){0};
    for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
        if (!backends[i]) continue;
        if (strcmp(kind, "auto") == 0 || strcmp(kind, backends[i]->name) == 0) {
            device->backend = backends[i];
            enum status status = device->backend->open(device, err);
            if (status != STATUS_OK) *device = (struct device){0};
            return status;
        }
    }
    return error_usage(err, "device \"%s\": there is no such device (auto, cpu or guard)", kind);
}

void device_close(struct device *device) {
    if (device->backend) device->backend->close(device);
    *device = (struct device){0};
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

void *device_allocate(struct device *device, size_t bytes, const char *what, struct error *err) {
    void *memory = device->backend->allocate(device, bytes ? bytes : 1);
    if (!memory) error_set(err, "out of memory for %s (%zu bytes)", what, bytes);
    return memory;
}

void device_release(struct device *device, void *memory) {
    if (memory) device->backend->release(device, memory);
}

void *device_import(struct device *device, const void *host, size_t bytes, const char *what,
                    struct error *err) {
    void *memory = device->backend->import(device, host, bytes);
    if (!memory) error_set(err, "out of memory for %s (%zu bytes)", what, bytes);
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
    if (bytes && !device->failed) device->backend->write(device, to.data, from, bytes);
}

enum status device_read(struct device *device, void *to, struct tensor from, struct error *err) {
    size_t bytes = contiguous_bytes(from);
    if (bytes && !device->failed) device->backend->read(device, to, from.data, bytes);
    return device_synchronize(device, err);
}

enum status device_synchronize(struct device *device, struct error *err) {
    if (!device->failed) device->backend->synchronize(device);
    return device->failed ? error_set(err, "%s", device->error.message) : STATUS_OK;
}
