/* What the commands of vs2-data that read data sets share. */
#ifndef VS2_CLI_DATA_ROWS_H
#define VS2_CLI_DATA_ROWS_H

#include <stdbool.h>

#include "data/dataset.h"
#include "data/prefetch.h"
#include "data/visual.h"

/* Opens what the user named: a file of rows where there is one of that name, else a data set of
 * DATASET_DIR/dataset_info.json. The kind of a file's rows is told by its first one: conversations, messages
 * with role and content, or instruction and output. `media_dir` may be NULL: the file's own folder, or
 * dataset_dir. */
enum status data_rows_open(const char *name, const char *dataset_dir, const char *media_dir,
                           struct dataset **dataset, struct error *err);

/* The last answer of a row. */
const struct chat_message *data_rows_answer(const struct row *row);

/* Makes a result for every row of the data set on `threads` threads, and hands them over in order; what
 * cannot be made ends it. */
struct data_rows_work {
    void *context;
    enum status (*make)(void *context, int64_t row, void **result, size_t *bytes, struct error *err);
    enum status (*take)(void *context, int64_t row, void *result, struct error *err); /* owns the result */
    const char *progress; /* what is done, for a line on stderr; NULL: none */
};
enum status data_rows_each(const struct dataset *dataset, int threads, const struct data_rows_work *work,
                           void (*release)(void *context, void *result), struct error *err);

#endif
