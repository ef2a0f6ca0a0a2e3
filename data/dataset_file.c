#include "data/dataset_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static const size_t LARGEST_FILE = (size_t)64 << 30;
static const size_t JSON_FLAGS =
    JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL | JSON_DECODE_ANY;

/* A walk over the text. */
struct walk {
    const char *path;
    const struct row_format *format;
    struct dataset_file *file;
    size_t at;
    size_t line; /* lines before `counted` */
    size_t counted;
};

/* The number of the line on which a byte lies, from 1; bytes are asked for in ascending order. */
static size_t line_of(struct walk *walk, size_t byte) {
    for (; walk->counted < byte; walk->counted++) walk->line += walk->file->text[walk->counted] == '\n';
    return walk->line + 1;
}

static enum status fail(struct walk *walk, size_t byte, const char *cause, struct error *err) {
    return error_set(err, "%s: line %zu, byte %zu: %s", walk->path, line_of(walk, byte), byte + 1, cause);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next character that is no white space, '\0' at the end. */
static char peek(struct walk *walk) {
    const struct dataset_file *file = walk->file;
    while (walk->at < file->length && is_space(file->text[walk->at])) walk->at++;
    return walk->at < file->length ? file->text[walk->at] : '\0';
}

/* Reads the row that begins here. */
static enum status read_row(struct walk *walk, struct error *err) {
    struct dataset_file *file = walk->file;
    json_error_t cause;
    struct row row;
    struct error reason;
    size_t rest = file->length - walk->at;
    if (memory_grow(&file->lines, &file->capacity, file->count + 1, sizeof *file->lines, walk->path, err) !=
        STATUS_OK)
        return STATUS_FAILED;
    json_t *json = json_loadb(file->text + walk->at, rest < INT_MAX ? rest : INT_MAX, JSON_FLAGS, &cause);
    if (!json) { /* the position is how many bytes were read */
        size_t last = cause.position > 0 ? (size_t)cause.position - 1 : 0;
        return fail(walk, walk->at + last, cause.text, err);
    }
    struct dataset_line *line = &file->lines[file->count++];
    *line = (struct dataset_line){.start = walk->at, .length = (size_t)cause.position};
    walk->at += line->length;
    if (!walk->format) {
        json_decref(json);
        return STATUS_OK;
    }
    if (row_read(walk->format, json, &row, &reason) == STATUS_OK) {
        row_free(&row);
        return STATUS_OK;
    }
    if (reason.no_memory) {
        *err = reason;
        return STATUS_FAILED;
    }
    line->problem = memory_text(reason.message, strlen(reason.message), walk->path, err);
    return line->problem ? STATUS_OK : STATUS_FAILED;
}

static enum status read_array(struct walk *walk, struct error *err) {
    walk->at++;
    for (bool first = true; peek(walk) != ']'; first = false) {
        if (!first) {
            if (peek(walk) != ',') return fail(walk, walk->at, "',' or ']' expected after a row", err);
            walk->at++;
            peek(walk);
        }
        if (read_row(walk, err) != STATUS_OK) return STATUS_FAILED;
    }
    walk->at++;
    return peek(walk) == '\0' && walk->at == walk->file->length
               ? STATUS_OK
               : fail(walk, walk->at, "text after the end of the list", err);
}

static enum status read_lines(struct walk *walk, struct error *err) {
    while (peek(walk), walk->at < walk->file->length)
        if (read_row(walk, err) != STATUS_OK) return STATUS_FAILED;
    return STATUS_OK;
}

enum status dataset_file_read(const char *path, const struct row_format *format, struct dataset_file *file,
                              struct error *err) {
    struct walk walk = {.path = path, .format = format, .file = file};
    *file = (struct dataset_file){0};
    if (file_read(path, LARGEST_FILE, &file->text, &file->length, err) != STATUS_OK) return STATUS_FAILED;
    if (file->length >= 3 && memcmp(file->text, "\xEF\xBB\xBF", 3) == 0) walk.at = 3; /* byte order mark */
    enum status status = peek(&walk) == '[' ? read_array(&walk, err) : read_lines(&walk, err);
    if (status == STATUS_OK && file->count == 0) status = error_set(err, "%s: there are no rows in it", path);
    return status;
}

void dataset_file_free(struct dataset_file *file) {
    for (size_t i = 0; i < file->count; i++) free(file->lines[i].problem);
    free(file->lines);
    free(file->text);
    *file = (struct dataset_file){0};
}

json_t *dataset_file_parse(const struct dataset_file *file, size_t line, struct error *err) {
    json_error_t cause;
    json_t *json =
        json_loadb(file->text + file->lines[line].start, file->lines[line].length, JSON_FLAGS, &cause);
    if (!json) error_no_memory(err, "out of memory for a row: %s", cause.text);
    return json;
}
