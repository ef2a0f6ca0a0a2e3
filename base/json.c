#include "base/json.h"

#include <math.h>
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

enum status json_write_file(const char *folder, const char *name, const json_t *json, struct error *err) {
    enum { REAL_DIGITS = 10 };
    enum status status = STATUS_FAILED;
    char *path = file_join(folder, name, err);
    if (!path) return STATUS_FAILED;
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(REAL_DIGITS)) : NULL;
    if (text)
        status = file_write(path, text, strlen(text), err);
    else
        error_set(err, "out of memory for %s", path);
    free(text);
    free(path);
    return status;
}

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
