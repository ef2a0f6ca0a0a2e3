#include "grpo/recorded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset_file.h"

struct recorded {
    struct recorded_settings settings;
    struct dataset_file file;
    int64_t *starts; /* [steps + 1] */
    int64_t *rows;   /* [groups] */
    int64_t *lines;  /* [groups + 1]: at which groups begin */
    int64_t steps, groups;
};

/* A line of the file. Texts and lists are the JSON's. */
struct record {
    json_t *json;
    int64_t step, row;
    const json_t *ids; /* NULL: there is a text */
    const char *text;
    size_t length;
    const json_t *logprobs; /* NULL: not wanted */
    double reward;
};

/* ---- A line ------------------------------------------------------------------------------------------ */

static enum status find_problem(const struct recorded *recorded, struct record *record, struct error *err) {
    const json_t *id = json_object_get(record->json, "problem_id");
    char digits[32];
    const char *name = json_string_value(id);
    if (json_is_integer(id)) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(id));
        name = digits;
    }
    if (!name) return error_set(err, "'problem_id' is neither a text nor a whole number");
    record->row = grpo_rows_find(recorded->settings.rows, name);
    if (record->row >= 0) return STATUS_OK;
    return error_set(err, "the data set has no problem '%s' that can be trained on", name);
}

/* Whether they are in the model's vocabulary, which is larger than the tokenizer's, a pass finds out. */
static enum status check_ids(const json_t *ids, struct error *err) {
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) <= INT32_MAX)
            continue;
        return error_set(err, "item %zu of 'completion_ids' is no token", i + 1);
    }
    return STATUS_OK;
}

static enum status find_words(struct record *record, struct error *err) {
    const json_t *text = json_object_get(record->json, "completion");
    record->ids = json_object_get(record->json, "completion_ids");
    if (json_is_array(record->ids)) return check_ids(record->ids, err);
    if (record->ids && !json_is_null(record->ids)) return error_set(err, "'completion_ids' is no list");
    record->ids = NULL;
    if (!json_is_string(text)) return error_set(err, "there is neither 'completion_ids' nor 'completion'");
    record->text = json_string_value(text);
    record->length = json_string_length(text);
    return STATUS_OK;
}

static enum status find_logprobs(const struct recorded *recorded, struct record *record, struct error *err) {
    if (!recorded->settings.logprobs) return STATUS_OK;
    record->logprobs = json_object_get(record->json, "logprobs");
    if (!json_is_array(record->logprobs) || !record->ids ||
        json_array_size(record->logprobs) != json_array_size(record->ids))
        return error_set(err, "importance_sampling_cap wants 'logprobs', as many as 'completion_ids'");
    for (size_t i = 0; i < json_array_size(record->logprobs); i++)
        if (!json_is_number(json_array_get(record->logprobs, i)))
            return error_set(err, "item %zu of 'logprobs' is no number", i + 1);
    return STATUS_OK;
}

static enum status find_members(const struct recorded *recorded, struct record *record, struct error *err) {
    const json_t *step = json_object_get(record->json, "step");
    const json_t *reward = json_object_get(record->json, "reward");
    if (!json_is_object(record->json)) return error_set(err, "it is no JSON object");
    if (!json_is_integer(step)) return error_set(err, "'step' is no whole number");
    record->step = json_integer_value(step);
    if (!json_is_number(reward) || !isfinite(json_number_value(reward)))
        return error_set(err, "'reward' is no number");
    record->reward = json_number_value(reward);
    enum status status = find_problem(recorded, record, err);
    if (status == STATUS_OK) status = find_words(record, err);
    if (status == STATUS_OK) status = find_logprobs(recorded, record, err);
    return status;
}

/* json_decref(record->json) ends it, also after a failure. */
static enum status read_line(const struct recorded *recorded, int64_t line, struct record *record,
                             struct error *err) {
    *record = (struct record){.json = dataset_file_parse(&recorded->file, (size_t)line, err)};
    if (!record->json) return STATUS_FAILED;
    enum status status = find_members(recorded, record, err);
    if (status != STATUS_OK) error_prefix(err, "%s: row %lld", recorded->settings.path, (long long)line + 1);
    return status;
}

/* ---- The file ---------------------------------------------------------------------------------------- */

/* Finds where steps and groups begin. */
static enum status read_file(struct recorded *recorded, struct error *err) {
    const char *path = recorded->settings.path;
    if (dataset_file_read(path, NULL, &recorded->file, err) != STATUS_OK) return STATUS_FAILED;
    int64_t count = (int64_t)recorded->file.count, step = 0;
    recorded->starts = memory_new((size_t)count + 1, sizeof *recorded->starts, path, err);
    recorded->rows = memory_new((size_t)count, sizeof *recorded->rows, path, err);
    recorded->lines = memory_new((size_t)count + 1, sizeof *recorded->lines, path, err);
    if (!recorded->starts || !recorded->rows || !recorded->lines) return STATUS_FAILED;
    for (int64_t line = 0; line < count; line++) {
        struct record record;
        enum status status = read_line(recorded, line, &record, err);
        json_decref(record.json);
        if (status != STATUS_OK) return status;
        if (line > 0 && record.step < step)
            return error_set(err, "%s: row %lld: step %lld comes after step %lld", path, (long long)line + 1,
                             (long long)record.step, (long long)step);
        bool begins = line == 0 || record.step > step;
        if (begins) recorded->starts[recorded->steps++] = recorded->groups;
        if (begins || record.row != recorded->rows[recorded->groups - 1]) {
            recorded->lines[recorded->groups] = line;
            recorded->rows[recorded->groups++] = record.row;
        }
        step = record.step;
    }
    recorded->starts[recorded->steps] = recorded->groups;
    recorded->lines[recorded->groups] = count;
    return STATUS_OK;
}

struct recorded *recorded_open(const struct recorded_settings *settings, struct error *err) {
    struct recorded *recorded = memory_new(1, sizeof *recorded, settings->path, err);
    if (!recorded) return NULL;
    recorded->settings = *settings;
    if (read_file(recorded, err) == STATUS_OK) return recorded;
    recorded_close(recorded);
    return NULL;
}

void recorded_close(struct recorded *recorded) {
    if (!recorded) return;
    free(recorded->starts);
    free(recorded->rows);
    free(recorded->lines);
    dataset_file_free(&recorded->file);
    free(recorded);
}

int64_t recorded_steps(const struct recorded *recorded) {
    return recorded->steps;
}

const int64_t *recorded_starts(const struct recorded *recorded) {
    return recorded->starts;
}

const int64_t *recorded_rows(const struct recorded *recorded) {
    return recorded->rows;
}

/* ---- Completions ------------------------------------------------------------------------------------- */

static enum status take_text(const struct recorded *recorded, const struct record *record,
                             struct grpo_completion *completion, struct error *err) {
    const struct generation_config *generation = recorded->settings.generation;
    struct token_list tokens = {0};
    enum status status =
        tokenizer_encode(recorded->settings.tokenizer, record->text, record->length, &tokens, err);
    if (status == STATUS_OK && generation->stop_token_count > 0)
        status = token_list_push(&tokens, generation->stop_tokens[0], err);
    if (status != STATUS_OK) {
        token_list_free(&tokens);
        return status;
    }
    completion->tokens = tokens.ids;
    completion->count = (int64_t)tokens.count;
    return STATUS_OK;
}

static enum status take_ids(const struct record *record, struct grpo_completion *completion,
                            struct error *err) {
    size_t count = json_array_size(record->ids);
    completion->tokens = memory_new(count, sizeof *completion->tokens, "completions", err);
    if (!completion->tokens) return STATUS_FAILED;
    completion->count = (int64_t)count;
    for (size_t i = 0; i < count; i++)
        completion->tokens[i] = (int32_t)json_integer_value(json_array_get(record->ids, i));
    return STATUS_OK;
}

static enum status take_logprobs(const struct record *record, struct grpo_completion *completion,
                                 struct error *err) {
    if (!record->logprobs) return STATUS_OK;
    completion->rollout =
        memory_new((size_t)completion->count, sizeof *completion->rollout, "completions", err);
    if (!completion->rollout) return STATUS_FAILED;
    for (int64_t i = 0; i < completion->count; i++)
        completion->rollout[i] = (float)json_number_value(json_array_get(record->logprobs, (size_t)i));
    return STATUS_OK;
}

static bool is_truncated(const struct grpo_completion *completion,
                         const struct generation_config *generation) {
    for (int i = 0; completion->count > 0 && i < generation->stop_token_count; i++)
        if (completion->tokens[completion->count - 1] == generation->stop_tokens[i]) return false;
    return completion->count > 0;
}

static enum status take_record(const struct recorded *recorded, const struct record *record,
                               struct grpo_completion *completion, struct error *err) {
    completion->reward = record->reward;
    enum status status =
        record->ids ? take_ids(record, completion, err) : take_text(recorded, record, completion, err);
    if (status == STATUS_OK) status = take_logprobs(record, completion, err);
    completion->truncated = is_truncated(completion, recorded->settings.generation);
    return status;
}

enum status recorded_read(const struct recorded *recorded, int64_t number, struct grpo_group *group,
                          struct error *err) {
    int64_t first = recorded->lines[number], count = recorded->lines[number + 1] - first;
    enum status status = grpo_group_make(group, count, err);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        struct record record;
        status = read_line(recorded, first + i, &record, err);
        if (status == STATUS_OK) status = take_record(recorded, &record, &group->completions[i], err);
        json_decref(record.json);
    }
    return status;
}
