/* Allocations that fail on purpose. Included by the one file of a test whose .wrap names memory_new and
 * device_allocate. */
#ifndef VS2_TESTS_REFUSE_H
#define VS2_TESTS_REFUSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "tensor/device.h"

/* How many allocations succeed before all others fail; -1: all succeed. */
static int allocations_left = -1;

static bool refuse(const char *what, struct error *err) {
    if (allocations_left < 0 || allocations_left-- > 0) return false;
    allocations_left = 0;
    error_no_memory(err, "out of memory for %s", what);
    return true;
}

void *__real_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err) {
    return refuse(what, err) ? NULL : __real_memory_new(count, size, what, err);
}

void *__real_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err);
void *__wrap_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err);
void *__wrap_device_allocate(struct device *device, size_t bytes, const char *what, struct error *err) {
    return refuse(what, err) ? NULL : __real_device_allocate(device, bytes, what, err);
}

#endif
