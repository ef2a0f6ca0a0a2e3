#include "grpo/generation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char place[] = "the checkpoint's rollouts";

/* ---- Groups ------------------------------------------------------------------------------------------ */

static void completion_clear(struct grpo_completion *completion) {
    free(completion->tokens);
    free(completion->rewards);
    free(completion->rollout);
    free(completion->old_logprob);
    free(completion->reference);
}

void grpo_group_clear(struct grpo_group *group) {
    for (int64_t i = 0; group->completions && i < group->count; i++) completion_clear(&group->completions[i]);
    free(group->completions);
    grpo_prompt_free(group->prompt);
    *group = (struct grpo_group){.row = -1};
}

enum status grpo_group_make(struct grpo_group *group, int64_t count, struct error *err) {
    group->completions = memory_new((size_t)count, sizeof *group->completions, "completions", err);
    if (!group->completions) return STATUS_FAILED;
    group->count = count;
    for (int64_t i = 0; i < count; i++) group->completions[i].logprob_sum = NAN;
    return STATUS_OK;
}

bool grpo_group_is_flat(const struct grpo_group *group) {
    for (int64_t i = 1; i < group->count; i++)
        if (group->completions[i].reward != group->completions[0].reward) return false;
    return true;
}

/* ---- Generations ------------------------------------------------------------------------------------- */

struct generation *generation_new(const int64_t *rows, const int64_t *starts, int64_t steps,
                                  int64_t reward_count, struct error *err) {
    const char *what = "a generation";
    struct generation *generation = memory_new(1, sizeof *generation, what, err);
    if (!generation) return NULL;
    generation->reward_count = reward_count;
    int64_t slots = starts[steps] - starts[0];
    generation->starts = memory_new((size_t)steps + 1, sizeof *generation->starts, what, err);
    generation->groups = memory_new((size_t)slots, sizeof *generation->groups, what, err);
    if (!generation->starts || !generation->groups) {
        generation_free(generation);
        return NULL;
    }
    generation->steps = steps;
    for (int64_t s = 0; s <= steps; s++) generation->starts[s] = starts[s] - starts[0];
    for (int64_t i = 0; i < slots; i++) generation->groups[i].row = rows[i];
    return generation;
}

void generation_free(struct generation *generation) {
    if (!generation) return;
    for (int64_t i = 0; generation->groups && i < generation_slots(generation); i++)
        grpo_group_clear(&generation->groups[i]);
    free(generation->groups);
    free(generation->starts);
    free(generation);
}

int64_t generation_slots(const struct generation *generation) {
    return generation->starts ? generation->starts[generation->steps] : 0;
}

enum status generation_compare(struct generation *generation, enum scale_rewards scale, struct error *err) {
    int64_t slots = generation_slots(generation), all = 0, groups = 0, at = 0;
    for (int64_t i = 0; i < slots; i++) all += generation->groups[i].count;
    double *rewards = memory_new((size_t)all, 2 * sizeof *rewards, "advantages", err);
    double *advantages = rewards ? rewards + all : NULL;
    int64_t *sizes = memory_new((size_t)slots, sizeof *sizes, "advantages", err);
    enum status status = rewards && sizes ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < slots; i++) {
        const struct grpo_group *group = &generation->groups[i];
        if (group->count == 0) continue;
        sizes[groups++] = group->count;
        for (int64_t c = 0; c < group->count; c++) rewards[at++] = group->completions[c].reward;
    }
    if (status == STATUS_OK)
        status = advantage_compute(scale, rewards, sizes, groups, advantages, &generation->statistics, err);
    at = 0;
    for (int64_t i = 0; status == STATUS_OK && i < slots; i++)
        for (int64_t c = 0; c < generation->groups[i].count; c++)
            generation->groups[i].completions[c].advantage = advantages[at++];
    free(rewards);
    free(sizes);
    return status;
}

/* ---- Saving ------------------------------------------------------------------------------------------ */

static json_t *save_tokens(const int32_t *tokens, int64_t count) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++) json_array_append_new(list, json_integer(tokens[i]));
    return list;
}

static json_t *save_floats(const float *values, int64_t count) {
    if (!values) return json_null();
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++) json_array_append_new(list, json_real((double)values[i]));
    return list;
}

static json_t *save_rewards(const double *rewards, int64_t count) {
    if (!rewards) return json_null();
    json_t *list = json_array();
    for (int64_t i = 0; list && i < count; i++) json_array_append_new(list, json_real(rewards[i]));
    return list;
}

json_t *grpo_group_save(const struct grpo_group *group, int64_t reward_count) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < group->count; i++) {
        const struct grpo_completion *c = &group->completions[i];
        json_t *json = json_pack(
            "{s:o, s:b, s:f, s:o, s:o, s:o, s:o}", "tokens", save_tokens(c->tokens, c->count), "truncated",
            c->truncated, "reward", c->reward, "rewards", save_rewards(c->rewards, reward_count), "rollout",
            save_floats(c->rollout, c->count), "old_logprob", save_floats(c->old_logprob, c->count),
            "reference", save_floats(c->reference, c->count));
        if (json_array_append_new(list, json) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return json_pack("{s:I, s:o}", "row", (json_int_t)group->row, "completions", list);
}

json_t *generation_save(const struct generation *generation) {
    json_t *starts = json_array(), *groups = json_array();
    bool failed = !starts || !groups;
    for (int64_t s = 0; !failed && s <= generation->steps; s++)
        failed = json_array_append_new(starts, json_integer(generation->starts[s])) != 0;
    for (int64_t i = 0; !failed && i < generation_slots(generation); i++)
        failed = json_array_append_new(
                     groups, grpo_group_save(&generation->groups[i], generation->reward_count)) != 0;
    if (!failed) return json_pack("{s:o, s:o}", "starts", starts, "groups", groups);
    json_decref(starts);
    json_decref(groups);
    return NULL;
}

/* ---- Loading ----------------------------------------------------------------------------------------- */

static enum status load_tokens(const json_t *list, struct grpo_completion *completion, struct error *err) {
    if (!json_is_array(list)) return error_set(err, "%s: there are no tokens", place);
    completion->count = (int64_t)json_array_size(list);
    completion->tokens =
        memory_new((size_t)completion->count, sizeof *completion->tokens, "completions", err);
    if (!completion->tokens) return STATUS_FAILED;
    for (int64_t i = 0; i < completion->count; i++) {
        json_int_t token = json_integer_value(json_array_get(list, (size_t)i));
        if (token < 0 || token > INT32_MAX) return error_set(err, "%s: a token is out of range", place);
        completion->tokens[i] = (int32_t)token;
    }
    return STATUS_OK;
}

/* A list of so many numbers, or nothing. */
static enum status check_numbers(const json_t *list, int64_t count, bool *there, struct error *err) {
    *there = list && !json_is_null(list);
    if (!*there || (json_is_array(list) && (int64_t)json_array_size(list) == count)) return STATUS_OK;
    return error_set(err, "%s: a list has not %lld numbers", place, (long long)count);
}

static enum status load_floats(const json_t *list, int64_t count, float **values, struct error *err) {
    bool there;
    if (check_numbers(list, count, &there, err) != STATUS_OK) return STATUS_FAILED;
    if (!there) return STATUS_OK;
    *values = memory_new((size_t)count, sizeof **values, "log-probabilities", err);
    if (!*values) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++)
        (*values)[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    return STATUS_OK;
}

static enum status load_rewards(const json_t *list, int64_t count, double **values, struct error *err) {
    bool there;
    if (check_numbers(list, count, &there, err) != STATUS_OK) return STATUS_FAILED;
    if (!there) return STATUS_OK;
    *values = memory_new((size_t)count, sizeof **values, "rewards", err);
    if (!*values) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++) (*values)[i] = json_number_value(json_array_get(list, (size_t)i));
    return STATUS_OK;
}

static enum status load_completion(const json_t *saved, int64_t reward_count,
                                   struct grpo_completion *completion, struct error *err) {
    enum status status = load_tokens(json_object_get(saved, "tokens"), completion, err);
    int64_t count = completion->count;
    if (status == STATUS_OK)
        status = json_get_bool(saved, "truncated", false, &completion->truncated, place, err);
    if (status == STATUS_OK) status = json_get_number(saved, "reward", 0, &completion->reward, place, err);
    if (status == STATUS_OK)
        status = load_rewards(json_object_get(saved, "rewards"), reward_count, &completion->rewards, err);
    if (status == STATUS_OK)
        status = load_floats(json_object_get(saved, "rollout"), count, &completion->rollout, err);
    if (status == STATUS_OK)
        status = load_floats(json_object_get(saved, "old_logprob"), count, &completion->old_logprob, err);
    if (status == STATUS_OK)
        status = load_floats(json_object_get(saved, "reference"), count, &completion->reference, err);
    return status;
}

enum status grpo_group_load(struct grpo_group *group, const json_t *saved, int64_t reward_count,
                            struct error *err) {
    const json_t *list = json_object_get(saved, "completions");
    long long row = -1;
    enum status status = json_get_integer(saved, "row", -1, INT64_MAX, -1, &row, place, err);
    if (status == STATUS_OK && !json_is_array(list)) status = error_set(err, "%s: a group is none", place);
    if (status == STATUS_OK) status = grpo_group_make(group, (int64_t)json_array_size(list), err);
    group->row = row;
    for (int64_t i = 0; status == STATUS_OK && i < group->count; i++)
        status = load_completion(json_array_get(list, (size_t)i), reward_count, &group->completions[i], err);
    return status;
}

/* starts [steps + 1]: 0 first, never less than the one before, as many in the end as there are groups. */
static enum status load_starts(const json_t *list, size_t groups, int64_t **starts, struct error *err) {
    size_t count = json_array_size(list);
    if (count < 2) return error_set(err, "%s: there are no steps", place);
    *starts = memory_new(count, sizeof **starts, "a generation", err);
    if (!*starts) return STATUS_FAILED;
    bool good = true;
    for (size_t s = 0; s < count; s++) {
        (*starts)[s] = json_integer_value(json_array_get(list, s));
        good = good && (s == 0 ? (*starts)[s] == 0 : (*starts)[s] >= (*starts)[s - 1]);
    }
    if (good && (*starts)[count - 1] == (int64_t)groups) return STATUS_OK;
    return error_set(err, "%s: steps and groups do not match", place);
}

struct generation *generation_load(const json_t *saved, int64_t reward_count, struct error *err) {
    const json_t *groups = json_object_get(saved, "groups"), *starts = json_object_get(saved, "starts");
    struct generation *generation = NULL;
    int64_t *first = NULL, *rows = memory_new(json_array_size(groups), sizeof *rows, "a generation", err);
    enum status status = rows ? load_starts(starts, json_array_size(groups), &first, err) : STATUS_FAILED;
    if (status == STATUS_OK && first) /* always, which the analyser does not see */
        generation = generation_new(rows, first, (int64_t)json_array_size(starts) - 1, reward_count, err);
    for (int64_t i = 0; generation && status == STATUS_OK && i < generation_slots(generation); i++)
        status =
            grpo_group_load(&generation->groups[i], json_array_get(groups, (size_t)i), reward_count, err);
    free(first);
    free(rows);
    if (status == STATUS_OK) return generation;
    generation_free(generation);
    return NULL;
}
