/* Added tokens: texts that become one token wherever they stand, found before the text is cut into pieces. */
#ifndef VS2_MODEL_TOKENIZER_ADDED_H
#define VS2_MODEL_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct added_token {
    char *text; /* NFC when it is looked for in normalised text */
    size_t length;
    int32_t id;
    bool special;     /* decoding may leave it out */
    bool left, right; /* takes the white space to its left, right, with it */
};

/* A set of added tokens that is searched at once. */
struct added_set {
    struct added_token *tokens; /* sorted by text once added_set_sort was called */
    size_t count, capacity;
    bool begins[256]; /* some token begins with this byte */
};

/* Adds a token; the text is copied. */
enum status added_set_add(struct added_set *set, struct added_token token, struct error *err);
void added_set_sort(struct added_set *set);
void added_set_free(struct added_set *set);

/* Where an added token was found, with the white space it takes. */
struct added_match {
    size_t start, end;
    const struct added_token *token; /* NULL: none was found, start and end are the text's length */
};

/* The first added token at or after *from, the longest of those that begin there; *from moves to where the
 * search goes on. White space is not taken from before `floor`. */
struct added_match added_set_find(const struct added_set *set, const uint8_t *classes, const char *text,
                                  size_t length, size_t floor, size_t *from);

#endif
