#include "grpo/rows.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/nearest.h"
#include "base/text.h"
#include "data/dataset_file.h"

static const char *const media[] = {[MEDIUM_VIDEO] = "video", [MEDIUM_IMAGE] = "image"};

/* Where a problem is found by its id. */
struct known_id {
    char *id;
    int64_t index;
};

struct grpo_rows {
    char *media_folder;
    struct dataset_file file;
    size_t *lines;        /* [count]: of the rows that can be trained */
    struct known_id *ids; /* [count], in order of the ids, then of the rows */
    int64_t count;
    struct grpo_skip *skips; /* reasons are the file's */
    int64_t skip_count;
};

/* ---- A row ------------------------------------------------------------------------------------------- */

/* A member that is a text without zero bytes; `missing` when it is absent or null, NULL: it must be there. */
static enum status read_text(const json_t *object, const char *key, const char *missing, const char **text,
                             struct error *err) {
    const json_t *value = json_object_get(object, key);
    if (missing && (!value || json_is_null(value))) {
        *text = missing;
        return STATUS_OK;
    }
    if (!json_is_string(value)) return error_set(err, "there is no text '%s'", key);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return error_set(err, "'%s' has a zero byte", key);
    *text = json_string_value(value);
    return STATUS_OK;
}

/* A text, a whole number, or nothing: then it is the row's number. */
static enum status read_id(const json_t *object, struct grpo_row *row, struct error *err) {
    const json_t *id = json_object_get(object, "problem_id");
    if (json_is_string(id)) return read_text(object, "problem_id", NULL, &row->id, err);
    if (id && !json_is_null(id) && !json_is_integer(id))
        return error_set(err, "'problem_id' is neither a text nor a whole number");
    struct text text = {0};
    text_format(&text, "%lld",
                json_is_integer(id) ? (long long)json_integer_value(id) : (long long)row->number);
    row->id = row->owned_id = text_take(&text, "an id", err);
    return row->id ? STATUS_OK : STATUS_FAILED;
}

static enum status read_medium(const json_t *object, struct grpo_row *row, struct error *err) {
    const char *name = "";
    if (read_text(object, "data_type", NULL, &name, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i <= MEDIUM_IMAGE; i++) {
        if (strcmp(name, media[i]) != 0) continue;
        row->medium = (enum row_medium)i;
        return STATUS_OK;
    }
    return error_set(err, "'data_type' is '%s', not 'video' or 'image'", name);
}

static enum status read_kind(const json_t *object, struct grpo_row *row, struct error *err) {
    const char *name = "";
    if (read_text(object, "problem_type", NULL, &name, err) != STATUS_OK) return STATUS_FAILED;
    row->kind = problem_find(name);
    if (row->kind) return STATUS_OK;
    struct nearest search = nearest_start(name);
    for (const struct problem_kind *kind = problem_kinds; kind->name; kind++)
        nearest_offer(&search, kind->name);
    return error_set(err, "there is no 'problem_type' '%s'%s%s%s", name,
                     search.best ? " (did you mean '" : "", search.best ? search.best : "",
                     search.best ? "'?)" : "");
}

static enum status read_options(const json_t *object, struct grpo_row *row, struct error *err) {
    const json_t *list = json_object_get(object, "options");
    if (!list || json_is_null(list)) return STATUS_OK;
    if (!json_is_array(list)) return error_set(err, "'options' is no list");
    row->options = memory_new(json_array_size(list), sizeof *row->options, "options", err);
    if (!row->options) return STATUS_FAILED;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *option = json_array_get(list, i);
        if (!json_is_string(option) || strlen(json_string_value(option)) != json_string_length(option))
            return error_set(err, "option %zu is no text", i + 1);
        row->options[row->option_count++] = json_string_value(option);
    }
    return STATUS_OK;
}

/* Takes the JSON over, also when it fails: with the reason alone, for rows that cannot be trained. */
static enum status read_row(json_t *json, int64_t number, struct grpo_row *row, struct error *err) {
    *row = (struct grpo_row){.json = json, .number = number};
    enum status status = json_is_object(json) ? STATUS_OK : error_set(err, "it is no JSON object");
    if (status == STATUS_OK) status = read_id(json, row, err);
    if (status == STATUS_OK) status = read_text(json, "problem", NULL, &row->problem, err);
    if (status == STATUS_OK) status = read_medium(json, row, err);
    if (status == STATUS_OK) status = read_kind(json, row, err);
    if (status == STATUS_OK) status = read_options(json, row, err);
    if (status == STATUS_OK) status = read_text(json, "path", NULL, &row->path, err);
    if (status == STATUS_OK && row->path[0] == '\0') status = error_set(err, "'path' is empty");
    if (status == STATUS_OK) status = read_text(json, "data_source", "", &row->data_source, err);
    if (status == STATUS_OK) status = read_text(json, "solution", NULL, &row->solution, err);
    if (status == STATUS_OK) status = problem_read(row->kind, row->solution, &row->truth, err);
    if (status != STATUS_OK) grpo_row_free(row);
    return status;
}

void grpo_row_free(struct grpo_row *row) {
    free(row->options);
    free(row->owned_id);
    json_decref(row->json);
    *row = (struct grpo_row){0};
}

/* ---- A file of rows ---------------------------------------------------------------------------------- */

/* Reads a line as one that can be trained, or as one that cannot. */
static enum status take_line(struct grpo_rows *rows, size_t line, struct error *err) {
    struct grpo_row row;
    struct error reason;
    json_t *json = dataset_file_parse(&rows->file, line, err);
    if (!json) return STATUS_FAILED;
    if (read_row(json, (int64_t)line + 1, &row, &reason) != STATUS_OK) {
        if (reason.no_memory) {
            *err = reason;
            return STATUS_FAILED;
        }
        char **problem = &rows->file.lines[line].problem;
        *problem = memory_text(reason.message, strlen(reason.message), "a reason", err);
        rows->skips[rows->skip_count++] = (struct grpo_skip){.number = (int64_t)line + 1, .reason = *problem};
        return *problem ? STATUS_OK : STATUS_FAILED;
    }
    char *id = memory_text(row.id, strlen(row.id), "an id", err);
    grpo_row_free(&row);
    if (!id) return STATUS_FAILED;
    rows->ids[rows->count] = (struct known_id){.id = id, .index = rows->count};
    rows->lines[rows->count++] = line;
    return STATUS_OK;
}

static int compare_ids(const void *left, const void *right) {
    const struct known_id *a = left, *b = right;
    int order = strcmp(a->id, b->id);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

static enum status read_file(struct grpo_rows *rows, const char *path, struct error *err) {
    if (dataset_file_read(path, NULL, &rows->file, err) != STATUS_OK) return STATUS_FAILED;
    rows->lines = memory_new(rows->file.count, sizeof *rows->lines, path, err);
    rows->ids = memory_new(rows->file.count, sizeof *rows->ids, path, err);
    rows->skips = memory_new(rows->file.count, sizeof *rows->skips, path, err);
    if (!rows->lines || !rows->ids || !rows->skips) return STATUS_FAILED;
    for (size_t line = 0; line < rows->file.count; line++)
        if (take_line(rows, line, err) != STATUS_OK) return STATUS_FAILED;
    qsort(rows->ids, (size_t)rows->count, sizeof *rows->ids, compare_ids);
    return STATUS_OK;
}

/* The folder that holds the file. */
static char *folder_of(const char *path, struct error *err) {
    char *copy = memory_text(path, strlen(path), "a path", err);
    if (!copy) return NULL;
    const char *folder = dirname(copy);
    char *result = memory_text(folder, strlen(folder), "a path", err);
    free(copy);
    return result;
}

enum status grpo_rows_open(const char *path, const char *media_folder, struct grpo_rows **opened,
                           struct error *err) {
    struct grpo_rows *rows = memory_new(1, sizeof *rows, path, err);
    *opened = NULL;
    if (!rows) return STATUS_FAILED;
    rows->media_folder =
        media_folder ? memory_text(media_folder, strlen(media_folder), "a path", err) : folder_of(path, err);
    if (!rows->media_folder || read_file(rows, path, err) != STATUS_OK) {
        grpo_rows_close(rows);
        return STATUS_FAILED;
    }
    *opened = rows;
    return STATUS_OK;
}

void grpo_rows_close(struct grpo_rows *rows) {
    if (!rows) return;
    for (int64_t i = 0; i < rows->count; i++) free(rows->ids[i].id);
    free(rows->ids);
    free(rows->lines);
    free(rows->skips);
    dataset_file_free(&rows->file);
    free(rows->media_folder);
    free(rows);
}

int64_t grpo_rows_count(const struct grpo_rows *rows) {
    return rows->count;
}

enum status grpo_rows_read(const struct grpo_rows *rows, int64_t index, struct grpo_row *row,
                           struct error *err) {
    size_t line = rows->lines[index];
    json_t *json = dataset_file_parse(&rows->file, line, err);
    return json ? read_row(json, (int64_t)line + 1, row, err) : STATUS_FAILED;
}

int64_t grpo_rows_find(const struct grpo_rows *rows, const char *problem_id) {
    int64_t low = 0, high = rows->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (strcmp(rows->ids[middle].id, problem_id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rows->count && strcmp(rows->ids[low].id, problem_id) == 0 ? rows->ids[low].index : -1;
}

char *grpo_rows_media(const struct grpo_rows *rows, const struct grpo_row *row, struct error *err) {
    return file_find(rows->media_folder, row->path, err);
}

int64_t grpo_rows_skip_count(const struct grpo_rows *rows) {
    return rows->skip_count;
}

const struct grpo_skip *grpo_rows_skip(const struct grpo_rows *rows, int64_t index) {
    return &rows->skips[index];
}
