/* The rows that a run has: those of RES.json, and those of the journals beside it. */
#ifndef VS2_EVAL_RUN_ROWS_H
#define VS2_EVAL_RUN_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "eval/benchmark.h"

struct run_row {
    char *text; /* of the official row, JSON on one line; NULL: there is none */
    size_t length;
    bool failed;               /* its video could not be scored: it has no output */
    double scores[DIMENSIONS]; /* the model's; NaN: none */
};

struct run_rows {
    struct run_row *list; /* [count]: in the order of the items */
    size_t count;
};

/* No rows, for so many items. run_rows_free ends it. */
enum status run_rows_new(struct run_rows *rows, size_t count, struct error *err);
void run_rows_free(struct run_rows *rows);

/* Adds a copy of an item's row. A scored one stays where there is one already: nothing is scored twice. */
enum status run_rows_put(struct run_rows *rows, size_t item, const char *text, size_t length,
                         struct error *err);

/* Adds the rows of a result file, where there is one, which is to hold no other videos than the items. */
enum status run_rows_read(struct run_rows *rows, const struct benchmark_items *items, const char *path,
                          struct error *err);

/* Writes those that are there, in the order of the items, whole or not at all. */
enum status run_rows_write(const struct run_rows *rows, const char *path, struct error *err);

#endif
