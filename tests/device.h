/* Which device a test runs on. */
#ifndef VS2_TESTS_DEVICE_H
#define VS2_TESTS_DEVICE_H

#include <stdlib.h>
#include <string.h>

/* The kind that a test would open, unless VS2_TEST_DEVICE names another for all tests: "emulated" or "cuda".
 */
static inline const char *test_device(const char *kind) {
    const char *wanted = getenv("VS2_TEST_DEVICE");
    return wanted ? wanted : kind;
}

/* Whether the test runs on the CPU's backend, so that what is its own (threads, instruction sets, its
 * allocations) can be tested; else skip(). */
static inline int on_own_device(void) {
    return getenv("VS2_TEST_DEVICE") == NULL;
}

#endif
