/* A pull reader for JSON texts of many megabytes (a tokenizer's vocabulary), where a tree of values costs
 * more than the work itself: it walks over the text, allocates nothing but one buffer for strings with
 * escapes, and hands small parts out as slices for base/json.h.
 *
 *     json_reader_open(&reader, '{', err);
 *     while (json_reader_next(&reader, '}', &more, err) == STATUS_OK && more) {
 *         json_reader_key(&reader, &key, err);
 *         json_reader_integer(&reader, 0, limit, &value, err);
 *     }
 */
#ifndef VS2_BASE_JSON_READER_H
#define VS2_BASE_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct json_reader {
    const char *begin, *at, *end;
    const char *place;     /* begins every error */
    struct text unescaped; /* the last string that had escapes */
    bool first;            /* nothing was read yet in the container that was opened last */
};

/* A part of the text, or of the reader's buffer: it is valid until the next string is read. */
struct json_slice {
    const char *data; /* NULL: none */
    size_t length;
};

/* The text and the place must outlive the reader; json_reader_free ends it. */
void json_reader_start(struct json_reader *reader, const char *text, size_t length, const char *place);
void json_reader_free(struct json_reader *reader);

/* The first character of the next value, '\0' at the end of the text. */
char json_reader_peek(struct json_reader *reader);

/* Enters an object ('{') or an array ('['). */
enum status json_reader_open(struct json_reader *reader, char bracket, struct error *err);

/* Goes to the next member or element; *more is false when the container ended instead ('}' or ']'). */
enum status json_reader_next(struct json_reader *reader, char bracket, bool *more, struct error *err);

/* A member's key and the colon after it. */
enum status json_reader_key(struct json_reader *reader, struct json_slice *key, struct error *err);

/* A string: valid UTF-8, escapes resolved. */
enum status json_reader_string(struct json_reader *reader, struct json_slice *string, struct error *err);

/* A whole number in [low, high]. */
enum status json_reader_integer(struct json_reader *reader, int64_t low, int64_t high, int64_t *value,
                                struct error *err);

/* Passes over a value of any kind and gives its text. What lies inside is checked only as far as it takes to
 * find the end: at most 64 levels, brackets that match, strings that end. */
enum status json_reader_skip(struct json_reader *reader, struct json_slice *value, struct error *err);

/* Nothing but white space may be left. */
enum status json_reader_end(struct json_reader *reader, struct error *err);

#endif
