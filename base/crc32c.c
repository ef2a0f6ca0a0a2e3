#include "base/crc32c.h"

#include <pthread.h>

enum { BYTE_VALUES = 256, SLICES = 8 };

/* slices[k][b]: the checksum of byte b followed by k zero bytes, without the inversions. Eight bytes are then
 * taken at a time ("slicing by 8", Kounavis and Berry, 2005). */
static uint32_t slices[SLICES][BYTE_VALUES];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill_slices(void) {
    const uint32_t polynomial = 0x82F63B78; /* 0x1EDC6F41, bits reversed */
    for (uint32_t byte = 0; byte < BYTE_VALUES; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
        slices[0][byte] = crc;
    }
    for (int k = 1; k < SLICES; k++)
        for (int byte = 0; byte < BYTE_VALUES; byte++) {
            uint32_t before = slices[k - 1][byte];
            slices[k][byte] = before >> 8 ^ slices[0][before & 0xFF];
        }
}

static uint32_t load32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    const unsigned char *bytes = data;
    pthread_once(&filled, fill_slices);
    crc = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low = load32(bytes) ^ crc, high = load32(bytes + 4);
        crc = slices[7][low & 0xFF] ^ slices[6][low >> 8 & 0xFF] ^ slices[5][low >> 16 & 0xFF] ^
              slices[4][low >> 24] ^ slices[3][high & 0xFF] ^ slices[2][high >> 8 & 0xFF] ^
              slices[1][high >> 16 & 0xFF] ^ slices[0][high >> 24];
    }
    for (; size > 0; size--, bytes++) crc = crc >> 8 ^ slices[0][(crc ^ *bytes) & 0xFF];
    return ~crc;
}
