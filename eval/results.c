#include "eval/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"

const char *const score_kinds[] = {"as-written", "hard", "float", NULL};

/* ---- Fields of a row --------------------------------------------------------------------------------- */

/* What a field holds: one of the columns for each dimension, or one for the row. */
enum field {
    FIELD_TRUTH,
    FIELD_MODEL,
    FIELD_HARD,
    FIELD_NORMED,
    FIELD_CONFIDENCE,
    DIMENSION_FIELDS,
};

static const char *const suffixes[DIMENSION_FIELDS] = {"_score_gt", "_score_model", "_hard_score",
                                                       "_normed_score", "_confidence"};

/* The texts of a row's known fields; data is NULL where the row has no such field. */
struct fields {
    struct json_slice video_name, output, overall;
    struct json_slice values[DIMENSION_FIELDS][DIMENSIONS];
};

static bool is(struct json_slice key, const char *name) {
    return name && strlen(name) == key.length && memcmp(key.data, name, key.length) == 0;
}

/* The place for the field of that name, or NULL. */
static struct json_slice *field_of(struct fields *fields, struct json_slice key, const char *overall) {
    if (is(key, "video_name")) return &fields->video_name;
    if (is(key, "output")) return &fields->output;
    if (is(key, overall)) return &fields->overall;
    for (int d = 0; d < DIMENSIONS && key.length > 2; d++)
        if (key.data[0] == *dimension_letter((enum dimension)d) && key.data[1] == '_')
            for (int f = 0; f < DIMENSION_FIELDS; f++)
                if (is((struct json_slice){key.data + 1, key.length - 1}, suffixes[f]))
                    return &fields->values[f][d];
    return NULL;
}

/* ---- Reading one row --------------------------------------------------------------------------------- */

struct row_reader {
    struct json_reader json;
    const char *path, *overall;
    size_t number; /* of the row, from 1 */
    enum score_kind kind;
};

static bool is_null(struct json_slice value) {
    return !value.data || is(value, "null");
}

/* A number as JSON has it; NaN for null and for a field that is not there. */
static enum status read_number(const struct row_reader *reader, const char *prefix, const char *name,
                               struct json_slice value, double *number, struct error *err) {
    char copy[64], *end = copy;
    *number = NAN;
    if (is_null(value)) return STATUS_OK;
    if (value.length < sizeof copy &&
        (value.data[0] == '-' || (value.data[0] >= '0' && value.data[0] <= '9'))) {
        memcpy(copy, value.data, value.length);
        copy[value.length] = '\0';
        *number = strtod(copy, &end);
    }
    if (end != copy && !*end && isfinite(*number)) return STATUS_OK;
    return error_set(err, "%s: row %zu: '%s%s' is %s, not a number", reader->path, reader->number, prefix,
                     name, value.data[0] == '"' ? "text" : "something else");
}

/* Unescapes the text of a JSON string; free() it. */
static enum status read_string(const struct row_reader *reader, const char *name, struct json_slice value,
                               char **text, size_t *length, struct error *err) {
    struct json_reader json;
    struct json_slice string;
    if (value.data[0] != '"')
        return error_set(err, "%s: row %zu: '%s' is no text", reader->path, reader->number, name);
    json_reader_start(&json, value.data, value.length, name);
    enum status status = json_reader_string(&json, &string, err);
    if (status == STATUS_OK) {
        *text = memory_text(string.data, string.length, name, err);
        *length = string.length;
        if (!*text) status = STATUS_FAILED;
    }
    json_reader_free(&json);
    if (status != STATUS_OK) error_prefix(err, "%s: row %zu", reader->path, reader->number);
    return status;
}

/* The scores that the output says. */
static enum status read_answer(const struct row_reader *reader, struct json_slice output,
                               struct result_row *row, struct error *err) {
    char *text = NULL;
    size_t length = 0;
    struct answer answer;
    if (is_null(output)) return STATUS_OK;
    enum status status = read_string(reader, "output", output, &text, &length, err);
    if (status != STATUS_OK) return status;
    status = answer_read(text, length, &answer, err);
    for (int d = 0; d < DIMENSIONS && status == STATUS_OK; d++)
        if (answer.values[d].found) row->model[d] = row->hard[d] = answer.values[d].value;
    free(text);
    return status;
}

/* The numbers of a row; from_text: it has no field for the model's scores, but an output. */
static enum status read_scores(const struct row_reader *reader, const struct fields *fields,
                               struct result_row *row, bool *from_text, struct error *err) {
    double values[DIMENSION_FIELDS][DIMENSIONS];
    bool any = false;
    for (int f = 0; f < DIMENSION_FIELDS; f++)
        for (int d = 0; d < DIMENSIONS; d++) {
            enum status status = read_number(reader, dimension_letter((enum dimension)d), suffixes[f],
                                             fields->values[f][d], &values[f][d], err);
            if (status != STATUS_OK) return status;
            any |= (f == FIELD_MODEL || f == FIELD_HARD) && fields->values[f][d].data;
        }
    for (int d = 0; d < DIMENSIONS; d++) {
        const bool has_model = fields->values[FIELD_MODEL][d].data,
                   has_hard = fields->values[FIELD_HARD][d].data;
        if (any && !has_model && !has_hard)
            return error_set(err, "%s: row %zu: no '%s_score_model'", reader->path, reader->number,
                             dimension_letter((enum dimension)d));
        const double written = values[has_model ? FIELD_MODEL : FIELD_HARD][d];
        row->truths[d] = values[FIELD_TRUTH][d];
        row->hard[d] = values[has_hard ? FIELD_HARD : FIELD_MODEL][d];
        row->model[d] = reader->kind == SCORE_HARD ? row->hard[d]
                        : reader->kind == SCORE_FLOAT && fields->values[FIELD_NORMED][d].data
                            ? values[FIELD_NORMED][d]
                            : written;
        row->confidence[d] = values[FIELD_CONFIDENCE][d];
    }
    *from_text = !any;
    if (any) return STATUS_OK;
    if (!fields->output.data)
        return error_set(err, "%s: row %zu: neither 'v_score_model' nor 'output'", reader->path,
                         reader->number);
    return read_answer(reader, fields->output, row, err);
}

/* Notes where the known fields of the object are, and how far it goes. */
static enum status scan_row(struct row_reader *reader, struct fields *fields, struct json_slice *text,
                            struct error *err) {
    bool more;
    json_reader_peek(&reader->json);
    const char *start = reader->json.at;
    enum status status = json_reader_open(&reader->json, '{', err);
    while (status == STATUS_OK) {
        struct json_slice key, value;
        status = json_reader_next(&reader->json, '}', &more, err);
        if (status != STATUS_OK || !more) break;
        status = json_reader_key(&reader->json, &key, err);
        if (status != STATUS_OK) break;
        struct json_slice *field = field_of(fields, key, reader->overall);
        status = json_reader_skip(&reader->json, &value, err);
        if (field) *field = value;
    }
    *text = (struct json_slice){start, (size_t)(reader->json.at - start)};
    return status;
}

static enum status read_row(struct row_reader *reader, struct results *results, struct error *err) {
    struct fields fields = {0};
    struct json_slice text;
    size_t length = 0;
    bool from_text;
    enum status status = scan_row(reader, &fields, &text, err);
    if (status == STATUS_OK)
        status = memory_grow(&results->rows, &results->capacity, results->count + 1, sizeof *results->rows,
                             "results", err);
    if (status != STATUS_OK) return status;
    struct result_row *row = &results->rows[results->count++];
    *row = (struct result_row){.text = text, .model = {NAN, NAN, NAN}};
    if (is_null(fields.video_name))
        return error_set(err, "%s: row %zu: no 'video_name'", reader->path, reader->number);
    status = read_string(reader, "video_name", fields.video_name, &row->video_name, &length, err);
    if (status == STATUS_OK && (!length || strlen(row->video_name) != length))
        status = error_set(err, "%s: row %zu: 'video_name' is no name", reader->path, reader->number);
    if (status == STATUS_OK) row->stem = video_stem(row->video_name);
    if (status == STATUS_OK)
        status = read_number(reader, reader->overall ? reader->overall : "", "", fields.overall,
                             &row->overall, err);
    if (status == STATUS_OK) status = read_scores(reader, &fields, row, &from_text, err);
    if (status != STATUS_OK) return status;
    results->read_from_text += from_text;
    for (int d = 0; d < DIMENSIONS; d++) {
        const bool has = fields.values[FIELD_TRUTH][d].data != NULL;
        if (reader->number == 1) results->truth[d] = has;
        if (results->truth[d] != has)
            return error_set(err, "%s: row %zu: %s '%s_score_gt', unlike row 1", reader->path, reader->number,
                             has ? "has a" : "no", dimension_letter((enum dimension)d));
    }
    results->overall_truth |= fields.overall.data != NULL;
    return STATUS_OK;
}

/* An array of rows, or one row after another. */
static enum status read_rows(struct row_reader *reader, struct results *results, struct error *err) {
    const bool array = json_reader_peek(&reader->json) == '[';
    enum status status = array ? json_reader_open(&reader->json, '[', err) : STATUS_OK;
    for (bool more = true; status == STATUS_OK;) {
        if (array)
            status = json_reader_next(&reader->json, ']', &more, err);
        else
            more = !results->count || json_reader_peek(&reader->json) != '\0';
        if (status != STATUS_OK || !more) break;
        reader->number = results->count + 1;
        reader->json.first = true;
        status = read_row(reader, results, err);
        reader->json.first = false;
    }
    return status == STATUS_OK ? json_reader_end(&reader->json, err) : status;
}

/* ---- The whole file ---------------------------------------------------------------------------------- */

/* The name but for the ending of a video. */
static struct name_part whole_name(const char *name, struct name_part stem) {
    return (struct name_part){name, (size_t)(stem.start - name) + stem.length};
}

/* By stem, and among equal ones by whole name. */
static int compare_names(const struct result_row *a, const struct result_row *b) {
    const int order = name_part_compare(a->stem, b->stem);
    return order ? order
                 : name_part_compare(whole_name(a->video_name, a->stem), whole_name(b->video_name, b->stem));
}

static int by_name(const void *a, const void *b, void *context) {
    const struct result_row *rows = context;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const int order = compare_names(&rows[x], &rows[y]);
    return order ? order : (x > y) - (x < y);
}

/* Sorts the rows by name; the same video twice is an error. */
static enum status index_names(struct results *results, struct error *err) {
    size_t *order = results->by_name = memory_new(results->count, sizeof *order, "results", err);
    if (!order) return STATUS_FAILED;
    for (size_t i = 0; i < results->count; i++) order[i] = i;
    qsort_r(order, results->count, sizeof *order, by_name, results->rows);
    for (size_t i = 1; i < results->count; i++)
        if (compare_names(&results->rows[order[i - 1]], &results->rows[order[i]]) == 0)
            return error_set(err, "%s: row %zu: the video '%s' is in row %zu already", results->path,
                             order[i] + 1, results->rows[order[i]].video_name, order[i - 1] + 1);
    return STATUS_OK;
}

static bool all_whole(const struct results *results) {
    for (size_t i = 0; i < results->count; i++)
        for (int d = 0; d < DIMENSIONS; d++) {
            const double score = results->rows[i].model[d];
            if (!isnan(score) && score != floor(score)) return false;
        }
    return true;
}

enum status results_read(const char *path, const struct benchmark *benchmark, enum score_kind kind,
                         struct results *results, struct error *err) {
    *results = (struct results){.path = memory_text(path, strlen(path), "results", err)};
    if (!results->path || file_map(path, &results->map, err) != STATUS_OK) {
        results_free(results);
        return STATUS_FAILED;
    }
    struct row_reader reader = {
        .path = path, .kind = kind, .overall = benchmark ? benchmark->overall.fields[0] : NULL};
    const char *text = results->map.data ? (const char *)results->map.data : "";
    const size_t mark = results->map.size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    json_reader_start(&reader.json, text + mark, results->map.size - mark, path);
    enum status status = read_rows(&reader, results, err);
    json_reader_free(&reader.json);
    if (status == STATUS_OK) status = index_names(results, err);
    results->whole = kind == SCORE_HARD || (kind == SCORE_AS_WRITTEN && all_whole(results));
    if (status != STATUS_OK) results_free(results);
    return status;
}

void results_free(struct results *results) {
    for (size_t i = 0; i < results->count; i++) free(results->rows[i].video_name);
    free(results->rows);
    free(results->by_name);
    free(results->path);
    file_unmap(&results->map);
    *results = (struct results){0};
}

bool result_scored(const struct result_row *row) {
    for (int d = 0; d < DIMENSIONS; d++)
        if (isnan(row->model[d])) return false;
    return true;
}

const struct result_row *results_find(const struct results *results, const char *video_name) {
    const struct name_part stem = video_stem(video_name), whole = whole_name(video_name, stem);
    size_t low = 0, high = results->count;
    while (low < high) { /* the first whose stem is not less */
        size_t middle = low + (high - low) / 2;
        const struct result_row *row = &results->rows[results->by_name[middle]];
        if (name_part_compare(row->stem, stem) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct result_row *found = NULL;
    for (; low < results->count; low++) {
        const struct result_row *row = &results->rows[results->by_name[low]];
        if (name_part_compare(row->stem, stem) != 0) break;
        if (name_part_compare(whole_name(row->video_name, row->stem), whole) == 0) return row;
        if (!found) found = row;
    }
    return found;
}

json_t *result_row_json(const struct results *results, const struct result_row *row, struct error *err) {
    char place[512];
    snprintf(place, sizeof place, "%s: row %zu", results->path, (size_t)(row - results->rows) + 1);
    return json_read_text(row->text.data, row->text.length, place, err);
}

/* ---- Making rows ------------------------------------------------------------------------------------- */

/* row[letter + suffix] = value; false when out of memory. */
static bool set(json_t *row, int dimension, const char *suffix, json_t *value) {
    char key[64];
    snprintf(key, sizeof key, "%s%s", dimension_letter((enum dimension)dimension), suffix);
    return json_object_set_new(row, key, value) == 0;
}

/* score[letter + suffix], or NULL. */
static json_t *score_member(const json_t *score, int dimension, const char *suffix) {
    char key[64];
    snprintf(key, sizeof key, "%s%s", dimension_letter((enum dimension)dimension), suffix);
    return json_object_get(score, key);
}

static bool set_scores(json_t *row, const struct benchmark_item *item, bool truth, const json_t *score) {
    for (int d = 0; d < DIMENSIONS && truth; d++)
        if (!set(row, d, suffixes[FIELD_TRUTH], json_from_double(item->truths[d]))) return false;
    for (int d = 0; d < DIMENSIONS; d++) {
        json_t *value = score_member(score, d, "_mean"); /* of several samples */
        if (!value) value = score_member(score, d, suffixes[FIELD_HARD]);
        if (!set(row, d, suffixes[FIELD_MODEL], value ? json_incref(value) : json_null())) return false;
    }
    return true;
}

json_t *result_row_new(const struct benchmark *benchmark, const struct benchmark_items *items,
                       const struct benchmark_item *item, const json_t *score) {
    const char *key;
    json_t *value;
    json_t *row = items->pairs ? json_object() : json_copy(item->row);
    const bool named = json_is_string(json_object_get(row, "video_name"));
    bool done = (named || json_object_set_new(row, "video_name", json_string(item->name)) == 0) &&
                json_object_set_new(row, "prompt", json_string(item->prompt)) == 0 &&
                set_scores(row, item, benchmark_has_points(benchmark) && !items->pairs, score);
    json_t *output = json_object_get(score, "output");
    done = done && json_object_set_new(row, "output", output ? json_incref(output) : json_null()) == 0;
    json_object_foreach((json_t *)score, key, value) if (done && !json_object_get(row, key)) done =
        json_object_set(row, key, value) == 0;
    if (done) return row;
    json_decref(row);
    return NULL;
}
