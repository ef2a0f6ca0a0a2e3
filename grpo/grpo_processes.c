/* What the processes of a run tell each other, so that each knows all groups of a generation, and the log all
 * that was computed. A run of one exchanges nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "grpo/grpo_run.h"
#include "train/communicator.h"

/* {"NUMBER": group} of those that are this process's own, as a text. */
static char *write_groups(const struct grpo *grpo, const struct grpo_group *groups, const bool *own,
                          int64_t count, struct error *err) {
    json_t *all = json_object();
    bool failed = !all;
    for (int64_t i = 0; !failed && i < count; i++) {
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)i);
        if (own && own[i])
            failed = json_object_set_new(all, number, grpo_group_save(&groups[i], grpo->rewards.count)) != 0;
    }
    struct text text = {0};
    json_append(&text, failed ? NULL : all, false);
    json_decref(all);
    return text_take(&text, "the completions of a process", err);
}

/* Takes another process's groups. */
static enum status read_groups(const struct grpo *grpo, const char *text, struct grpo_group *groups,
                               int64_t count, struct error *err) {
    json_t *all = json_read_text(text, strlen(text), "the completions of a process", err);
    enum status status = all ? STATUS_OK : STATUS_FAILED;
    const char *number;
    const json_t *saved;
    json_object_foreach(all, number, saved) {
        long long i = strtoll(number, NULL, 10);
        if (status != STATUS_OK || i < 0 || i >= count) continue;
        grpo_group_clear(&groups[i]);
        status = grpo_group_load(&groups[i], saved, grpo->rewards.count, err);
    }
    json_decref(all);
    return status;
}

enum status grpo_join_groups(struct grpo *grpo, struct grpo_group *groups, const bool *own, int64_t count,
                             struct error *err) {
    struct communicator *processes = grpo->run.config->processes;
    int size = communicator_size(processes), rank = communicator_rank(processes);
    if (size == 1) return STATUS_OK;
    char *text = write_groups(grpo, groups, own, count, err);
    enum status status = run_agree(&grpo->run, text ? STATUS_OK : STATUS_FAILED, err);
    char **texts = status == STATUS_OK ? communicator_share(processes, text, err) : NULL;
    if (status == STATUS_OK && !texts) status = STATUS_FAILED;
    for (int r = 0; texts && r < size; r++) {
        if (status == STATUS_OK && r != rank) status = read_groups(grpo, texts[r], groups, count, err);
        free(texts[r]);
    }
    free(texts);
    free(text);
    return run_agree(&grpo->run, status, err);
}

enum status grpo_join_generation(struct grpo *grpo, struct error *err) {
    struct generation *generation = grpo->generation;
    int64_t slots = generation_slots(generation);
    if (communicator_size(grpo->run.config->processes) == 1) return STATUS_OK;
    bool *own = memory_new((size_t)slots, sizeof *own, "a generation", err);
    enum status status = run_agree(&grpo->run, own ? STATUS_OK : STATUS_FAILED, err);
    if (status == STATUS_OK && own) { /* they agree: it is there */
        for (int64_t s = 0; s < generation->steps; s++)
            for (int64_t i = generation->starts[s]; i < generation->starts[s + 1]; i++)
                own[i] = grpo_owns(grpo, generation->starts, s, i);
        status = grpo_join_groups(grpo, generation->groups, own, slots, err);
    }
    free(own);
    return status;
}

/* Sums and counts of a range; least and most stay this process's. */
static int put_range(const struct loss_range *range, double *values) {
    values[0] = range->sum;
    values[1] = (double)range->count;
    return 2;
}

static int take_range(struct loss_range *range, const double *values) {
    range->sum = values[0];
    range->count = (int64_t)values[1];
    return 2;
}

enum status grpo_join_sums(struct grpo *grpo, struct loss_sums *sums, struct error *err) {
    struct loss_range *const ranges[] = {&sums->kl,    &sums->kl_means,   &sums->entropy,
                                         &sums->ratio, &sums->correction, &sums->mismatch};
    int64_t *const counts[] = {&sums->clipped_low, &sums->clipped_high, &sums->ratios};
    enum { RANGES = sizeof ranges / sizeof *ranges, COUNTS = sizeof counts / sizeof *counts };
    double values[2 * RANGES + COUNTS];
    int count = 0;
    for (int i = 0; i < RANGES; i++) count += put_range(ranges[i], values + count);
    for (int i = 0; i < COUNTS; i++) values[count++] = (double)*counts[i];
    enum status status = communicator_sum_values(grpo->run.config->processes, values, count, err);
    if (status != STATUS_OK) return status;
    count = 0;
    for (int i = 0; i < RANGES; i++) count += take_range(ranges[i], values + count);
    for (int i = 0; i < COUNTS; i++) *counts[i] = (int64_t)values[count++];
    return STATUS_OK;
}

enum status grpo_join_logprob_sums(struct grpo *grpo, const struct grpo_position *at, struct error *err) {
    struct communicator *processes = grpo->run.config->processes;
    const struct generation *generation = grpo->generation;
    if (communicator_size(processes) == 1) return STATUS_OK;
    enum status status = STATUS_OK;
    for (int64_t i = generation->starts[at->step]; i < generation->starts[at->step + 1]; i++) {
        const struct grpo_group *group = &generation->groups[i];
        bool own = grpo_owns(grpo, generation->starts, at->step, i);
        for (int64_t c = 0; status == STATUS_OK && c < group->count; c++) {
            double *sum = &group->completions[c].logprob_sum;
            if (!own) *sum = 0;
            status = communicator_sum_values(processes, sum, 1, err);
        }
    }
    return status;
}
