/* One row of a data set: a conversation and the videos and pictures that its marks stand for. */
#ifndef VS2_DATA_ROW_H
#define VS2_DATA_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "data/row_format.h"
#include "model/chat.h"

struct row {
    /* A system message or none, then user and assistant in turn, ending with an answer. */
    struct chat_message *messages;
    size_t message_count;
    /* As many as the messages have marks, in their order; the paths as the row has them. */
    const char **videos, **images;
    size_t video_count, image_count;
    json_t *json;   /* owns the texts and the paths */
    char *question; /* owns the text of an alpaca row's prompt and query together */
};

/* Reads one row from its JSON, which it takes over also when it fails. STATUS_FAILED, with the reason alone
 * in err, when the row cannot be trained: its roles or turns, its marks, its columns, or what is not read
 * here (audio, tools, lists of frames). */
enum status row_read(const struct row_format *format, json_t *json, struct row *row, struct error *err);
void row_free(struct row *row);

#endif
