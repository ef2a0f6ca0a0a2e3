#include "eval/score_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

static double rounded(double value) {
    return round(value * 1e4) / 1e4;
}

/* As a real number, so that a column has one type. */
static json_t *real(double value) {
    return isfinite(value) ? json_real(rounded(value)) : json_null();
}

static json_t *integers(const int64_t *values, int64_t count) {
    json_t *array = json_array();
    for (int64_t i = 0; i < count && array; i++)
        if (json_array_append_new(array, json_integer(values[i])) != 0) break;
    return array;
}

static json_t *token_ids_array(const int32_t *values, int64_t count) {
    json_t *array = json_array();
    for (int64_t i = 0; i < count && array; i++)
        if (json_array_append_new(array, json_integer(values[i])) != 0) break;
    return array;
}

/* object["v" + suffix] = value; false when out of memory. */
static bool set(json_t *object, int dimension, const char *suffix, json_t *value) {
    char key[64];
    snprintf(key, sizeof(key), "%s%s", dimension_letter((enum dimension)dimension), suffix);
    return json_object_set_new(object, key, value) == 0;
}

static const char *const fields[] = {"_hard_score", "_normed_score", "_expected_score", "_confidence"};
enum { FIELDS = 4 };

/* The four fields of a dimension; those that are null are told in errors. */
static bool set_scores(json_t *object, json_t *errors, int dimension, const double values[FIELDS],
                       const char *problem) {
    for (int k = 0; k < FIELDS; k++) {
        if (!set(object, dimension, fields[k], k ? real(values[k]) : json_from_double(values[k])))
            return false;
        if (isnan(values[k]) && !set(errors, dimension, fields[k], json_string(problem))) return false;
    }
    return true;
}

static bool set_sample_scores(json_t *object, json_t *errors, const struct scores *scores) {
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct dimension_score *s = &scores->dimensions[d];
        double values[FIELDS] = {s->has_hard ? s->hard : NAN, s->has_soft ? s->normed : NAN,
                                 s->has_soft ? s->expected : NAN, s->has_soft ? s->confidence : NAN};
        if (!set_scores(object, errors, d, values, s->problem)) return false;
    }
    return true;
}

/* The text, finish and ids of one sample. */
static bool set_text(json_t *object, const struct score_sample *sample, int64_t tokens, bool token_ids) {
    return json_object_set_new(object, "output", json_stringn(sample->text, sample->length)) == 0 &&
           json_object_set_new(object, "completion_tokens", json_integer(tokens)) == 0 &&
           json_object_set_new(object, "finish",
                               json_string(sample->finish == FINISH_STOP ? "stop" : "length")) == 0 &&
           (!token_ids ||
            json_object_set_new(object, "completion_ids", token_ids_array(sample->ids, sample->count)) == 0);
}

static bool set_samples(json_t *object, const struct score_result *result, bool token_ids) {
    json_t *array = json_array();
    if (json_object_set_new(object, "samples", array) != 0) return false;
    for (int64_t i = 0; i < result->sample_count; i++) {
        const struct score_sample *sample = &result->samples[i];
        json_t *item = json_object(), *errors = json_object();
        bool done = item && errors && set_sample_scores(item, errors, &sample->scores) &&
                    set_text(item, sample, sample->count, token_ids);
        if (json_object_set_new(item, "errors", errors) != 0) done = false;
        if (json_array_append_new(array, item) != 0 || !done) return false;
    }
    return true;
}

/* The summary of several samples. */
static bool set_summary(json_t *object, json_t *errors, const struct score_result *result) {
    struct scores few[64];
    struct scores *all =
        result->sample_count <= 64 ? few : malloc((size_t)result->sample_count * sizeof *all);
    if (!all) return false;
    for (int64_t i = 0; i < result->sample_count; i++) all[i] = result->samples[i].scores;
    bool done = true;
    for (int d = 0; d < DIMENSIONS && done; d++) {
        struct score_summary s = scores_summarise(all, result->sample_count, (enum dimension)d);
        double values[FIELDS] = {s.read ? s.hard : NAN, s.normed, s.expected, s.confidence};
        const char *problem =
            s.read ? "no sample has probabilities of the digits" : "no sample could be read";
        done = set_scores(object, errors, d, values, problem) &&
               set(object, d, "_mean", real(s.read ? s.mean : NAN)) &&
               set(object, d, "_standard_error", real(s.read > 1 ? s.standard_error : NAN)) &&
               set(object, d, "_agreement", real(s.read ? s.agreement : NAN)) &&
               set(object, d, "_read", json_integer(s.read));
    }
    if (all != few) free(all);
    return done;
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* A text that may not be UTF-8 (a file name): U+FFFD for wrong bytes. */
static json_t *any_string(const char *text) {
    json_t *string = json_string(text);
    if (string) return string;
    struct text clean = {0};
    for (; *text; text++)
        text_append(&clean, (unsigned char)*text < 0x80 ? text : "\xEF\xBF\xBD",
                    (unsigned char)*text < 0x80 ? 1 : 3);
    string = clean.failed ? NULL : json_string(clean.data);
    text_free(&clean);
    return string;
}

static bool set_failure(json_t *object, json_t *errors, const struct score_result *result) {
    const double none[FIELDS] = {NAN, NAN, NAN, NAN};
    static const char *const missing[] = {"output", "frames", "prompt_tokens", "completion_tokens", "finish"};
    for (int d = 0; d < DIMENSIONS; d++)
        if (!set_scores(object, errors, d, none, "the video was not scored")) return false;
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
        if (json_object_set_new(object, missing[i], json_null()) != 0) return false;
    return json_object_set_new(errors, "video", any_string(result->error.message)) == 0;
}

static bool set_success(json_t *object, json_t *errors, const struct score_result *result, bool token_ids) {
    bool several = result->sample_count > 1;
    int64_t tokens = 0;
    for (int64_t i = 0; i < result->sample_count; i++) tokens += result->samples[i].count;
    return (several ? set_summary(object, errors, result)
                    : set_sample_scores(object, errors, &result->samples[0].scores)) &&
           set_text(object, &result->samples[0], tokens, token_ids && !several) &&
           json_object_set_new(object, "frames", integers(result->frames, result->frame_count)) == 0 &&
           json_object_set_new(object, "prompt_tokens", json_integer(result->prompt_tokens)) == 0 &&
           (!token_ids ||
            json_object_set_new(object, "prompt_ids",
                                token_ids_array(result->prompt_ids, result->prompt_tokens)) == 0) &&
           (!several || set_samples(object, result, token_ids));
}

json_t *score_result_json(const struct score_result *result, bool token_ids, struct error *err) {
    json_t *object = json_object(), *errors = json_object();
    bool done = object && errors &&
                json_object_set_new(object, "video_name", any_string(file_name(result->video))) == 0 &&
                json_object_set_new(object, "video", any_string(result->video)) == 0 &&
                json_object_set_new(object, "prompt", any_string(result->prompt)) == 0 &&
                (result->status == STATUS_OK ? set_success(object, errors, result, token_ids)
                                             : set_failure(object, errors, result)) &&
                json_object_set_new(object, "seconds", real(result->seconds)) == 0;
    if (json_object_set_new(object, "errors", errors) == 0 && done) return object;
    json_decref(object);
    error_set(err, "out of memory for a result");
    return NULL;
}

char *score_json_line(const json_t *object, struct error *err) {
    char *line = json_dumps(object, JSON_REAL_PRECISION(15));
    if (!line) error_set(err, "out of memory for a result");
    return line;
}
