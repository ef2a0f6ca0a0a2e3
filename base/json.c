#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

json_t *json_read_text(const char *text, size_t length, const char *place, struct error *err) {
    json_error_t cause;
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &cause);
    if (!json) error_set(err, "%s: line %d column %d: %s", place, cause.line, cause.column, cause.text);
    return json;
}

json_t *json_read_file(const char *path, size_t limit, struct error *err) {
    char *text;
    size_t length;
    if (file_read(path, limit, &text, &length, err) != STATUS_OK) return NULL;
    json_t *json = json_read_text(text, length, path, err);
    free(text);
    return json;
}

/* ---- Writing ----------------------------------------------------------------------------------------- */

/* The shortest of %.15g, %.16g and %.17g that reads back exactly, with a point or exponent so that it stays a
 * real. */
static void append_real(struct text *text, double value) {
    enum { DIGITS = 15, EXACT_DIGITS = 17, SIZE = 40 };
    char number[SIZE];
    for (int digits = DIGITS; digits <= EXACT_DIGITS; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value) break;
    }
    text_append_string(text, number);
    if (!strpbrk(number, ".e")) text_append_string(text, ".0");
}

/* What jansson itself writes well: strings, with their quotes and escapes, and everything else but reals. */
static void append_scalar(struct text *text, const json_t *json) {
    char *scalar = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    if (scalar)
        text_append_string(text, scalar);
    else
        text->failed = true;
    free(scalar);
}

static void append_key(struct text *text, const char *key) {
    json_t *string = json_string(key);
    append_scalar(text, string);
    text_append_string(text, ": ");
    json_decref(string);
}

enum { NOT_INDENTED = -1 };

static void append_break(struct text *text, int depth) {
    enum { SPACES = 2 };
    if (depth < 0) return;
    text_append_string(text, "\n");
    for (int i = 0; i < depth * SPACES; i++) text_append_string(text, " ");
}

/* Calls itself as deep as the JSON is, which jansson limits. */
static void append_value(struct text *text, const json_t *json, int depth) {
    const int inner = depth < 0 ? depth : depth + 1;
    const char *key;
    const json_t *value;
    size_t index;
    bool first = true;
    if (json_is_real(json)) {
        append_real(text, json_real_value(json));
    } else if (json_object_size(json) > 0) {
        text_append_string(text, "{");
        json_object_foreach((json_t *)json, key, value) {
            if (!first) text_append_string(text, depth < 0 ? ", " : ",");
            append_break(text, inner);
            append_key(text, key);
            append_value(text, value, inner);
            first = false;
        }
        append_break(text, depth);
        text_append_string(text, "}");
    } else if (json_array_size(json) > 0) {
        text_append_string(text, "[");
        json_array_foreach(json, index, value) {
            if (index > 0) text_append_string(text, depth < 0 ? ", " : ",");
            append_break(text, inner);
            append_value(text, value, inner);
        }
        append_break(text, depth);
        text_append_string(text, "]");
    } else {
        append_scalar(text, json);
    }
}

void json_append(struct text *text, const json_t *json, bool indented) {
    append_value(text, json, indented ? 0 : NOT_INDENTED);
}

enum status json_write_file(const char *folder, const char *name, const json_t *json, struct error *err) {
    enum status status = STATUS_FAILED;
    struct text text = {0};
    char *path = file_join(folder, name, err);
    if (!path) return STATUS_FAILED;
    json_append(&text, json, true);
    if (text_check(&text, path, err) == STATUS_OK) status = file_write(path, text.data, text.length, err);
    text_free(&text);
    free(path);
    return status;
}

json_t *json_from_double(double value) {
    if (!isfinite(value)) return json_null();
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

/* ---- Members ----------------------------------------------------------------------------------------- */

/* The member, or NULL when it is absent or null. */
static json_t *member(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

enum status json_get_integer(const json_t *object, const char *key, long long low, long long high,
                             long long missing, long long *value, const char *place, struct error *err) {
    const json_t *found = member(object, key);
    *value = missing;
    if (!found) return STATUS_OK;
    if (!json_is_integer(found)) return error_set(err, "%s: '%s' must be an integer", place, key);
    *value = json_integer_value(found);
    if (*value < low || *value > high)
        return error_set(err, "%s: '%s' is %lld, allowed are %lld to %lld", place, key, *value, low, high);
    return STATUS_OK;
}

enum status json_get_number(const json_t *object, const char *key, double missing, double *value,
                            const char *place, struct error *err) {
    const json_t *found = member(object, key);
    *value = missing;
    if (!found) return STATUS_OK;
    if (!json_is_number(found)) return error_set(err, "%s: '%s' must be a number", place, key);
    *value = json_number_value(found);
    if (!isfinite(*value)) return error_set(err, "%s: '%s' is not finite", place, key);
    return STATUS_OK;
}

enum status json_get_bool(const json_t *object, const char *key, bool missing, bool *value, const char *place,
                          struct error *err) {
    const json_t *found = member(object, key);
    *value = missing;
    if (!found) return STATUS_OK;
    if (!json_is_boolean(found)) return error_set(err, "%s: '%s' must be true or false", place, key);
    *value = json_is_true(found);
    return STATUS_OK;
}

enum status json_get_string(const json_t *object, const char *key, const char *missing, const char **value,
                            const char *place, struct error *err) {
    const json_t *found = member(object, key);
    *value = missing;
    if (!found) return STATUS_OK;
    if (!json_is_string(found)) return error_set(err, "%s: '%s' must be a string", place, key);
    *value = json_string_value(found);
    return STATUS_OK;
}
