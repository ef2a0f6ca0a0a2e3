#include "grpo/completions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"

static const char folder_name[] = "completions";

static json_t *tokens_json(const struct grpo_completion *completion) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < completion->count; i++)
        json_array_append_new(list, json_integer(completion->tokens[i]));
    return list;
}

static json_t *logprobs_json(const struct grpo_completion *completion) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < completion->count; i++)
        json_array_append_new(list, json_from_double((double)completion->rollout[i]));
    return list;
}

static json_t *rewards_json(const struct rewards *rewards, const double *values) {
    if (!values) return json_null();
    json_t *object = json_object();
    for (int64_t r = 0; object && r < rewards->count; r++)
        json_object_set_new(object, rewards->list[r].name, json_from_double(values[r]));
    return object;
}

/* NULL: null. */
static json_t *sum_json(const float *logprobs, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; logprobs && i < count; i++) sum += (double)logprobs[i];
    return json_from_double(logprobs ? sum : NAN);
}

static enum status append_line(const struct completions_settings *settings, int64_t step, const char *id,
                               const struct grpo_completion *completion, struct text *lines,
                               struct error *err) {
    struct text words = {0};
    tokenizer_decode(settings->tokenizer, completion->tokens, (size_t)completion->count, true, &words);
    text_append_string(&words, "");
    enum status status = text_check(&words, "a completion's text", err);
    if (status != STATUS_OK) return status;
    json_t *line = json_pack(
        "{s:I, s:s, s:o, s:s%, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step", (json_int_t)step,
        "problem_id", id, "completion_ids", tokens_json(completion), "text", words.data, words.length,
        "truncated", completion->truncated, "reward", json_from_double(completion->reward), "rewards",
        rewards_json(settings->rewards, completion->rewards), "advantage",
        json_from_double(completion->advantage), "logp", json_from_double(completion->logprob_sum),
        "old_logp", sum_json(completion->old_logprob, completion->count), "ref_logp",
        sum_json(completion->reference, completion->count), "rollout_logp",
        sum_json(completion->rollout, completion->count));
    text_free(&words);
    bool failed = !line || (settings->logprobs && completion->rollout &&
                            json_object_set_new(line, "logprobs", logprobs_json(completion)) != 0);
    json_append(lines, failed ? NULL : line, false);
    text_append_string(lines, "\n");
    json_decref(line);
    return STATUS_OK;
}

static enum status append_group(const struct completions_settings *settings, int64_t step,
                                const struct grpo_group *group, struct text *lines, struct error *err) {
    struct grpo_row row;
    if (group->count == 0) return STATUS_OK;
    enum status status = grpo_rows_read(settings->rows, group->row, &row, err);
    if (status != STATUS_OK) return status;
    for (int64_t c = 0; status == STATUS_OK && c < group->count; c++)
        status = append_line(settings, step, row.id, &group->completions[c], lines, err);
    grpo_row_free(&row);
    return status;
}

enum status completions_write(const struct completions_settings *settings, int64_t step,
                              const struct grpo_group *groups, int64_t count, struct error *err) {
    struct text lines = {0};
    char name[64], *path = NULL, *folder = file_join(settings->output_dir, folder_name, err);
    enum status status = folder ? folder_make(folder, err) : STATUS_FAILED;
    text_append_string(&lines, "");
    for (int64_t i = 0; status == STATUS_OK && i < count; i++)
        status = append_group(settings, step, &groups[i], &lines, err);
    if (status == STATUS_OK) status = text_check(&lines, "the completions of a step", err);
    snprintf(name, sizeof name, "step_%lld.jsonl", (long long)step);
    if (status == STATUS_OK && !(path = file_join(folder, name, err))) status = STATUS_FAILED;
    if (status == STATUS_OK) status = file_write(path, lines.data, lines.length, err);
    text_free(&lines);
    free(path);
    free(folder);
    return status;
}

/* The step that a file of this name is of; -1: of none. */
static int64_t step_of(const char *name) {
    long long step;
    int length = 0;
    if (sscanf(name, "step_%lld.jsonl%n", &step, &length) != 1 || length == 0 || name[length]) return -1;
    return step;
}

enum status completions_clean(const char *output_dir, int64_t step, struct error *err) {
    struct folder_names names = {0};
    char *folder = file_join(output_dir, folder_name, err);
    enum status status = folder ? folder_make(folder, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = folder_list(folder, &names, err);
    for (size_t i = 0; status == STATUS_OK && i < names.count; i++) {
        if (step_of(names.names[i]) <= step) continue;
        char *path = file_join(folder, names.names[i], err);
        if (!path) status = STATUS_FAILED;
        if (path && unlink(path) != 0) status = error_set(err, "%s: it cannot be removed", path);
        free(path);
    }
    folder_names_free(&names);
    free(folder);
    return status;
}
