#include "data/row.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

/* A row while it is read. */
struct reading {
    const struct row_format *format;
    const json_t *object;
    struct row *row;
    size_t message_capacity;
};

/* The value of a column, NULL where the row has none. */
static json_t *column(const struct reading *reading, enum row_column which) {
    const char *name = reading->format->columns[which];
    json_t *value = name ? json_object_get(reading->object, name) : NULL;
    return json_is_null(value) ? NULL : value;
}

static bool is_empty(const json_t *value) {
    if (json_is_string(value)) return json_string_length(value) == 0;
    return !value || json_is_null(value) ||
           ((json_is_array(value) || json_is_object(value)) && json_array_size(value) == 0 &&
            json_object_size(value) == 0);
}

static enum status add_text(struct reading *reading, enum chat_role role, const char *text, size_t length,
                            struct error *err) {
    struct row *row = reading->row;
    if (memory_grow(&row->messages, &reading->message_capacity, row->message_count + 1, sizeof *row->messages,
                    "messages", err) != STATUS_OK)
        return STATUS_FAILED;
    row->messages[row->message_count++] = (struct chat_message){.role = role, .text = text, .length = length};
    return STATUS_OK;
}

static enum status add_message(struct reading *reading, enum chat_role role, const json_t *text,
                               struct error *err) {
    return add_text(reading, role, json_string_value(text), json_string_length(text), err);
}

/* The column "system", where there is one and it says something. */
static enum status add_system(struct reading *reading, struct error *err) {
    const json_t *text = column(reading, COLUMN_SYSTEM);
    if (is_empty(text)) return STATUS_OK;
    if (!json_is_string(text))
        return error_set(err, "'%s' is no text", reading->format->columns[COLUMN_SYSTEM]);
    return add_message(reading, CHAT_SYSTEM, text, err);
}

/* ---- sharegpt ---- */

/* The role that a message's tag names. */
static enum status read_role(const struct row_format *format, const char *tag, enum chat_role *role,
                             struct error *err) {
    if (strcmp(tag, format->tags[TAG_FUNCTION]) == 0 || strcmp(tag, format->tags[TAG_OBSERVATION]) == 0)
        return error_set(err, "it uses tools (a message of '%s'), which are not trained here", tag);
    if (strcmp(tag, format->tags[TAG_USER]) == 0)
        *role = CHAT_USER;
    else if (strcmp(tag, format->tags[TAG_ASSISTANT]) == 0)
        *role = CHAT_ASSISTANT;
    else if (strcmp(tag, format->tags[TAG_SYSTEM]) == 0)
        *role = CHAT_SYSTEM;
    else
        return error_set(err, "a message of '%s'; roles are '%s' and '%s'", tag, format->tags[TAG_USER],
                         format->tags[TAG_ASSISTANT]);
    return STATUS_OK;
}

static enum status read_message(struct reading *reading, const json_t *message, size_t number,
                                struct error *err) {
    const struct row_format *format = reading->format;
    const json_t *tag = json_object_get(message, format->tags[TAG_ROLE]);
    const json_t *text = json_object_get(message, format->tags[TAG_CONTENT]);
    enum chat_role role = CHAT_USER;
    if (!json_is_string(tag))
        return error_set(err, "message %zu has no '%s'", number, format->tags[TAG_ROLE]);
    if (!json_is_string(text))
        return error_set(err, "message %zu has no text in '%s'", number, format->tags[TAG_CONTENT]);
    if (read_role(format, json_string_value(tag), &role, err) != STATUS_OK) return STATUS_FAILED;
    if (role == CHAT_SYSTEM && number > 1)
        return error_set(err, "message %zu is the system's; only the first may be", number);
    if (number == 1 && role != CHAT_SYSTEM && add_system(reading, err) != STATUS_OK) return STATUS_FAILED;
    return add_message(reading, role, text, err);
}

/* A system message in the list takes the place of the column. */
static enum status read_sharegpt(struct reading *reading, struct error *err) {
    const char *name = reading->format->columns[COLUMN_MESSAGES];
    const json_t *messages = column(reading, COLUMN_MESSAGES);
    if (!json_is_array(messages)) return error_set(err, "there is no list '%s'", name);
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (read_message(reading, json_array_get(messages, i), i + 1, err) != STATUS_OK) return STATUS_FAILED;
    return STATUS_OK;
}

/* ---- alpaca ---- */

static enum status read_history(struct reading *reading, struct error *err) {
    const json_t *history = column(reading, COLUMN_HISTORY);
    if (!json_is_array(history)) return STATUS_OK;
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        const json_t *question = json_array_get(pair, 0), *answer = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(question) || !json_is_string(answer))
            return error_set(err, "turn %zu of '%s' is no pair of texts", i + 1,
                             reading->format->columns[COLUMN_HISTORY]);
        if (add_message(reading, CHAT_USER, question, err) != STATUS_OK ||
            add_message(reading, CHAT_ASSISTANT, answer, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* The prompt, and the query on the next line where both say something. */
static enum status add_question(struct reading *reading, struct error *err) {
    const json_t *prompt = column(reading, COLUMN_PROMPT), *query = column(reading, COLUMN_QUERY);
    if ((!is_empty(prompt) && !json_is_string(prompt)) || (!is_empty(query) && !json_is_string(query)))
        return error_set(err, "its question is no text");
    if (is_empty(prompt) && is_empty(query))
        return error_set(err, "there is no '%s'", reading->format->columns[COLUMN_PROMPT]);
    if (is_empty(query)) return add_message(reading, CHAT_USER, prompt, err);
    if (is_empty(prompt)) return add_message(reading, CHAT_USER, query, err);
    struct text both = {0};
    text_append(&both, json_string_value(prompt), json_string_length(prompt));
    text_append_string(&both, "\n");
    text_append(&both, json_string_value(query), json_string_length(query));
    size_t length = both.length;
    reading->row->question = text_take(&both, "a row", err);
    return reading->row->question ? add_text(reading, CHAT_USER, reading->row->question, length, err)
                                  : STATUS_FAILED;
}

static enum status read_alpaca(struct reading *reading, struct error *err) {
    const json_t *answer = column(reading, COLUMN_RESPONSE);
    if (!json_is_string(answer))
        return error_set(err, "there is no text '%s'", reading->format->columns[COLUMN_RESPONSE]);
    if (add_system(reading, err) != STATUS_OK || read_history(reading, err) != STATUS_OK ||
        add_question(reading, err) != STATUS_OK)
        return STATUS_FAILED;
    return add_message(reading, CHAT_ASSISTANT, answer, err);
}

/* ---- what both have ---- */

/* A path, or a list of them. */
static enum status read_paths(const struct reading *reading, enum row_column which, const char ***paths,
                              size_t *count, struct error *err) {
    const json_t *value = column(reading, which);
    const char *name = reading->format->columns[which];
    if (is_empty(value)) return STATUS_OK;
    size_t wanted = json_is_array(value) ? json_array_size(value) : 1;
    *paths = memory_new(wanted, sizeof **paths, "paths", err);
    if (!*paths) return STATUS_FAILED;
    for (size_t i = 0; i < wanted; i++) {
        const json_t *path = json_is_array(value) ? json_array_get(value, i) : value;
        if (json_is_array(path)) return error_set(err, "'%s' has lists of frames, which are not read", name);
        if (is_empty(path) || !json_is_string(path)) return error_set(err, "'%s' has no path", name);
        if (strlen(json_string_value(path)) != json_string_length(path))
            return error_set(err, "'%s' has a path with a zero byte", name);
        (*paths)[(*count)++] = json_string_value(path);
    }
    return STATUS_OK;
}

static size_t count_marks(const struct row *row, const char *mark) {
    size_t found = 0;
    for (size_t i = 0; i < row->message_count; i++) {
        const struct chat_message *message = &row->messages[i];
        if (message->role == CHAT_SYSTEM) continue;
        const char *at = message->text, *end = at + message->length;
        while ((at = memmem(at, (size_t)(end - at), mark, strlen(mark)))) {
            at += strlen(mark);
            found++;
        }
    }
    return found;
}

static enum status check_marks(const struct row *row, struct error *err) {
    size_t videos = count_marks(row, "<video>"), images = count_marks(row, "<image>");
    if (videos != row->video_count)
        return error_set(err, "the number of videos (%zu) does not match the number of <video> marks (%zu)",
                         row->video_count, videos);
    if (images != row->image_count)
        return error_set(err, "the number of images (%zu) does not match the number of <image> marks (%zu)",
                         row->image_count, images);
    return STATUS_OK;
}

/* User and assistant in turn, and an answer at the end. */
static enum status check_turns(const struct row *row, struct error *err) {
    static const char *const names[] = {
        [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};
    size_t first = row->message_count > 0 && row->messages[0].role == CHAT_SYSTEM;
    if (row->message_count == first) return error_set(err, "the conversation is empty");
    for (size_t i = first; i < row->message_count; i++) {
        enum chat_role wanted = (i - first) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (row->messages[i].role != wanted)
            return error_set(err, "message %zu is the %s's where the %s speaks", i + 1,
                             names[row->messages[i].role], names[wanted]);
    }
    return (row->message_count - first) % 2 == 0 ? STATUS_OK
                                                 : error_set(err, "the conversation ends without an answer");
}

static enum status check_unread(const struct reading *reading, struct error *err) {
    if (!is_empty(column(reading, COLUMN_AUDIOS))) return error_set(err, "it has audio, which is not read");
    if (!is_empty(column(reading, COLUMN_TOOLS)))
        return error_set(err, "it uses tools, which are not trained here");
    return STATUS_OK;
}

enum status row_read(const struct row_format *format, json_t *json, struct row *row, struct error *err) {
    *row = (struct row){.json = json};
    struct reading reading = {.format = format, .object = json, .row = row};
    enum status status = STATUS_OK;
    if (!json_is_object(json))
        status = error_set(err, "it is no JSON object");
    else if (format->formatting == FORMAT_SHAREGPT)
        status = read_sharegpt(&reading, err);
    else
        status = read_alpaca(&reading, err);
    if (status != STATUS_OK || check_unread(&reading, err) != STATUS_OK ||
        check_turns(row, err) != STATUS_OK ||
        read_paths(&reading, COLUMN_VIDEOS, &row->videos, &row->video_count, err) != STATUS_OK ||
        read_paths(&reading, COLUMN_IMAGES, &row->images, &row->image_count, err) != STATUS_OK ||
        check_marks(row, err) != STATUS_OK) {
        row_free(row);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

void row_free(struct row *row) {
    free(row->messages);
    free(row->videos);
    free(row->images);
    free(row->question);
    json_decref(row->json);
    *row = (struct row){0};
}
