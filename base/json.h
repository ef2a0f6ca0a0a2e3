/* JSON (jansson) with errors that name file and place. */
#ifndef VS2_BASE_JSON_H
#define VS2_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

/* Parses a whole file, at most `limit` bytes; duplicate keys are an error. json_decref the result. NULL
 * with err "FILE: line L column C: CAUSE" when it cannot be read. */
json_t *json_read_file(const char *path, size_t limit, struct error *err);

/* Parses `length` bytes of text; `place` names them in errors. */
json_t *json_read_text(const char *text, size_t length, const char *place, struct error *err);

/* Appends the JSON, each number with the fewest digits that read back to the same one; on one line, or
 * indented by two spaces. A NULL json makes the text fail. */
void json_append(struct text *text, const json_t *json, bool indented);

/* Writes FOLDER/NAME, as json_append indents it, whole or not at all. A NULL json is reported as lack of
 * memory, which is the only way that making it can have failed. */
enum status json_write_file(const char *folder, const char *name, const json_t *json, struct error *err);

/* The number, as an integer where it is a whole one; null for NaN and infinities. NULL: out of memory. */
json_t *json_from_double(double value);

/* Members of an object, with a default when the key is absent or null. They fail when the member is of
 * another type or out of [low, high]; `place` begins the error. */
enum status json_get_integer(const json_t *object, const char *key, long long low, long long high,
                             long long missing, long long *value, const char *place, struct error *err);
enum status json_get_number(const json_t *object, const char *key, double missing, double *value,
                            const char *place, struct error *err);
enum status json_get_bool(const json_t *object, const char *key, bool missing, bool *value, const char *place,
                          struct error *err);
/* *value borrows the object's memory; `missing` may be NULL. */
enum status json_get_string(const json_t *object, const char *key, const char *missing, const char **value,
                            const char *place, struct error *err);

#endif
