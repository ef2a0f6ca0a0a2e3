#include "base/csv.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

struct reader {
    const char *at, *end;
    const char *place;
    size_t line;        /* from 1, of `at` */
    size_t record_line; /* where the record being read begins */
    struct text field;
};

static enum status fail(const struct reader *reader, const char *cause, struct error *err) {
    return error_set(err, "%s:%zu: %s", reader->place, reader->record_line, cause);
}

/* Passes over LF or CRLF; false when none stands here. */
static bool line_end(struct reader *reader) {
    size_t length = reader->at < reader->end && *reader->at == '\r' ? 1 : 0;
    if (reader->at + length >= reader->end || reader->at[length] != '\n') return false;
    reader->at += length + 1;
    reader->line++;
    return true;
}

/* The field whose opening quote was passed over. */
static enum status quoted_field(struct reader *reader, struct error *err) {
    for (;;) {
        const char *quote = memchr(reader->at, '"', (size_t)(reader->end - reader->at));
        if (!quote) return fail(reader, "a quote that does not end", err);
        for (const char *c = reader->at; c < quote; c++) reader->line += *c == '\n';
        text_append(&reader->field, reader->at, (size_t)(quote - reader->at));
        reader->at = quote + 1;
        if (reader->at == reader->end || *reader->at != '"') return STATUS_OK;
        text_append(&reader->field, reader->at++, 1);
    }
}

static enum status bare_field(struct reader *reader, struct error *err) {
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at != ',' && *reader->at != '\n') {
        if (*reader->at == '"')
            return fail(reader, "a quote inside a field that does not begin with one", err);
        if (*reader->at == '\r' && reader->at + 1 < reader->end && reader->at[1] == '\n') break;
        reader->at++;
    }
    text_append(&reader->field, start, (size_t)(reader->at - start));
    return STATUS_OK;
}

/* Reads one field into *string, and what ends it: *more when a comma did, so that another follows. */
static enum status read_field(struct reader *reader, json_t **string, bool *more, struct error *err) {
    enum status status;
    reader->field.length = 0;
    if (reader->at < reader->end && *reader->at == '"') {
        reader->at++;
        status = quoted_field(reader, err);
    } else {
        status = bare_field(reader, err);
    }
    if (status == STATUS_OK) status = text_check(&reader->field, "a CSV field", err);
    if (status != STATUS_OK) return status;
    *more = reader->at < reader->end && *reader->at == ',';
    if (*more)
        reader->at++;
    else if (reader->at < reader->end && !line_end(reader))
        return fail(reader, "text after a closing quote", err);
    const char *data = reader->field.data ? reader->field.data : "";
    if (memchr(data, '\0', reader->field.length)) return fail(reader, "a NUL character", err);
    *string = json_stringn(data, reader->field.length);
    return *string ? STATUS_OK : fail(reader, "a field that is not UTF-8", err);
}

/* Appends the fields of the next record to the array; none when the text has ended. */
static enum status read_record(struct reader *reader, json_t *fields, struct error *err) {
    bool more = true;
    while (line_end(reader)) continue;
    reader->record_line = reader->line;
    if (reader->at == reader->end) return STATUS_OK;
    while (more) {
        json_t *field = NULL;
        enum status status = read_field(reader, &field, &more, err);
        if (status != STATUS_OK) return status;
        if (json_array_append_new(fields, field) != 0) return fail(reader, "out of memory", err);
    }
    return STATUS_OK;
}

/* The object of a record; NULL with err set. */
static json_t *make_row(const struct reader *reader, const json_t *names, const json_t *fields,
                        struct error *err) {
    if (json_array_size(fields) != json_array_size(names)) {
        error_set(err, "%s:%zu: %zu fields, but there are %zu columns", reader->place, reader->record_line,
                  json_array_size(fields), json_array_size(names));
        return NULL;
    }
    json_t *row = json_object();
    for (size_t i = 0; i < json_array_size(names); i++) {
        if (json_object_set(row, json_string_value(json_array_get(names, i)), json_array_get(fields, i)) == 0)
            continue;
        json_decref(row);
        fail(reader, "out of memory", err);
        return NULL;
    }
    return row;
}

static enum status check_names(const struct reader *reader, const json_t *names, struct error *err) {
    if (!json_array_size(names)) return error_set(err, "%s: no line with the columns' names", reader->place);
    for (size_t i = 0; i < json_array_size(names); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(names, i), json_array_get(names, k)))
                return error_set(err, "%s:%zu: two columns have the name '%s'", reader->place,
                                 reader->record_line, json_string_value(json_array_get(names, i)));
    return STATUS_OK;
}

json_t *csv_read_text(const char *text, size_t length, const char *place, struct error *err) {
    struct reader reader = {.at = text, .end = text + length, .place = place, .line = 1};
    json_t *rows = json_array(), *names = json_array(), *fields = json_array();
    enum status status = rows && names && fields ? STATUS_OK : error_set(err, "%s: out of memory", place);
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) reader.at += 3;
    if (status == STATUS_OK) status = read_record(&reader, names, err);
    if (status == STATUS_OK) status = check_names(&reader, names, err);
    while (status == STATUS_OK) {
        json_array_clear(fields);
        status = read_record(&reader, fields, err);
        if (status != STATUS_OK || !json_array_size(fields)) break;
        json_t *row = make_row(&reader, names, fields, err);
        if (!row || json_array_append_new(rows, row) != 0)
            status = row ? fail(&reader, "out of memory", err) : STATUS_FAILED;
    }
    text_free(&reader.field);
    json_decref(fields);
    json_decref(names);
    if (status == STATUS_OK) return rows;
    json_decref(rows);
    return NULL;
}
