#include "grpo/group_passes.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum status group_passes_make(struct group_passes *passes, struct grpo_group *const *list, int64_t count,
                              struct error *err) {
    int64_t completions = 0;
    for (int64_t i = 0; i < count; i++) completions += list[i]->count;
    *passes = (struct group_passes){0};
    const char *what = "training passes";
    if (!(passes->list = memory_new((size_t)count, sizeof(struct grpo_group *), what, err)) ||
        !(passes->groups = memory_new((size_t)count, sizeof *passes->groups, what, err)) ||
        !(passes->completions = memory_new((size_t)completions, sizeof *passes->completions, what, err)))
        return STATUS_FAILED;
    struct pass_completion *next = passes->completions;
    for (int64_t i = 0; i < count; i++) {
        struct grpo_group *group = list[i];
        if (group->count == 0 || !group->prompt) continue;
        passes->list[passes->count] = group;
        passes->groups[passes->count++] = (struct pass_group){
            .tokens = group->prompt->tokens.ids,
            .count = (int64_t)group->prompt->tokens.count,
            .visuals = grpo_prompt_visuals(group->prompt, true),
            .completions = next,
            .completion_count = group->count,
        };
        for (int64_t c = 0; c < group->count; c++)
            *next++ = (struct pass_completion){group->completions[c].tokens, group->completions[c].count};
    }
    return STATUS_OK;
}

void group_passes_free(struct group_passes *passes) {
    free(passes->list);
    free(passes->groups);
    free(passes->completions);
    *passes = (struct group_passes){0};
}

int64_t group_passes_take(const struct group_passes *passes, int64_t first, int64_t tokens) {
    int64_t sum = 0, taken = 0;
    while (first + taken < passes->count) {
        sum += pass_group_tokens(&passes->groups[first + taken], false);
        if (taken > 0 && sum > tokens) break;
        taken++;
    }
    return taken;
}

/* Gives every completion of the group its part of the values. */
static enum status keep(struct grpo_group *group, const float *values,
                        float **(*member_of)(struct grpo_completion *completion), struct error *err) {
    for (int64_t c = 0; c < group->count; c++) {
        struct grpo_completion *completion = &group->completions[c];
        size_t bytes = (size_t)completion->count * sizeof *values;
        float **place = member_of(completion);
        *place = memory_new((size_t)completion->count, sizeof **place, "log-probabilities", err);
        if (!*place) return STATUS_FAILED;
        memcpy(*place, values, bytes);
        values += completion->count;
    }
    return STATUS_OK;
}

enum status group_passes_read(const struct group_passes *passes, struct pass_runner *runner,
                              struct pass_reading how, int64_t tokens,
                              float **(*member_of)(struct grpo_completion *completion), struct error *err) {
    for (int64_t first = 0, count; first < passes->count; first += count) {
        count = group_passes_take(passes, first, tokens);
        int64_t values = pass_group_values(&passes->groups[first], count);
        float *logprob = memory_new((size_t)values, sizeof *logprob, "log-probabilities", err);
        enum status status = logprob ? STATUS_OK : STATUS_FAILED;
        if (status == STATUS_OK)
            status = pass_groups_read(runner, &passes->groups[first], count, how, logprob, NULL, err);
        for (int64_t g = 0, at = 0; status == STATUS_OK && g < count; g++) {
            status = keep(passes->list[first + g], logprob + at, member_of, err);
            at += pass_group_values(&passes->groups[first + g], 1);
        }
        free(logprob);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}
