/* A growing text. An allocation that fails is remembered, so that a chain of appends is checked once. */
#ifndef VS2_BASE_TEXT_H
#define VS2_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct text {
    char *data; /* terminated once anything was appended; NULL before */
    size_t length;
    size_t capacity;
    bool failed; /* an allocation failed; later appends do nothing */
};

void text_append(struct text *text, const char *data, size_t length);
void text_append_string(struct text *text, const char *string);
void text_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* STATUS_OK, or the error of an append that failed. */
enum status text_check(const struct text *text, const char *what, struct error *err);

/* Gives the text away as a string to be freed with free() and empties it; NULL with err set when an append
 * failed. */
char *text_take(struct text *text, const char *what, struct error *err);
void text_free(struct text *text);

#endif
