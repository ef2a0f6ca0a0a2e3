#include "eval/run_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "data/query.h"
#include "model/hub.h"

/* ---- Checksums --------------------------------------------------------------------------------------- */

/* Of the whole file, or of PIECES pieces of a larger one, and of its size: training changes all weights. */
static enum status add_file(const char *path, uint32_t *checksum, struct error *err) {
    enum { SMALL = 16 << 20, PIECES = 256, PIECE = 4096 };
    struct file_map map;
    if (file_map(path, &map, err) != STATUS_OK) return STATUS_FAILED;
    *checksum = crc32c(*checksum, &map.size, sizeof map.size);
    if (map.size <= SMALL) {
        *checksum = crc32c(*checksum, map.data, map.size);
    } else {
        for (size_t i = 0; i < PIECES; i++)
            *checksum = crc32c(*checksum, map.data + (map.size - PIECE) / (PIECES - 1) * i, PIECE);
    }
    file_unmap(&map);
    return STATUS_OK;
}

/* The files of a checkpoint that scores depend on. */
static bool matters(const char *name) {
    static const char *const names[] = {
        "config.json", "generation_config.json", "tokenizer_config.json",   "tokenizer.json", "vocab.json",
        "merges.txt",  "added_tokens.json",      "preprocessor_config.json"};
    const char *ending = strrchr(name, '.');
    if (ending && strcmp(ending, ".safetensors") == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static enum status add_model(const char *folder, uint32_t *checksum, struct error *err) {
    struct folder_names names;
    enum status status = folder_list(folder, &names, err);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < names.count && status == STATUS_OK; i++) {
        if (!matters(names.names[i])) continue;
        char *path = file_join(folder, names.names[i], err);
        status = path ? add_file(path, checksum, err) : STATUS_FAILED;
        free(path);
    }
    folder_names_free(&names);
    return status;
}

struct checksums {
    uint32_t data, model, template;
};

static enum status make_checksums(const struct benchmark_run *run, struct checksums *checksums,
                                  struct error *err) {
    char *query = NULL, *folder = hub_find(run->scorer.model, err);
    *checksums = (struct checksums){0};
    enum status status = folder ? add_model(folder, &checksums->model, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = add_file(run->data, &checksums->data, err);
    if (status == STATUS_OK && !(query = query_template(run->scorer.template_file, folder, err)))
        status = STATUS_FAILED;
    if (query) checksums->template = crc32c(0, query, strlen(query));
    free(query);
    free(folder);
    return status;
}

/* ---- The record -------------------------------------------------------------------------------------- */

static json_t *number(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *hexadecimal(uint32_t checksum) {
    return json_sprintf("%08" PRIx32, checksum);
}

/* Null where it is not UTF-8. */
static json_t *path_text(const char *path) {
    json_t *text = json_string(path);
    return text ? text : json_null();
}

static const char *policy_name(const struct visual_policy *policy) {
    for (const char *const *name = visual_policy_names; *name; name++)
        if (visual_policy_find(*name) == policy) return *name;
    return "unknown";
}

static const char *compute_name(enum dtype compute) {
    return compute == DTYPE_F32 ? "f32" : compute == DTYPE_BF16 ? "bf16" : "auto";
}

/* Under the names of the options. NULL when out of memory. */
static json_t *settings_of(const struct benchmark_run *run, const struct checksums *checksums) {
    const struct scorer_settings *s = &run->scorer;
    const struct sampling_wish *sampling = &s->sampling;
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:s, s:f, s:I, s:I, s:f, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:s}",
        "benchmark", run->benchmark->name, "data", hexadecimal(checksums->data), "model",
        hexadecimal(checksums->model), "template", hexadecimal(checksums->template), "frame-policy",
        policy_name(s->visual.policy), "fps", s->visual.fps, "min-frames", (json_int_t)s->visual.min_frames,
        "max-frames", (json_int_t)s->visual.max_frames, "max-pixels", s->visual.max_pixels, "max-new-tokens",
        (json_int_t)s->max_new_tokens, "temperature", number(sampling->temperature), "top-p",
        number(sampling->top_p), "top-k",
        sampling->top_k < 0 ? json_null() : json_integer((json_int_t)sampling->top_k), "min-p",
        number(sampling->min_p), "repetition-penalty", number(sampling->repetition_penalty), "seed",
        (json_int_t)sampling->seed, "num-samples", (json_int_t)s->samples, "probabilities",
        s->raw_probabilities ? "raw" : "final", "dtype", compute_name(s->compute));
}

json_t *run_record_new(const struct benchmark_run *run, struct error *err) {
    struct checksums checksums;
    if (make_checksums(run, &checksums, err) != STATUS_OK) return NULL;
    json_t *record = json_pack("{s:o, s:{s:o, s:o, s:o, s:s}}", "settings", settings_of(run, &checksums),
                               "about", "model", path_text(run->scorer.model), "data", path_text(run->data),
                               "videos", path_text(run->videos), "version", VS2_VERSION);
    if (!record) error_set(err, "out of memory for the settings of %s", run->output);
    return record;
}

/* A value as the option takes it. */
static void append_value(struct text *text, const json_t *value) {
    if (!value || json_is_null(value))
        text_append_string(text, "the checkpoint's");
    else if (json_is_string(value))
        text_append_string(text, json_string_value(value));
    else
        json_append(text, value, false);
}

/* What a checksum is of, as an error tells that it differs; NULL: the setting is no checksum. */
static const char *contents_of(const char *key) {
    static const char *const contents[][2] = {
        {"data", "other videos or prompts"}, {"model", "another model"}, {"template", "another query"}};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++)
        if (strcmp(key, contents[i][0]) == 0) return contents[i][1];
    return NULL;
}

enum status run_record_compare(const json_t *old, const json_t *new, const char *path, struct error *err) {
    const char *key;
    json_t *value;
    const json_t *before = json_object_get(old, "settings");
    if (!json_is_object(before)) return error_set(err, "%s: its record holds no settings", path);
    json_object_foreach(json_object_get(new, "settings"), key, value) {
        const json_t *was = json_object_get(before, key);
        if (was && json_equal((json_t *)was, value)) continue;
        const char *contents = contents_of(key);
        if (contents)
            return error_set(err, "%s: what is there was made with %s: choose another file", path, contents);
        struct text text = {0};
        append_value(&text, was);
        text_append_string(&text, ", not ");
        append_value(&text, value);
        error_set(err, "%s: what is there was made with --%s %s: choose another file", path, key,
                  text.data ? text.data : "");
        text_free(&text);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}
