/* The published files of benchmarks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/dataset_file.h"
#include "eval/benchmark.h"
#include "eval/video_name.h"

enum { LARGEST_FILE = 1 << 30 };

/* Where an error happened. */
struct place {
    const char *path;
    size_t row; /* from 1 */
};

/* ---- Rows of any of the formats ---------------------------------------------------------------------- */

static bool ends_in(const char *path, const char *ending) {
    size_t length = strlen(path), size = strlen(ending);
    return length >= size && strcasecmp(path + length - size, ending) == 0;
}

static json_t *read_csv(const char *path, struct error *err) {
    char *text;
    size_t length;
    if (file_read(path, LARGEST_FILE, &text, &length, err) != STATUS_OK) return NULL;
    json_t *rows = csv_read_text(text, length, path, err);
    free(text);
    if (!rows || json_array_size(rows)) return rows;
    error_set(err, "%s: there are no rows in it", path);
    json_decref(rows);
    return NULL;
}

/* An array of the rows; NULL with err set. */
static json_t *read_rows(const char *path, struct error *err) {
    struct dataset_file file;
    json_t *rows = NULL;
    if (ends_in(path, ".csv")) return read_csv(path, err);
    enum status status = dataset_file_read(path, NULL, &file, err);
    if (status == STATUS_OK && !(rows = json_array())) status = error_set(err, "%s: out of memory", path);
    for (size_t i = 0; i < file.count && status == STATUS_OK; i++) {
        json_t *row = dataset_file_parse(&file, i, err);
        if (!row || json_array_append_new(rows, row) != 0)
            status = row ? error_set(err, "%s: out of memory", path) : STATUS_FAILED;
    }
    dataset_file_free(&file);
    if (status == STATUS_OK) return rows;
    json_decref(rows);
    return NULL;
}

/* ---- Fields ------------------------------------------------------------------------------------------ */

/* The text of a field; NULL with err set where it is missing, no text, or empty. */
static const char *need_text(const json_t *row, const char *field, struct place place, struct error *err) {
    const json_t *value = json_object_get(row, field);
    if (json_is_string(value) && json_string_length(value) == strlen(json_string_value(value)) &&
        json_string_length(value))
        return json_string_value(value);
    error_set(err, "%s: row %zu: %s '%s'", place.path, place.row,
              value ? "there is no text in" : "there is no", field);
    return NULL;
}

/* The first of the names that the row has; the first one of all when it has none. */
static const char *present(const json_t *row, const char *const names[BENCHMARK_NAMES]) {
    for (int i = 0; i < BENCHMARK_NAMES && names[i]; i++)
        if (json_object_get(row, names[i])) return names[i];
    return names[0];
}

/* A number, or the text of one, as CSV files have them; null and an empty text are NaN. */
static enum status read_number(const json_t *row, const char *field, double *value, struct place place,
                               struct error *err) {
    const json_t *found = json_object_get(row, field);
    *value = NAN;
    if (json_is_number(found)) *value = json_number_value(found);
    if (json_is_number(found) || json_is_null(found)) return STATUS_OK;
    if (!found) return error_set(err, "%s: row %zu: there is no '%s'", place.path, place.row, field);
    const char *text = json_is_string(found) ? json_string_value(found) : "?";
    char *end;
    if (!*text) return STATUS_OK;
    *value = strtod(text, &end);
    if (*end || end == text || !isfinite(*value))
        return error_set(err, "%s: row %zu: '%s' is no number", place.path, place.row, field);
    return STATUS_OK;
}

static enum status read_truth(const json_t *row, const struct benchmark_truth *truth, double *value,
                              struct place place, struct error *err) {
    *value = NAN;
    if (!truth->fields[0]) return STATUS_OK;
    if (!truth->mean) return read_number(row, present(row, truth->fields), value, place, err);
    double sum = 0;
    int count = 0;
    for (; count < BENCHMARK_NAMES && truth->fields[count]; count++) {
        double part;
        enum status status = read_number(row, truth->fields[count], &part, place, err);
        if (status != STATUS_OK) return status;
        sum += part;
    }
    *value = nearbyint(sum / count);
    return STATUS_OK;
}

/* ---- Items ------------------------------------------------------------------------------------------- */

static enum status add_item(struct benchmark_items *items, const char *file, const char *model, json_t *row,
                            const char *prompt_field, struct place place, struct error *err) {
    enum status status =
        memory_grow(&items->list, &items->capacity, items->count + 1, sizeof *items->list, "videos", err);
    if (status != STATUS_OK) return status;
    const char *prompt = json_string_value(json_object_get(row, prompt_field));
    struct name_part stem = video_stem(file);
    struct benchmark_item *item = &items->list[items->count];
    *item = (struct benchmark_item){
        .file = file, .prompt = prompt ? prompt : "", .row = row, .number = place.row};
    for (int d = 0; d < DIMENSIONS; d++) item->truths[d] = NAN;
    if (asprintf(&item->name, "%s%s%.*s", model ? model : "", model ? "_" : "", (int)stem.length,
                 stem.start) < 0) {
        item->name = NULL;
        return error_set(err, "%s: out of memory", place.path);
    }
    items->count++;
    return STATUS_OK;
}

static enum status add_point(const struct benchmark *benchmark, json_t *row, struct place place,
                             struct benchmark_items *items, struct error *err) {
    const char *file = need_text(row, present(row, benchmark->video), place, err);
    const char *prompt = present(row, benchmark->prompt);
    if (!file || !need_text(row, prompt, place, err)) return STATUS_FAILED;
    enum status status = add_item(items, file, NULL, row, prompt, place, err);
    for (int d = 0; d < DIMENSIONS && status == STATUS_OK; d++)
        status = read_truth(row, &benchmark->truths[d], &items->list[items->count - 1].truths[d], place, err);
    return status;
}

/* The file and model of one video of a pair. */
static enum status pair_video(const struct benchmark *benchmark, const json_t *row, int which,
                              const char **file, const char **model, struct place place, struct error *err) {
    *model = NULL;
    if (!(*file = need_text(row, benchmark->pairs.videos[which], place, err))) return STATUS_FAILED;
    if (benchmark->pairs.models[which] &&
        !(*model = need_text(row, benchmark->pairs.models[which], place, err)))
        return STATUS_FAILED;
    return STATUS_OK;
}

static enum status add_pair_videos(const struct benchmark *benchmark, json_t *row, struct place place,
                                   struct benchmark_items *items, struct error *err) {
    for (int which = 0; which < 2; which++) {
        const char *file, *model;
        enum status status = pair_video(benchmark, row, which, &file, &model, place, err);
        if (status == STATUS_OK)
            status = add_item(items, file, model, row, present(row, benchmark->prompt), place, err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

/* By name, then in the order of the file. */
static int by_name(const void *a, const void *b) {
    const struct benchmark_item *x = *(const struct benchmark_item *const *)a,
                                *y = *(const struct benchmark_item *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x > y) - (x < y);
}

/* Frees the items without a name or with that of an earlier one, and closes the gaps. */
static void drop_unnamed(struct benchmark_items *items) {
    size_t kept = 0;
    for (size_t i = 0; i < items->count; i++)
        if (items->list[i].name) items->list[kept++] = items->list[i];
    items->count = kept;
}

/* Videos that come again: an error among points, one item among pairs. */
static enum status merge_same(struct benchmark_items *items, const char *path, struct error *err) {
    enum status status = STATUS_OK;
    struct benchmark_item **order = memory_new(items->count, sizeof(*order), "videos", err);
    if (!order) return STATUS_FAILED;
    for (size_t i = 0; i < items->count; i++) order[i] = &items->list[i];
    qsort(order, items->count, sizeof(*order), by_name);
    size_t first = 0;
    for (size_t i = 1; i < items->count && status == STATUS_OK; i++) {
        if (strcmp(order[i]->name, order[first]->name) != 0) {
            first = i;
        } else if (items->pairs) {
            free(order[i]->name);
            order[i]->name = NULL;
        } else {
            status = error_set(err, "%s: row %zu: the video '%s' is in row %zu already", path,
                               order[i]->number, order[i]->name, order[first]->number);
        }
    }
    free(order);
    drop_unnamed(items);
    return status;
}

enum status benchmark_items_read(const struct benchmark *benchmark, const char *path,
                                 struct benchmark_items *items, struct error *err) {
    *items = (struct benchmark_items){.rows = read_rows(path, err)};
    if (!items->rows) return STATUS_FAILED;
    items->pairs = benchmark_has_pairs(benchmark) &&
                   json_object_get(json_array_get(items->rows, 0), benchmark->pairs.videos[0]);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(items->rows) && status == STATUS_OK; i++) {
        json_t *row = json_array_get(items->rows, i);
        struct place place = {path, i + 1};
        if (!json_is_object(row))
            status = error_set(err, "%s: row %zu: not an object", path, i + 1);
        else
            status = items->pairs ? add_pair_videos(benchmark, row, place, items, err)
                                  : add_point(benchmark, row, place, items, err);
    }
    if (status == STATUS_OK) status = merge_same(items, path, err);
    if (status != STATUS_OK) benchmark_items_free(items);
    return status;
}

void benchmark_items_free(struct benchmark_items *items) {
    for (size_t i = 0; i < items->count; i++) free(items->list[i].name);
    free(items->list);
    json_decref(items->rows);
    *items = (struct benchmark_items){0};
}

char *benchmark_item_path(const struct benchmark_item *item, const char *folder, struct error *err) {
    const char *const names[] = {item->file, item->file, item->name};
    const char *const endings[] = {"", ".mp4", ".mp4"};
    for (size_t i = 0;; i++) {
        char *path;
        if (asprintf(&path, "%s/%s%s", folder, names[i], endings[i]) < 0) {
            error_set(err, "out of memory for the path of '%s'", item->name);
            return NULL;
        }
        if (i == 2 || access(path, F_OK) == 0) return path;
        free(path);
    }
}

/* ---- Pairs ------------------------------------------------------------------------------------------- */

static enum status read_preference(const struct benchmark_pairs *pairs, const char *field, const json_t *row,
                                   enum preference *preference, struct place place, struct error *err) {
    *preference = PREFER_NOT_TOLD;
    if (!field) return STATUS_OK;
    const json_t *value = json_object_get(row, field);
    char number[32];
    const char *word = json_string_value(value);
    if (json_is_integer(value)) { /* 1 and 2 are words, too */
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        word = number;
    }
    if (!word) return error_set(err, "%s: row %zu: there is no '%s'", place.path, place.row, field);
    if (strcmp(word, pairs->first) == 0)
        *preference = PREFER_FIRST;
    else if (strcmp(word, pairs->second) == 0)
        *preference = PREFER_SECOND;
    else if (strcmp(word, pairs->same[0]) == 0 || (pairs->same[1] && strcmp(word, pairs->same[1]) == 0))
        *preference = PREFER_SAME;
    else
        return error_set(err, "%s: row %zu: '%s' is '%s', none of '%s', '%s' and '%s'", place.path, place.row,
                         field, word, pairs->first, pairs->second, pairs->same[0]);
    return STATUS_OK;
}

static enum status add_pair(const struct benchmark *benchmark, const json_t *row, struct place place,
                            struct benchmark_pair_list *pairs, struct error *err) {
    enum status status =
        memory_grow(&pairs->list, &pairs->capacity, pairs->count + 1, sizeof *pairs->list, "pairs", err);
    if (status != STATUS_OK) return status;
    struct benchmark_pair *pair = &pairs->list[pairs->count++];
    *pair = (struct benchmark_pair){.number = place.row};
    for (int which = 0; which < 2; which++) {
        const char *file, *model;
        status = pair_video(benchmark, row, which, &file, &model, place, err);
        if (status != STATUS_OK) return status;
        struct name_part stem = video_stem(file);
        if (asprintf(&pair->videos[which], "%s%s%.*s", model ? model : "", model ? "_" : "", (int)stem.length,
                     stem.start) < 0) {
            pair->videos[which] = NULL;
            return error_set(err, "%s: out of memory", place.path);
        }
    }
    for (int a = 0; a < PAIR_ASPECTS && status == STATUS_OK; a++)
        status = read_preference(&benchmark->pairs, benchmark->pairs.preferences[a], row,
                                 &pair->preferences[a], place, err);
    return status;
}

enum status benchmark_pairs_read(const struct benchmark *benchmark, const char *path,
                                 struct benchmark_pair_list *pairs, struct error *err) {
    *pairs = (struct benchmark_pair_list){0};
    if (!benchmark_has_pairs(benchmark)) return error_usage(err, "%s has no pairs", benchmark->title);
    json_t *rows = read_rows(path, err);
    if (!rows) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < json_array_size(rows) && status == STATUS_OK; i++) {
        const json_t *row = json_array_get(rows, i);
        status = json_is_object(row) ? add_pair(benchmark, row, (struct place){path, i + 1}, pairs, err)
                                     : error_set(err, "%s: row %zu: not an object", path, i + 1);
    }
    json_decref(rows);
    if (status != STATUS_OK) benchmark_pairs_free(pairs);
    return status;
}

void benchmark_pairs_free(struct benchmark_pair_list *pairs) {
    for (size_t i = 0; i < pairs->count; i++) {
        free(pairs->list[i].videos[0]);
        free(pairs->list[i].videos[1]);
    }
    free(pairs->list);
    *pairs = (struct benchmark_pair_list){0};
}
