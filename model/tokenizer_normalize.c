#include "model/tokenizer_normalize.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "model/tokenizer_split.h"

enum {
    MOST_DECOMPOSED = 4, /* characters that one becomes in canonical decomposition */
    FIRST_COMBINING = 0x300,
    TODHRI_FIRST = 0x105C0, /* a script of Unicode 16 whose letters compose with older marks */
    TODHRI_LAST = 0x105FF,
};

/* The start of the first character from `at` on that NFC may change, or length. */
static size_t find_combining(const uint8_t *classes, const char *text, size_t length, size_t at) {
    while (at < length) {
        uint32_t code;
        if ((unsigned char)text[at] < 0xCC) { /* below U+0300 */
            at++;
            continue;
        }
        size_t size = utf8_decode(text + at, length - at, &code);
        if (code < CHARACTER_COUNT && classes[code] & CHARACTER_COMBINES) break;
        at += size;
    }
    return at;
}

static size_t combining_end(const uint8_t *classes, const char *text, size_t length, size_t at) {
    while (at < length) {
        uint32_t code;
        size_t size = utf8_decode(text + at, length - at, &code);
        if (code >= CHARACTER_COUNT || !(classes[code] & CHARACTER_COMBINES)) break;
        at += size;
    }
    return at;
}

/* Where the character that ends at `at` (not below `floor`) begins, when combining characters after it may
 * join it; else `at`. To Hugging Face's NFC (Unicode 9) a mark of a later Unicode is like a letter and a
 * letter of a later one composes with nothing, whatever utf8proc thinks of them. */
static size_t base_before(const char *text, size_t floor, size_t at) {
    uint32_t code;
    size_t start = at;
    if (at == floor) return at;
    do start--;
    while (start > floor && ((unsigned char)text[start] & 0xC0) == 0x80);
    utf8_decode(text + start, at - start, &code);
    if (code < FIRST_COMBINING) return start;
    bool known = utf8proc_get_property((utf8proc_int32_t)code)->combining_class == 0 &&
                 (code < TODHRI_FIRST || code > TODHRI_LAST);
    return known ? start : at;
}

static int compare_keys(const void *a, const void *b) {
    uint64_t left, right;
    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return left < right ? -1 : left > right;
}

/* Canonical ordering: sorts the marks between characters of class 0 by their class and keeps the order of
 * equals. (utf8proc's own is quadratic in the number of marks.) `keys` has room for `count`. */
static void order_marks(utf8proc_int32_t *codes, size_t count, uint64_t *keys) {
    for (size_t start = 0; start < count;) {
        size_t end = start;
        bool ordered = true;
        for (; end < count; end++) {
            uint64_t class = utf8proc_get_property(codes[end])->combining_class;
            if (class == 0) break;
            keys[end - start] = class << 56 | (uint64_t)(end - start) << 21 | (uint64_t)codes[end];
            if (end > start && keys[end - start] >> 56 < keys[end - start - 1] >> 56) ordered = false;
        }
        if (!ordered) {
            qsort(keys, end - start, sizeof *keys, compare_keys);
            for (size_t i = start; i < end; i++) codes[i] = (utf8proc_int32_t)(keys[i - start] & 0x1FFFFF);
        }
        start = end + 1;
    }
}

/* Appends the NFC of a segment: at most one base and the combining characters after it. */
static enum status compose_segment(const char *text, size_t length, struct text *out, struct error *err) {
    static const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    enum status status = STATUS_FAILED;
    utf8proc_int32_t few_codes[64 * MOST_DECOMPOSED], *many_codes = NULL, *codes = few_codes;
    uint64_t few_keys[64 * MOST_DECOMPOSED], *many_keys = NULL, *keys = few_keys;
    if (length > 64) {
        codes = many_codes = memory_new(length, MOST_DECOMPOSED * sizeof *codes, "a text's NFC", err);
        keys = many_keys = memory_new(length, MOST_DECOMPOSED * sizeof *keys, "a text's NFC", err);
        if (!many_codes || !many_keys) goto err;
    }
    utf8proc_ssize_t count = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        int last_boundclass = 0;
        at += utf8_decode(text + at, length - at, &code);
        utf8proc_ssize_t more = utf8proc_decompose_char((utf8proc_int32_t)code, codes + count,
                                                        MOST_DECOMPOSED, options, &last_boundclass);
        if (more < 0 || more > MOST_DECOMPOSED) {
            error_set(err, "U+%04X cannot be normalised: %s", code, utf8proc_errmsg(more));
            goto err;
        }
        count += more;
    }
    order_marks(codes, (size_t)count, keys);
    count = utf8proc_normalize_utf32(codes, count, options);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        char bytes[4];
        text_append(out, bytes, utf8_encode((uint32_t)codes[i], bytes));
    }
    status = STATUS_OK;
err:
    free(many_codes);
    free(many_keys);
    return status;
}

enum status normalize_nfc(const uint8_t *classes, const char **normal, size_t *length, struct text *buffer,
                          struct error *err) {
    const char *text = *normal;
    size_t at = find_combining(classes, text, *length, 0);
    if (at == *length) return STATUS_OK;

    size_t done = 0; /* what lies before is in the buffer */
    buffer->length = 0;
    while (at < *length) {
        size_t start = base_before(text, done, at);
        size_t end = combining_end(classes, text, *length, at);
        text_append(buffer, text + done, start - done);
        if (compose_segment(text + start, end - start, buffer, err) != STATUS_OK) return STATUS_FAILED;
        done = end;
        at = find_combining(classes, text, *length, end);
    }
    text_append(buffer, text + done, *length - done);
    *normal = buffer->data;
    *length = buffer->length;
    return text_check(buffer, "a text's NFC", err);
}
