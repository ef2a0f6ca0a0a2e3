#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/nearest.h"
#include "base/text.h"
#include "data/dataset_file.h"
#include "data/order.h"

enum { LARGEST_INFO = 64 << 20, MOST_NAMES = 20 };

/* A data set of the list. */
struct source {
    char *name;
    struct row_format format;
    struct dataset_file file;
};

struct place {
    size_t source, line;
};

struct dataset {
    char *media_folder;
    json_t *info; /* dataset_info.json; owns the strings of the formats. NULL for a single file */
    struct source *sources;
    size_t source_count;
    struct place *rows;
    size_t row_count, row_capacity;
    struct dataset_skip *skips;
    size_t skip_count, skip_capacity;
};

/* ---- rows ---- */

static struct row_place name_place(const struct dataset *dataset, struct place place) {
    return (struct row_place){.name = dataset->sources[place.source].name, .number = (int64_t)place.line + 1};
}

/* Takes one row of a file, as one that can be trained or as one that cannot. */
static enum status take_line(struct dataset *dataset, size_t source, size_t line, struct error *err) {
    struct place place = {source, line};
    char *problem = dataset->sources[source].file.lines[line].problem;
    if (problem) {
        if (memory_grow(&dataset->skips, &dataset->skip_capacity, dataset->skip_count + 1,
                        sizeof *dataset->skips, "rows", err) != STATUS_OK)
            return STATUS_FAILED;
        dataset->skips[dataset->skip_count++] =
            (struct dataset_skip){.place = name_place(dataset, place), .reason = problem};
        return STATUS_OK;
    }
    if (memory_grow(&dataset->rows, &dataset->row_capacity, dataset->row_count + 1, sizeof *dataset->rows,
                    "rows", err) != STATUS_OK)
        return STATUS_FAILED;
    dataset->rows[dataset->row_count++] = place;
    return STATUS_OK;
}

/* The first max_samples rows of a file (0: all). */
static enum status take_first(struct dataset *dataset, size_t source, int64_t max_samples,
                              struct error *err) {
    size_t count = dataset->sources[source].file.count;
    if (max_samples > 0 && (uint64_t)max_samples < count) count = (size_t)max_samples;
    enum status status = STATUS_OK;
    for (size_t line = 0; status == STATUS_OK && line < count; line++)
        status = take_line(dataset, source, line, err);
    return status;
}

/* num_samples: that many rows drawn from the file; each comes once before any comes again. */
static enum status take_drawn(struct dataset *dataset, size_t source, int64_t wanted, uint64_t seed,
                              struct error *err) {
    int64_t count = (int64_t)dataset->sources[source].file.count;
    int64_t *order = memory_new((size_t)count, sizeof *order, "rows", err);
    enum status status = order ? STATUS_OK : STATUS_FAILED;
    for (int64_t taken = 0; status == STATUS_OK && taken < wanted; taken++) {
        if (taken % count == 0)
            status = order_shuffle(seed, ORDER_CHOICE, (uint32_t)(taken / count), count, order, err);
        if (status == STATUS_OK) status = take_line(dataset, source, (size_t)order[taken % count], err);
    }
    free(order);
    return status;
}

/* ---- dataset_info.json ---- */

static enum status unknown_name(const json_t *info, const char *path, const char *name, struct error *err) {
    struct nearest search = nearest_start(name);
    struct text names = {0};
    const char *known;
    json_t *entry;
    size_t listed = 0;
    json_object_foreach((json_t *)info, known, entry) {
        nearest_offer(&search, known);
        if (listed < MOST_NAMES) text_format(&names, "%s%s", listed ? ", " : "", known);
        listed++;
    }
    if (listed > MOST_NAMES) text_format(&names, " and %zu more", listed - MOST_NAMES);
    error_usage(err, "%s: no data set '%s'%s%s%s; there are: %s", path, name,
                search.best ? " (did you mean '" : "", search.best ? search.best : "",
                search.best ? "'?)" : "", names.data ? names.data : "none");
    text_free(&names);
    return STATUS_USAGE;
}

/* The file of an entry; those that lie elsewhere are not fetched. */
static enum status find_file(const json_t *entry, const char *place, const char **name, struct error *err) {
    static const char *const elsewhere[] = {"hf_hub_url", "ms_hub_url",      "om_hub_url",
                                            "script_url", "cloud_file_name", NULL};
    if (json_get_string(entry, "file_name", NULL, name, place, err) != STATUS_OK) return STATUS_USAGE;
    if (*name) return STATUS_OK;
    for (int i = 0; elsewhere[i]; i++)
        if (json_object_get(entry, elsewhere[i]))
            return error_usage(err,
                               "%s: its rows are at '%s'; download them and name the file in 'file_name'",
                               place, elsewhere[i]);
    return error_usage(err, "%s: no 'file_name'", place);
}

/* Reads one named data set into the next source. */
static enum status add_named(struct dataset *dataset, const struct dataset_options *options,
                             const char *info_path, const char *name, struct error *err) {
    char place[512];
    const char *file_name;
    long long num_samples;
    struct source *source = &dataset->sources[dataset->source_count++];
    const json_t *entry = json_object_get(dataset->info, name);
    if (!entry) return unknown_name(dataset->info, info_path, name, err);
    snprintf(place, sizeof place, "%s: '%s'", info_path, name);
    if (row_format_read(entry, place, &source->format, err) != STATUS_OK ||
        find_file(entry, place, &file_name, err) != STATUS_OK ||
        json_get_integer(entry, "num_samples", 1, INT32_MAX, 0, &num_samples, place, err) != STATUS_OK)
        return STATUS_USAGE;
    source->name = memory_text(name, strlen(name), "a name", err);
    char *path = file_name[0] == '/' ? memory_text(file_name, strlen(file_name), "a path", err)
                                     : file_join(options->folder, file_name, err);
    enum status status = source->name && path ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) status = dataset_file_read(path, &source->format, &source->file, err);
    free(path);
    if (status != STATUS_OK) return status;
    if (num_samples == 0) return take_first(dataset, dataset->source_count - 1, options->max_samples, err);
    if (options->max_samples > 0 && options->max_samples < num_samples) num_samples = options->max_samples;
    return take_drawn(dataset, dataset->source_count - 1, num_samples, options->seed, err);
}

/* The names between commas, without the spaces around them. */
static enum status add_all(struct dataset *dataset, const struct dataset_options *options,
                           const char *info_path, struct error *err) {
    size_t most = 1;
    for (const char *at = options->names; *at; at++) most += *at == ',';
    dataset->sources = memory_new(most, sizeof *dataset->sources, "data sets", err);
    if (!dataset->sources) return STATUS_FAILED;
    const char *at = options->names;
    for (size_t i = 0; i < most; i++) {
        at += strspn(at, " ");
        size_t span = strcspn(at, ","), length = span;
        while (length > 0 && at[length - 1] == ' ') length--;
        if (length == 0) return error_usage(err, "'%s' is no list of data sets", options->names);
        char *name = memory_text(at, length, "a name", err);
        if (!name) return STATUS_FAILED;
        enum status status = add_named(dataset, options, info_path, name, err);
        free(name);
        if (status != STATUS_OK) return status;
        at += span + 1;
    }
    return STATUS_OK;
}

/* ---- opening ---- */

static struct dataset *dataset_new(const char *media_folder, struct error *err) {
    struct dataset *dataset = memory_new(1, sizeof *dataset, "a data set", err);
    if (!dataset) return NULL;
    dataset->media_folder = memory_text(media_folder, strlen(media_folder), "a path", err);
    if (dataset->media_folder) return dataset;
    dataset_close(dataset);
    return NULL;
}

enum status dataset_open(const struct dataset_options *options, struct dataset **dataset, struct error *err) {
    enum status status = STATUS_FAILED;
    struct dataset *opened =
        dataset_new(options->media_folder ? options->media_folder : options->folder, err);
    char *path = file_join(options->folder, "dataset_info.json", err);
    if (!opened || !path) goto err;
    opened->info = json_read_file(path, LARGEST_INFO, err);
    if (!opened->info || !json_is_object(opened->info)) {
        if (opened->info) error_usage(err, "%s: no JSON object", path);
        status = STATUS_USAGE;
        goto err;
    }
    status = add_all(opened, options, path, err);
    if (status != STATUS_OK) goto err;
    free(path);
    *dataset = opened;
    return STATUS_OK;
err:
    free(path);
    dataset_close(opened);
    return status;
}

enum status dataset_open_file(const char *path, const struct row_format *format, const char *media_folder,
                              struct dataset **dataset, struct error *err) {
    struct dataset *opened = dataset_new(media_folder, err);
    if (!opened) return STATUS_FAILED;
    opened->sources = memory_new(1, sizeof *opened->sources, "data sets", err);
    if (!opened->sources) goto err;
    opened->source_count = 1;
    opened->sources->format = *format;
    opened->sources->name = memory_text(path, strlen(path), "a path", err);
    if (!opened->sources->name || dataset_file_read(path, format, &opened->sources->file, err) != STATUS_OK ||
        take_first(opened, 0, 0, err) != STATUS_OK)
        goto err;
    *dataset = opened;
    return STATUS_OK;
err:
    dataset_close(opened);
    return STATUS_FAILED;
}

void dataset_close(struct dataset *dataset) {
    if (!dataset) return;
    for (size_t i = 0; dataset->sources && i < dataset->source_count; i++) {
        free(dataset->sources[i].name);
        dataset_file_free(&dataset->sources[i].file);
    }
    free(dataset->sources);
    free(dataset->rows);
    free(dataset->skips);
    free(dataset->media_folder);
    json_decref(dataset->info);
    free(dataset);
}

/* ---- reading ---- */

int64_t dataset_count(const struct dataset *dataset) {
    return (int64_t)dataset->row_count;
}

enum status dataset_read(const struct dataset *dataset, int64_t index, struct row *row, struct error *err) {
    const struct place place = dataset->rows[index];
    const struct source *source = &dataset->sources[place.source];
    json_t *json = dataset_file_parse(&source->file, place.line, err);
    return json ? row_read(&source->format, json, row, err) : STATUS_FAILED;
}

struct row_place dataset_place(const struct dataset *dataset, int64_t index) {
    return name_place(dataset, dataset->rows[index]);
}

char *dataset_media(const struct dataset *dataset, const char *path, struct error *err) {
    return file_find(dataset->media_folder, path, err);
}

int64_t dataset_skip_count(const struct dataset *dataset) {
    return (int64_t)dataset->skip_count;
}

const struct dataset_skip *dataset_skip(const struct dataset *dataset, int64_t index) {
    return &dataset->skips[index];
}
