/* Text folded for reading: one code point a place, with case, full-width forms, dashes, quotes and spaces
 * made one, and with the byte that each place came from. */
#ifndef VS2_EVAL_FOLDED_H
#define VS2_EVAL_FOLDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

struct folded {
    uint32_t *code; /* [count] */
    uint32_t *copy; /* [count], the same at first: for a version in which parts are blanked */
    size_t *offset; /* [count + 1]: bytes before each place */
    size_t count;
};

/* Folds `length` bytes of UTF-8; a wrong byte is one place. folded_free it. */
enum status folded_make(const char *text, size_t length, struct folded *folded, struct error *err);
void folded_free(struct folded *folded);

/* A stretch of folded text: code[begin..end). Outside it everything reads as 0. */
struct view {
    const uint32_t *code;
    size_t begin, end;
};

static inline uint32_t at(struct view v, size_t i) {
    return i >= v.begin && i < v.end ? v.code[i] : 0;
}

static inline bool is_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}

/* Letters and digits of alphabetic scripts; Chinese is written without spaces between words. */
static inline bool is_word(uint32_t c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 0xC0 && c < 0x2000 && c != 0xD7 && c != 0xF7);
}

static inline bool is_ideograph(uint32_t c) {
    return c >= 0x2E80 && c < 0xFF00;
}

/* Emoji, arrows and other marks that end a word. */
static inline bool is_symbol(uint32_t c) {
    return (c >= 0x2000 && c < 0x2E80) || (c >= 0xFE00 && c < 0xFF00) || c == 0xFFFD || c >= 0x1F000;
}

static inline bool is_one_of(uint32_t c, const char *set) {
    return c > 0 && c < 128 && strchr(set, (int)c);
}

/* What may surround a name or a score without meaning anything. */
static inline bool is_decoration(uint32_t c) {
    return is_one_of(c, " *_`\"'([{<$~#\\") || c == 0x2022;
}

/* The first place from i on that is none of the ASCII characters of the set. */
static inline size_t skip(struct view v, size_t i, const char *set) {
    while (is_one_of(at(v, i), set)) i++;
    return i;
}

/* The end of the first (or longest) word of a list that stands at i and not within another word; else 0.
 * Words of a list are parted by bars: "out of|of". A space in one stands for any or no spaces, underscores,
 * hyphens, slashes, ampersands and stars. */
size_t match_any(struct view v, size_t i, const char *words);
size_t match_longest(struct view v, size_t i, const char *words);

/* The start of the line of i, or what lies LINE_REACH before i in a longer one; and the line's end. */
enum { LINE_REACH = 240 };
size_t line_start(struct view v, size_t i);
size_t line_end(struct view v, size_t i);

/* Letters, digits and ideographs in [from, to): 0 when there are only spaces and marks. */
size_t letters_between(struct view v, size_t from, size_t to);

#endif
