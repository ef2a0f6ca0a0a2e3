/* One file of rows: a JSON array of objects, or JSON objects one after another (JSONL). */
#ifndef VS2_DATA_DATASET_FILE_H
#define VS2_DATA_DATASET_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/row.h"

/* A row's text, and why it cannot be trained: NULL when it can. */
struct dataset_line {
    size_t start, length;
    char *problem;
};

struct dataset_file {
    char *text; /* of the whole file */
    size_t length;
    struct dataset_line *lines;
    size_t count, capacity;
};

/* Reads the file and checks every row; without a format (NULL) a row may be anything. "PATH: line L, byte B:
 * CAUSE" where it is no JSON, byte and line counted from 1. dataset_file_free frees it, also after a failure.
 */
enum status dataset_file_read(const char *path, const struct row_format *format, struct dataset_file *file,
                              struct error *err);
void dataset_file_free(struct dataset_file *file);

/* Parses one row's text again. NULL with err set when memory is short. */
json_t *dataset_file_parse(const struct dataset_file *file, size_t line, struct error *err);

#endif
