/* How the rows of a data set are written: its entry in LLaMA-Factory's dataset_info.json.
 *
 *     {"NAME": {"file_name": "rows.json", "formatting": "sharegpt", "num_samples": 1000,
 *               "columns": {"messages": "conversations", "videos": "videos"},
 *               "tags": {"role_tag": "from", "content_tag": "value", "user_tag": "human", ...}}}
 */
#ifndef VS2_DATA_ROW_FORMAT_H
#define VS2_DATA_ROW_FORMAT_H

#include "base/json.h"

enum row_formatting { FORMAT_ALPACA, FORMAT_SHAREGPT };

enum row_column {
    COLUMN_PROMPT,   /* alpaca: "instruction" */
    COLUMN_QUERY,    /* "input" */
    COLUMN_RESPONSE, /* "output" */
    COLUMN_HISTORY,
    COLUMN_MESSAGES, /* sharegpt: "conversations" */
    COLUMN_SYSTEM,
    COLUMN_TOOLS,
    COLUMN_IMAGES,
    COLUMN_VIDEOS,
    COLUMN_AUDIOS,
    ROW_COLUMNS,
};

enum row_tag {
    TAG_ROLE,        /* "from" */
    TAG_CONTENT,     /* "value" */
    TAG_USER,        /* "human" */
    TAG_ASSISTANT,   /* "gpt" */
    TAG_OBSERVATION, /* "observation" */
    TAG_FUNCTION,    /* "function_call" */
    TAG_SYSTEM,      /* "system" */
    ROW_TAGS,
};

/* Names of keys in a row; NULL: there is no such column. */
struct row_format {
    enum row_formatting formatting;
    const char *columns[ROW_COLUMNS];
    const char *tags[ROW_TAGS];
};

/* The published one: sharegpt with its standard names, and columns "videos" and "images". */
struct row_format row_format_default(void);

/* Reads an entry of dataset_info.json, whose strings the format borrows. As in LLaMA-Factory a data set
 * without "formatting" is alpaca, and where "columns" stands, a column that it does not name is not read;
 * messages, prompt and response alone keep their standard names. What is wrong is a usage error that begins
 * with `place`. */
enum status row_format_read(const json_t *entry, const char *place, struct row_format *format,
                            struct error *err);

#endif
