#include "tests/data/support.h"

#include <stdio.h>

uint32_t support_crc(const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

const char *support_golden(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "tests/golden/video/%s", name);
    return path;
}
