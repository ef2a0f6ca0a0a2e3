/* The rows that a run could not use, as OUTPUT_DIR/skipped.jsonl lists them:
 * {"dataset": NAME, "row": NUMBER FROM 1, "reason": TEXT} a line. */
#ifndef VS2_TRAIN_SKIPPED_H
#define VS2_TRAIN_SKIPPED_H

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "data/dataset.h"

struct skipped_row {
    char *dataset;
    int64_t number;
    char *reason;
};

struct skipped {
    struct skipped_row *rows; /* each row once, with its first reason */
    size_t count, capacity;
    int64_t all_rows; /* that were looked at, good and skipped; the caller counts them */
};

/* Adds copies, unless the row is listed. */
enum status skipped_add(struct skipped *skipped, struct row_place place, const char *reason,
                        struct error *err);
void skipped_free(struct skipped *skipped);

/* Writes the list, whole or not at all; an empty list leaves no file. */
enum status skipped_write(const struct skipped *skipped, const char *folder, struct error *err);

/* An error that names the count and the first reason when more than `ratio` of all rows are skipped. */
enum status skipped_check(const struct skipped *skipped, double ratio, struct error *err);

/* To and from a checkpoint's state: skipped_load adds what is not listed. NULL when out of memory. */
json_t *skipped_save(const struct skipped *skipped);
enum status skipped_load(struct skipped *skipped, const json_t *list, struct error *err);

#endif
