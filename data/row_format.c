#include "data/row_format.h"

#include <string.h>

#include "base/nearest.h"

static const char *const formatting_names[] = {[FORMAT_ALPACA] = "alpaca", [FORMAT_SHAREGPT] = "sharegpt"};

/* A key of "columns" or "tags". */
struct key {
    const char *name;
    const char *standard; /* its value when the entry has no "columns" or "tags" at all */
    bool always;          /* that is its value too when the others are given and it is not */
};

static const struct key columns[ROW_COLUMNS] = {
    [COLUMN_PROMPT] = {"prompt", "instruction", true},
    [COLUMN_QUERY] = {"query", "input", false},
    [COLUMN_RESPONSE] = {"response", "output", true},
    [COLUMN_HISTORY] = {"history", NULL, false},
    [COLUMN_MESSAGES] = {"messages", "conversations", true},
    [COLUMN_SYSTEM] = {"system", NULL, false},
    [COLUMN_TOOLS] = {"tools", NULL, false},
    [COLUMN_IMAGES] = {"images", NULL, false},
    [COLUMN_VIDEOS] = {"videos", NULL, false},
    [COLUMN_AUDIOS] = {"audios", NULL, false},
};

static const struct key tags[ROW_TAGS] = {
    [TAG_ROLE] = {"role_tag", "from", true},
    [TAG_CONTENT] = {"content_tag", "value", true},
    [TAG_USER] = {"user_tag", "human", true},
    [TAG_ASSISTANT] = {"assistant_tag", "gpt", true},
    [TAG_OBSERVATION] = {"observation_tag", "observation", true},
    [TAG_FUNCTION] = {"function_tag", "function_call", true},
    [TAG_SYSTEM] = {"system_tag", "system", true},
};

/* Columns of LLaMA-Factory's other stages; SFT does not read them there either. */
static const char *const other_columns[] = {"chosen", "rejected", "kto_tag", NULL};

static bool is_key(const char *name, const struct key *keys, int count, const char *const *others) {
    for (int i = 0; i < count; i++)
        if (strcmp(name, keys[i].name) == 0) return true;
    for (; others && *others; others++)
        if (strcmp(name, *others) == 0) return true;
    return false;
}

static enum status unknown_key(const char *name, const struct key *keys, int count, const char *group,
                               const char *place, struct error *err) {
    struct nearest search = nearest_start(name);
    for (int i = 0; i < count; i++) nearest_offer(&search, keys[i].name);
    if (search.best)
        return error_usage(err, "%s: unknown key '%s' in '%s' (did you mean '%s'?)", place, name, group,
                           search.best);
    return error_usage(err, "%s: unknown key '%s' in '%s'", place, name, group);
}

/* Reads the object `group` of the entry; without one the values are the standard ones. */
static enum status read_group(const json_t *entry, const char *group, const struct key *keys, int count,
                              const char *const *others, const char **values, const char *place,
                              struct error *err) {
    json_t *object = json_object_get(entry, group);
    bool given = object && !json_is_null(object);
    const char *name;
    json_t *value;
    if (given && !json_is_object(object)) return error_usage(err, "%s: '%s' is no object", place, group);
    for (int i = 0; i < count; i++) values[i] = !given || keys[i].always ? keys[i].standard : NULL;
    json_object_foreach(object, name, value) {
        if (!is_key(name, keys, count, others)) return unknown_key(name, keys, count, group, place, err);
        if (!json_is_string(value) && !json_is_null(value))
            return error_usage(err, "%s: '%s' in '%s' is no string", place, name, group);
        for (int i = 0; i < count; i++)
            if (strcmp(name, keys[i].name) == 0 && json_is_string(value))
                values[i] = json_string_value(value);
    }
    return STATUS_OK;
}

struct row_format row_format_default(void) {
    struct row_format format = {.formatting = FORMAT_SHAREGPT};
    for (int i = 0; i < ROW_COLUMNS; i++) format.columns[i] = columns[i].standard;
    for (int i = 0; i < ROW_TAGS; i++) format.tags[i] = tags[i].standard;
    format.columns[COLUMN_VIDEOS] = "videos";
    format.columns[COLUMN_IMAGES] = "images";
    return format;
}

static enum status read_formatting(const json_t *entry, const char *place, enum row_formatting *formatting,
                                   struct error *err) {
    const char *name;
    bool ranking;
    if (json_get_string(entry, "formatting", "alpaca", &name, place, err) ||
        json_get_bool(entry, "ranking", false, &ranking, place, err))
        return STATUS_USAGE;
    if (ranking) return error_usage(err, "%s: it is for ranking ('ranking' is true), not for SFT", place);
    for (int i = 0; i <= FORMAT_SHAREGPT; i++)
        if (strcmp(name, formatting_names[i]) == 0) {
            *formatting = (enum row_formatting)i;
            return STATUS_OK;
        }
    return error_usage(err,
                       "%s: 'formatting' is '%s'; it can be alpaca or sharegpt (rows with role and "
                       "content are sharegpt with 'tags')",
                       place, name);
}

enum status row_format_read(const json_t *entry, const char *place, struct row_format *format,
                            struct error *err) {
    if (!json_is_object(entry)) return error_usage(err, "%s: no object", place);
    if (read_formatting(entry, place, &format->formatting, err) ||
        read_group(entry, "columns", columns, ROW_COLUMNS, other_columns, format->columns, place, err) ||
        read_group(entry, "tags", tags, ROW_TAGS, NULL, format->tags, place, err))
        return STATUS_USAGE;
    return STATUS_OK;
}
