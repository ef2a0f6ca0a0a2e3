#include "eval/run_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_reader.h"
#include "base/memory.h"
#include "eval/item_index.h"
#include "eval/results.h"

enum status run_rows_new(struct run_rows *rows, size_t count, struct error *err) {
    *rows = (struct run_rows){.list = memory_new(count, sizeof *rows->list, "rows", err), .count = count};
    return rows->list ? STATUS_OK : STATUS_FAILED;
}

void run_rows_free(struct run_rows *rows) {
    for (size_t i = 0; i < rows->count && rows->list; i++) free(rows->list[i].text);
    free(rows->list);
    *rows = (struct run_rows){0};
}

/* ---- One row ----------------------------------------------------------------------------------------- */

static bool is(struct json_slice slice, const char *text) {
    return slice.length == strlen(text) && memcmp(slice.data, text, slice.length) == 0;
}

/* The member's meaning for the row. A number in JSON always ends before another character. */
static void take_member(struct run_row *row, struct json_slice key, struct json_slice value) {
    if (is(key, "output")) row->failed = is(value, "null");
    if (key.length < 1 || !is((struct json_slice){key.data + 1, key.length - 1}, "_score_model")) return;
    for (int d = 0; d < DIMENSIONS; d++)
        if (*key.data == *dimension_letter((enum dimension)d) && !is(value, "null"))
            row->scores[d] = strtod(value.data, NULL);
}

/* Reads what a run has to know of the row's text. */
static enum status scan_row(struct run_row *row, struct error *err) {
    struct json_reader json;
    struct json_slice key, value;
    bool more = false;
    for (int d = 0; d < DIMENSIONS; d++) row->scores[d] = NAN;
    row->failed = true;
    json_reader_start(&json, row->text, row->length, "a scored row");
    enum status status = json_reader_open(&json, '{', err);
    while (status == STATUS_OK) {
        status = json_reader_next(&json, '}', &more, err);
        if (status != STATUS_OK || !more) break;
        if ((status = json_reader_key(&json, &key, err)) != STATUS_OK) break;
        if ((status = json_reader_skip(&json, &value, err)) != STATUS_OK) break;
        take_member(row, key, value);
    }
    json_reader_free(&json);
    return status;
}

enum status run_rows_put(struct run_rows *rows, size_t item, const char *text, size_t length,
                         struct error *err) {
    struct run_row row = {.length = length}, *place = &rows->list[item];
    if (place->text && !place->failed) return STATUS_OK;
    if (!(row.text = memory_text(text, length, "rows", err))) return STATUS_FAILED;
    enum status status = scan_row(&row, err);
    if (status != STATUS_OK) {
        free(row.text);
        return status;
    }
    free(place->text);
    *place = row;
    return STATUS_OK;
}

/* ---- Files ------------------------------------------------------------------------------------------- */

static enum status put_results(struct run_rows *rows, const struct item_index *index,
                               const struct results *results, struct error *err) {
    for (size_t i = 0; i < results->count; i++) {
        const struct result_row *row = &results->rows[i];
        const size_t item = item_index_find(index, row->stem);
        if (item == SIZE_MAX)
            return error_set(err, "%s: row %zu: the benchmark has no video '%s'", results->path, i + 1,
                             row->video_name);
        enum status status = run_rows_put(rows, item, row->text.data, row->text.length, err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

enum status run_rows_read(struct run_rows *rows, const struct benchmark_items *items, const char *path,
                          struct error *err) {
    struct results results;
    struct item_index index;
    if (access(path, F_OK) != 0) return STATUS_OK;
    enum status status = results_read(path, NULL, SCORE_AS_WRITTEN, &results, err);
    if (status != STATUS_OK) return status;
    status = item_index_make(items, &index, err);
    if (status == STATUS_OK) status = put_results(rows, &index, &results, err);
    item_index_free(&index);
    results_free(&results);
    return status;
}

enum status run_rows_write(const struct run_rows *rows, const char *path, struct error *err) {
    struct file_writer writer;
    enum status status = file_writer_open(&writer, path, err);
    if (status != STATUS_OK) return status;
    const char *between = "\n";
    file_writer_write(&writer, "[", 1);
    for (size_t i = 0; i < rows->count; i++) {
        if (!rows->list[i].text) continue;
        file_writer_write(&writer, between, strlen(between));
        file_writer_write(&writer, rows->list[i].text, rows->list[i].length);
        between = ",\n";
    }
    file_writer_write(&writer, "\n]\n", 3);
    return file_writer_commit(&writer, err);
}
