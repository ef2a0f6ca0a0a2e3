#include "train/skipped.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

static const char file_name[] = "skipped.jsonl";

enum status skipped_add(struct skipped *skipped, struct row_place place, const char *reason,
                        struct error *err) {
    for (size_t i = 0; i < skipped->count; i++)
        if (skipped->rows[i].number == place.number && strcmp(skipped->rows[i].dataset, place.name) == 0)
            return STATUS_OK;
    const char *what = "the list of skipped rows";
    if (memory_grow(&skipped->rows, &skipped->capacity, skipped->count + 1, sizeof *skipped->rows, what,
                    err) != STATUS_OK)
        return STATUS_FAILED;
    struct skipped_row row = {.number = place.number};
    row.dataset = memory_text(place.name, strlen(place.name), what, err);
    row.reason = memory_text(reason, strlen(reason), what, err);
    if (!row.dataset || !row.reason) {
        free(row.dataset);
        free(row.reason);
        return STATUS_FAILED;
    }
    skipped->rows[skipped->count++] = row;
    return STATUS_OK;
}

void skipped_free(struct skipped *skipped) {
    for (size_t i = 0; i < skipped->count; i++) {
        free(skipped->rows[i].dataset);
        free(skipped->rows[i].reason);
    }
    free(skipped->rows);
    *skipped = (struct skipped){0};
}

static json_t *row_json(const struct skipped_row *row) {
    return json_pack("{s:s, s:I, s:s#}", "dataset", row->dataset, "row", (json_int_t)row->number, "reason",
                     row->reason, (int)strlen(row->reason));
}

enum status skipped_write(const struct skipped *skipped, const char *folder, struct error *err) {
    char *path = file_join(folder, file_name, err);
    if (!path) return STATUS_FAILED;
    struct text lines = {0};
    for (size_t i = 0; i < skipped->count; i++) {
        json_t *json = row_json(&skipped->rows[i]);
        char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        if (line)
            text_format(&lines, "%s\n", line);
        else
            lines.failed = true;
        free(line);
    }
    enum status status = text_check(&lines, "the list of skipped rows", err);
    if (status == STATUS_OK && lines.length > 0)
        status = file_write(path, lines.data, lines.length, err);
    else if (status == STATUS_OK && unlink(path) != 0 && errno != ENOENT)
        status = error_set(err, "%s: %s", path, strerror(errno));
    text_free(&lines);
    free(path);
    return status;
}

enum status skipped_check(const struct skipped *skipped, double ratio, struct error *err) {
    if ((double)skipped->count <= ratio * (double)skipped->all_rows) return STATUS_OK;
    const struct skipped_row *first = &skipped->rows[0];
    return error_set(err,
                     "%zu of %lld rows cannot be used, more than max_skipped_ratio %g allows; the first is "
                     "%s row %lld: %s (all are in %s)",
                     skipped->count, (long long)skipped->all_rows, ratio, first->dataset,
                     (long long)first->number, first->reason, file_name);
}

json_t *skipped_save(const struct skipped *skipped) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < skipped->count; i++) {
        if (json_array_append_new(list, row_json(&skipped->rows[i])) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

enum status skipped_load(struct skipped *skipped, const json_t *list, struct error *err) {
    const char *place = "skipped rows of the checkpoint";
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item) {
        const char *dataset, *reason;
        long long number;
        if (json_get_string(item, "dataset", "", &dataset, place, err) != STATUS_OK ||
            json_get_string(item, "reason", "", &reason, place, err) != STATUS_OK ||
            json_get_integer(item, "row", 0, INT64_MAX, 0, &number, place, err) != STATUS_OK)
            return STATUS_FAILED;
        const struct row_place where = {dataset, number};
        if (skipped_add(skipped, where, reason, err) != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}
