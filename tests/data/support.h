/* What the data tests share. */
#ifndef VS2_TESTS_DATA_SUPPORT_H
#define VS2_TESTS_DATA_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

/* zlib's crc32. */
uint32_t support_crc(const void *data, size_t size);

/* The path of a file of tests/golden/video, in static memory that the next call overwrites. */
const char *support_golden(const char *name);

#endif
