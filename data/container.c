#include "data/container.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HEAD = 16, MAX_BOXES = 1 << 16, EBML_MAX_HEADER = 4096 };

static uint64_t big_endian(const uint8_t *data, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 8 | data[i];
    return value;
}

static bool read_at(FILE *file, uint64_t offset, uint8_t *data, size_t size) {
    return fseeko(file, (off_t)offset, SEEK_SET) == 0 && fread(data, 1, size, file) == size;
}

/* Each returns how long the file should be, at least; 0 when it does not say. */

static uint64_t mp4_end(FILE *file, uint64_t length) {
    uint64_t offset = 0;
    for (int i = 0; i < MAX_BOXES && offset < length; i++) {
        uint8_t head[HEAD];
        if (!read_at(file, offset, head, 8)) return 0;
        uint64_t size = big_endian(head, 4);
        if (size == 0) return 0; /* to the end, whatever it is */
        if (size == 1) {
            if (!read_at(file, offset, head, HEAD)) return 0;
            size = big_endian(head + 8, 8);
        }
        if (size < 8 || size > UINT64_MAX / 2 - offset) return 0;
        offset += size;
    }
    return offset;
}

static uint64_t avi_end(FILE *file, uint64_t length) {
    uint64_t offset = 0;
    for (int i = 0; i < MAX_BOXES && offset < length; i++) {
        uint8_t head[12];
        if (!read_at(file, offset, head, sizeof head) || memcmp(head, "RIFF", 4) != 0) break;
        uint64_t size = head[4] | head[5] << 8 | head[6] << 16 | (uint64_t)head[7] << 24;
        if (size == 0 || size == UINT32_MAX) return 0; /* not filled in: a live recording */
        offset += 8 + size + size % 2;
    }
    return offset;
}

/* EBML's numbers of variable length; all ones: unknown, given as UINT64_MAX. */
static int ebml_size(const uint8_t *data, uint64_t *value) {
    int count = 1;
    while (count <= 8 && !(data[0] & 0x80 >> (count - 1))) count++;
    if (count > 8) return 0;
    uint64_t mask = ((uint64_t)1 << (7 * count)) - 1;
    *value = big_endian(data, count) & mask;
    if (*value == mask) *value = UINT64_MAX;
    return count;
}

static uint64_t matroska_end(FILE *file, uint64_t length) {
    uint8_t head[HEAD];
    uint64_t size;
    (void)length;
    if (!read_at(file, 0, head, HEAD)) return 0;
    int count = ebml_size(head + 4, &size);
    if (!count || size > EBML_MAX_HEADER) return 0;
    uint64_t offset = 4 + (uint64_t)count + size;
    if (!read_at(file, offset, head, HEAD) || big_endian(head, 4) != 0x18538067) return 0;
    count = ebml_size(head + 4, &size);
    if (!count || size >= UINT64_MAX / 2) return 0;
    return offset + 4 + (uint64_t)count + size;
}

enum status container_check(const char *path, struct error *err) {
    FILE *file = fopen(path, "rbe");
    if (!file) return STATUS_OK;
    uint8_t head[HEAD] = {0};
    struct stat state;
    uint64_t end = 0;
    uint64_t length = fstat(fileno(file), &state) == 0 ? (uint64_t)state.st_size : 0;
    if (read_at(file, 0, head, 12)) {
        if (memcmp(head + 4, "ftyp", 4) == 0) end = mp4_end(file, length);
        if (memcmp(head, "RIFF", 4) == 0 && memcmp(head + 8, "AVI ", 4) == 0) end = avi_end(file, length);
        if (big_endian(head, 4) == 0x1a45dfa3) end = matroska_end(file, length);
    }
    fclose(file);
    /* The last byte of padding may be missing. */
    if (end <= length + 1) return STATUS_OK;
    return error_set(err, "%s: cut short: %" PRIu64 " of %" PRIu64 " bytes are there", path, length, end);
}
