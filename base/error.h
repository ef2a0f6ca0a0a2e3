/* Run-time errors.
 *
 * A function that can fail returns `enum status` and takes a `struct error *` as its last argument. On
 * failure the error holds one line that names the place and the cause ("FILE: PLACE: CAUSE", no program
 * name, no trailing newline or full stop); on success it is untouched. Callers that know more of the place
 * put it in front with error_prefix. The error must not be NULL.
 */
#ifndef VS2_BASE_ERROR_H
#define VS2_BASE_ERROR_H

#include <stdbool.h>

enum status {
    STATUS_OK = 0,     /* done */
    STATUS_FAILED = 1, /* failed: bad input, no memory, I/O; the program exits with 1 */
    STATUS_USAGE = 2,  /* wrong usage or configuration; the program exits with 2 */
};

enum { ERROR_MESSAGE_SIZE = 2048 };

struct error {
    char message[ERROR_MESSAGE_SIZE]; /* always terminated; longer messages are cut */
    bool no_memory;                   /* memory was short: whatever was read is not to blame */
};

/* Fills the message as printf does and returns STATUS_FAILED, so that `return error_set(err, ...)` reads
 * well. Bytes that are not printable on one line (control characters) are written as '?'. */
enum status error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As error_set, for mistakes in usage or configuration: returns STATUS_USAGE. */
enum status error_usage(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As error_set, where memory is short. Who goes on after an error, as by leaving out a row that cannot be
 * read, does not after this one. */
enum status error_no_memory(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "PLACE: " in front of the message. */
void error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
