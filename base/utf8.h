/* UTF-8, one code point at a time, from bytes that may be anything. */
#ifndef VS2_BASE_UTF8_H
#define VS2_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* What utf8_decode gives for bytes that are not UTF-8. */
static const uint32_t UTF8_INVALID = UINT32_MAX;

/* Decodes the code point that begins at text; length must be at least 1. Returns how many bytes it has. Where
 * the bytes are not UTF-8, *code is UTF8_INVALID and the returned bytes (at least 1) are a maximal subpart:
 * what Unicode (chapter 3, "U+FFFD substitution of maximal subparts") and Rust replace by one U+FFFD. */
size_t utf8_decode(const char *text, size_t length, uint32_t *code);

/* Writes a code point (below 0x110000, no surrogate); returns its length, 1 to 4. */
size_t utf8_encode(uint32_t code, char bytes[4]);

/* The number of bytes before the first that is not UTF-8; `length` when all is well. */
size_t utf8_valid_prefix(const char *text, size_t length);

/* Appends the bytes, maximal subparts that are not UTF-8 replaced by U+FFFD (Rust's from_utf8_lossy). */
void utf8_append_lossy(struct text *out, const char *bytes, size_t length);

#endif
