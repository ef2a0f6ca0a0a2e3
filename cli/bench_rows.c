#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/bench.h"

enum { MAX_FILE = 1 << 30 };

size_t bench_peak_memory(void) {
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

static const char *first_string(const json_t *row, const char *const *keys) {
    for (; *keys; keys++) {
        const json_t *value = json_object_get(row, *keys);
        if (json_is_array(value)) value = json_array_get(value, 0);
        if (json_is_string(value)) return json_string_value(value);
    }
    return NULL;
}

static enum status add_row(const json_t *object, const char *media_dir, const char *place,
                           struct bench_rows *rows, struct error *err) {
    static const char *const video_keys[] = {"videos", "video", "path", "video_name", NULL};
    static const char *const prompt_keys[] = {"prompt", "problem", NULL};
    const char *video = first_string(object, video_keys);
    const char *prompt = first_string(object, prompt_keys);
    if (!video)
        return error_set(err, "%s: no video: neither 'videos', 'video', 'path' nor 'video_name'", place);
    if (memory_grow(&rows->rows, &rows->capacity, rows->count + 1, sizeof *rows->rows, "rows", err))
        return STATUS_FAILED;
    struct text path = {0};
    if (media_dir && video[0] != '/') text_format(&path, "%s/", media_dir);
    text_append_string(&path, video);
    struct bench_row *row = &rows->rows[rows->count];
    row->video = text_take(&path, "a row", err);
    row->prompt = memory_text(prompt ? prompt : "", prompt ? strlen(prompt) : 0, "a row", err);
    rows->count++; /* freed with the rest, whole or not */
    return row->video && row->prompt ? STATUS_OK : STATUS_FAILED;
}

static enum status read_array(const char *path, const char *text, size_t length, const char *media_dir,
                              struct bench_rows *rows, struct error *err) {
    json_t *array = json_read_text(text, length, path, err);
    if (!array) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < json_array_size(array); i++) {
        char place[512];
        snprintf(place, sizeof place, "%s: row %zu", path, i + 1);
        status = add_row(json_array_get(array, i), media_dir, place, rows, err);
    }
    json_decref(array);
    return status;
}

static enum status read_lines(const char *path, const char *text, size_t length, const char *media_dir,
                              struct bench_rows *rows, struct error *err) {
    const char *end = text + length;
    for (int64_t number = 1; text < end; number++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        if (strspn(text, " \t\r") < (size_t)(stop - text)) {
            char place[512];
            snprintf(place, sizeof place, "%s: line %" PRId64, path, number);
            json_t *row = json_read_text(text, (size_t)(stop - text), place, err);
            if (!row) return STATUS_FAILED;
            enum status status = add_row(row, media_dir, place, rows, err);
            json_decref(row);
            if (status) return status;
        }
        text = stop + 1;
    }
    return STATUS_OK;
}

enum status bench_rows_read(const char *path, const char *media_dir, struct bench_rows *rows,
                            struct error *err) {
    char *text;
    size_t length;
    *rows = (struct bench_rows){0};
    if (file_read(path, MAX_FILE, &text, &length, err)) return STATUS_FAILED;
    const char *start = text + strspn(text, " \t\r\n");
    enum status status = *start == '[' ? read_array(path, text, length, media_dir, rows, err)
                                       : read_lines(path, text, length, media_dir, rows, err);
    free(text);
    if (!status && rows->count == 0) status = error_set(err, "%s: there are no rows in it", path);
    if (status) bench_rows_free(rows);
    return status;
}

void bench_rows_free(struct bench_rows *rows) {
    for (size_t i = 0; i < rows->count; i++) {
        free(rows->rows[i].video);
        free(rows->rows[i].prompt);
    }
    free(rows->rows);
    *rows = (struct bench_rows){0};
}
