#include "model/tokenizer_split.h"

#include <stdbool.h>

#include "base/utf8.h"

/* The class of the character at text[at], and its size in bytes; 0 and 0 at the end. */
static uint8_t class_at(const uint8_t *classes, const char *text, size_t length, size_t at, size_t *size) {
    uint32_t code;
    if (at >= length) {
        *size = 0;
        return 0;
    }
    *size = 1;
    if ((unsigned char)text[at] < 0x80) return classes[(unsigned char)text[at]];
    *size = utf8_decode(text + at, length - at, &code);
    return code < CHARACTER_COUNT ? classes[code] : 0;
}

/* The end of the characters from `at` on whose class has one of the bits of `mask` (wanted), or none. */
static size_t run_end(const uint8_t *classes, const char *text, size_t length, size_t at, uint8_t mask,
                      bool wanted) {
    size_t size;
    while (at < length && ((class_at(classes, text, length, at, &size) & mask) != 0) == wanted) at += size;
    return at;
}

/* The length of 's 't 're 've 'm 'll 'd at the apostrophe, in any case, or 0. U+017F is an s in any case. */
static size_t contraction(const char *text, size_t length) {
    if (length < 2) return 0;
    char first = (char)(text[1] | 0x20);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if (length < 3) return 0;
    if ((unsigned char)text[1] == 0xC5 && (unsigned char)text[2] == 0xBF) return 3;
    char second = (char)(text[2] | 0x20);
    bool known =
        (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
    return known ? 3 : 0;
}

/* White space: up to the last newline in it; else all of it where nothing follows; else all but the last
 * character, which goes with what follows, unless it is the only one. */
static size_t split_space(const uint8_t *classes, const char *text, size_t length) {
    size_t at = 0, last = 0, newline_end = 0, size;
    for (; at < length; at += size) {
        uint8_t class = class_at(classes, text, length, at, &size);
        if (!(class & CHARACTER_SPACE)) break;
        if (class & CHARACTER_NEWLINE) newline_end = at + size;
        last = at;
    }
    if (newline_end > 0) return newline_end;
    return at == length || last == 0 ? at : last;
}

size_t split_piece(const uint8_t *classes, const char *text, size_t length) {
    size_t size, next_size;
    uint8_t class = class_at(classes, text, length, 0, &size);
    if (text[0] == '\'') {
        size_t end = contraction(text, length);
        if (end > 0) return end;
    }
    if (class & CHARACTER_LETTER) return run_end(classes, text, length, size, CHARACTER_LETTER, true);
    if (class & CHARACTER_NUMBER) return size;
    if (!(class & CHARACTER_NEWLINE) && class_at(classes, text, length, size, &next_size) & CHARACTER_LETTER)
        return run_end(classes, text, length, size, CHARACTER_LETTER, true);

    size_t start = text[0] == ' ' ? 1 : 0;
    size_t end =
        run_end(classes, text, length, start, CHARACTER_SPACE | CHARACTER_LETTER | CHARACTER_NUMBER, false);
    if (end > start) return run_end(classes, text, length, end, CHARACTER_NEWLINE, true);
    return split_space(classes, text, length);
}
