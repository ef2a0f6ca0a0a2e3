#include "base/utf8.h"

#include <string.h>

/* How many bytes a sequence with this first byte has (0: none begins so), and what its second must be. */
static size_t sequence_length(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

size_t utf8_decode(const char *text, size_t length, uint32_t *code) {
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char low, high;
    size_t size = sequence_length(bytes[0], &low, &high);
    if (size == 1) {
        *code = bytes[0];
        return 1;
    }
    *code = UTF8_INVALID;
    if (size == 0) return 1;
    uint32_t value = bytes[0] & (0x7FU >> size);
    for (size_t i = 1; i < size; i++) {
        if (i >= length || bytes[i] < low || bytes[i] > high) return i;
        value = value << 6 | (bytes[i] & 0x3FU);
        low = 0x80;
        high = 0xBF;
    }
    *code = value;
    return size;
}

size_t utf8_encode(uint32_t code, char bytes[4]) {
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    bytes[0] = (char)((0xF00U >> size & 0xF0U) | code);
    return size;
}

size_t utf8_valid_prefix(const char *text, size_t length) {
    static const uint64_t high_bits = 0x8080808080808080U;
    size_t at = 0;
    while (at < length) {
        uint64_t word;
        uint32_t code;
        if (length - at >= sizeof word) {
            memcpy(&word, text + at, sizeof word);
            if (!(word & high_bits)) {
                at += sizeof word;
                continue;
            }
        }
        size_t size = utf8_decode(text + at, length - at, &code);
        if (code == UTF8_INVALID) break;
        at += size;
    }
    return at;
}

void utf8_append_lossy(struct text *out, const char *bytes, size_t length) {
    while (length > 0) {
        uint32_t code;
        size_t valid = utf8_valid_prefix(bytes, length);
        text_append(out, bytes, valid);
        bytes += valid;
        length -= valid;
        if (length == 0) break;
        size_t bad = utf8_decode(bytes, length, &code);
        text_append_string(out, "\xEF\xBF\xBD");
        bytes += bad;
        length -= bad;
    }
}
