/* Which device a test runs on. */
#ifndef VS2_TESTS_DEVICE_H
#define VS2_TESTS_DEVICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/device.h"

/* The kind that a test would open, unless VS2_TEST_DEVICE names another for all tests: "emulated" or "cuda".
 */
static inline const char *test_device(const char *kind) {
    const char *wanted = getenv("VS2_TEST_DEVICE");
    return wanted ? wanted : kind;
}

/* Opens it; where it cannot be had the test fails with the device's words (by which tests/CMakeLists.txt
 * knows that there is no GPU). */
static inline void test_device_open(const char *kind, struct device *device) {
    struct error err;
    if (device_open(test_device(kind), device, &err) != STATUS_OK) fail_msg("%s", err.message);
}

/* Whether the test runs on the CPU's backend, so that what is its own (threads, instruction sets, its
 * allocations) can be tested; else skip(). */
static inline int on_own_device(void) {
    return getenv("VS2_TEST_DEVICE") == NULL;
}

/* Whether it runs on the emulated device, which takes its time: then not all cases of a test that has many.
 */
static inline int on_emulated_device(void) {
    const char *wanted = getenv("VS2_TEST_DEVICE");
    return wanted != NULL && strcmp(wanted, "emulated") == 0;
}

#endif
