/* Rows on their way to a file: appended one by one, each on the disk when the append returns, so that the
 * process may be killed at any time. The journal is text, a line a row,
 *
 *     NUMBER CHECKSUM TEXT
 *
 * with the row's number, the CRC-32C of TEXT in eight hexadecimal digits, and TEXT without line ends. What
 * was being written when the process died, and all after a line that is damaged, is not read, and cut off
 * when the journal is written to again.
 */
#ifndef VS2_EVAL_ROW_JOURNAL_H
#define VS2_EVAL_ROW_JOURNAL_H

#include <stddef.h>

#include "base/error.h"
#include "base/file.h"

struct row_journal {
    struct file_appender file;
};

/* Goes on at the end of the journal, which is made if it is not there. Fails while another process has it
 * open. row_journal_close ends it, also after a failure. */
enum status row_journal_open(struct row_journal *journal, const char *path, struct error *err);
enum status row_journal_append(struct row_journal *journal, size_t number, const char *text, size_t length,
                               struct error *err);
void row_journal_close(struct row_journal *journal);

/* Removes the journal, unless a process has it open: its rows are yet to come. */
void row_journal_remove(const char *path);

/* Takes a row of the journal; the text is not terminated, and ends when the function returns. */
typedef enum status row_sink(void *context, size_t number, const char *text, size_t length,
                             struct error *err);

/* Gives the sink every whole row, in order, and tells how many bytes they take. A journal that is not there
 * has none. */
enum status row_journal_read(const char *path, row_sink *sink, void *context, size_t *size,
                             struct error *err);

#endif
