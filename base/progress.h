/* The progress line on stderr. On a terminal it is one line, rewritten and cut to the terminal's width;
 * elsewhere it is a plain line a logged step. Messages may come from any thread. */
#ifndef VS2_BASE_PROGRESS_H
#define VS2_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/text.h"

enum progress_unit {
    PROGRESS_NUMBER,   /* loss 1.2345 */
    PROGRESS_SHORT,    /* epoch 0.42 */
    PROGRESS_RATE,     /* lr 4.9e-05 */
    PROGRESS_SPEED,    /* 12,345 tok/s; the label follows the number */
    PROGRESS_PERCENT,  /* MFU 43%, from 0.43 */
    PROGRESS_BYTES,    /* 7.1 GB; the label comes first where there is one */
    PROGRESS_DURATION, /* ETA 1:02:03, from seconds */
};

/* One figure of the line; those whose value is not finite are left out. */
struct progress_field {
    const char *label;
    enum progress_unit unit;
    double value;
};

struct progress;

/* `file` is stderr but in tests; NULL: nothing is shown at all. `quiet` shows nothing but messages. NULL with
 * err set when out of memory. */
struct progress *progress_new(FILE *file, bool quiet, struct error *err);

/* Shows "WHAT DONE/TOTAL PERCENT", then the fields, most important first: what does not fit is left out from
 * the end. On a terminal at most ten times a second, unless `logged` or DONE = TOTAL; elsewhere only when
 * `logged`. */
void progress_show(struct progress *progress, const char *what, int64_t done, int64_t total,
                   const struct progress_field *fields, size_t count, bool logged);

/* Prints a message on a line of its own, above the progress line. Control characters become '?'. */
void progress_message(struct progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Ends the line and frees; progress may be NULL. */
void progress_free(struct progress *progress);

/* Appends the line as progress_show prints it, at most `width` columns (0: no limit). */
void progress_append_line(struct text *line, const char *what, int64_t done, int64_t total,
                          const struct progress_field *fields, size_t count, size_t width);

#endif
