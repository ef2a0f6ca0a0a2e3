#include "cli/data_rows.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* The first row of a file, or NULL. */
static json_t *first_row(const char *path) {
    struct file_map map;
    struct error unused;
    json_t *row = NULL;
    if (file_map(path, &map, &unused) != STATUS_OK) return NULL;
    const char *at = (const char *)map.data;
    const char *brace = map.size > 0 ? memchr(at, '{', map.size) : NULL;
    if (brace)
        row =
            json_loadb(brace, map.size - (size_t)(brace - at), JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
    file_unmap(&map);
    return row;
}

/* Rows with "messages" have OpenAI's tags, those with "instruction" are alpaca's. */
static struct row_format detect_format(const char *path) {
    struct row_format format = row_format_default();
    json_t *row = first_row(path);
    const json_t *messages = json_object_get(row, "messages");
    if (json_object_get(json_array_get(messages, 0), "role")) {
        format.columns[COLUMN_MESSAGES] = "messages";
        format.tags[TAG_ROLE] = "role";
        format.tags[TAG_CONTENT] = "content";
        format.tags[TAG_USER] = "user";
        format.tags[TAG_ASSISTANT] = "assistant";
    } else if (json_object_get(row, "instruction") && !json_object_get(row, "conversations")) {
        format.formatting = FORMAT_ALPACA;
        format.columns[COLUMN_SYSTEM] = "system";
        format.columns[COLUMN_HISTORY] = "history";
    }
    json_decref(row);
    return format;
}

static enum status open_file(const char *path, const char *media_dir, struct dataset **dataset,
                             struct error *err) {
    const struct row_format format = detect_format(path);
    char *copy = memory_text(path, strlen(path), "a path", err);
    if (!copy) return STATUS_FAILED;
    enum status status =
        dataset_open_file(path, &format, media_dir ? media_dir : dirname(copy), dataset, err);
    free(copy);
    return status;
}

enum status data_rows_open(const char *name, const char *dataset_dir, const char *media_dir,
                           struct dataset **dataset, struct error *err) {
    struct stat info;
    if (stat(name, &info) == 0 && S_ISREG(info.st_mode)) return open_file(name, media_dir, dataset, err);
    if (strchr(name, '/') || strstr(name, ".json")) return error_set(err, "%s: there is no such file", name);
    const struct dataset_options options = {.folder = dataset_dir, .names = name, .media_folder = media_dir};
    return dataset_open(&options, dataset, err);
}

const struct chat_message *data_rows_answer(const struct row *row) {
    return &row->messages[row->message_count - 1];
}

/* One line on a terminal that is written over. */
static void show(const char *what, int64_t done, int64_t total) {
    if (what && isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s %lld/%lld%s", what, (long long)done, (long long)total,
                done == total ? "\n" : "");
}

enum status data_rows_each(const struct dataset *dataset, int threads, const struct data_rows_work *work,
                           void (*release)(void *context, void *result), struct error *err) {
    const struct prefetch_work made = {.context = work->context, .make = work->make, .release = release};
    const struct prefetch_limits limits = {.threads = threads};
    const int64_t count = dataset_count(dataset);
    struct prefetch *prefetch = prefetch_start(&made, count, &limits, err);
    enum status status = prefetch ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        void *result;
        status = prefetch_next(prefetch, &result, err);
        if (status == STATUS_OK) status = work->take(work->context, i, result, err);
        show(work->progress, i + 1, count);
    }
    prefetch_stop(prefetch);
    return status;
}
