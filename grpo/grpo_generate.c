/* The generation that the next step begins. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/order.h"
#include "grpo/group_passes.h"
#include "grpo/grpo_run.h"

/* ---- The epoch --------------------------------------------------------------------------------------- */

/* The rows of the epoch in their order; recorded ones have but one. */
static enum status order_rows(struct grpo *grpo, struct error *err) {
    const struct train_config *config = grpo->run.config;
    const struct problem_set *set = &grpo->problems.train;
    if (grpo->recorded) return STATUS_OK;
    enum status status = order_epoch((uint64_t)config->data_seed, (uint32_t)grpo->run.position.epoch,
                                     !config->disable_shuffling, set->count, grpo->rows, err);
    for (int64_t i = 0; status == STATUS_OK && i < set->count; i++) grpo->rows[i] = set->list[grpo->rows[i]];
    return status;
}

/* Streams this process's prompts of the epoch, from the step `first` on. */
static enum status start_epoch(struct grpo *grpo, int64_t first, struct error *err) {
    const int64_t *starts = grpo->starts;
    enum status status = order_rows(grpo, err);
    int64_t left = starts[grpo->steps] - starts[first], count = 0;
    int64_t *rows = memory_new((size_t)left, sizeof *rows, "the prompts of an epoch", err);
    if (!rows) status = STATUS_FAILED;
    for (int64_t s = first; status == STATUS_OK && s < grpo->steps; s++)
        for (int64_t i = starts[s]; i < starts[s + 1]; i++)
            if (grpo_owns(grpo, starts, s, i)) rows[count++] = grpo->rows[i];
    if (status == STATUS_OK) {
        int64_t steps =
            grpo->steps - first < grpo->generation_steps ? grpo->steps - first : grpo->generation_steps;
        const struct prefetch_limits limits = grpo_limits(grpo, starts[first + steps] - starts[first]);
        grpo->stream = prompt_stream_start(&grpo->prompts, grpo->problems.rows, rows, count, &limits, err);
        if (!grpo->stream) status = STATUS_FAILED;
    }
    free(rows);
    return status;
}

/* ---- Completions ------------------------------------------------------------------------------------- */

static enum status take_prompts(struct grpo *grpo, const struct grpo_list *own, struct error *err) {
    double start = clock_seconds();
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < own->count; i++)
        status = grpo_take_prompt(grpo, &grpo->problems.train, grpo->stream, own->groups[i], err);
    grpo->seconds.prompts += clock_seconds() - start;
    return status;
}

/* Fills in the groups from the file of recorded rollouts; `first` is the number of the first slot's group. */
static enum status read_recorded(struct grpo *grpo, int64_t first, const struct grpo_list *own,
                                 struct error *err) {
    const struct grpo_group *slots = grpo->generation->groups;
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < own->count; i++)
        if (own->groups[i]->prompt)
            status = recorded_read(grpo->recorded, first + (own->groups[i] - slots), own->groups[i], err);
    return status;
}

/* ---- Dynamic sampling -------------------------------------------------------------------------------- */

/* Prompts that may stand in for others. */
struct spares {
    int64_t *order; /* [count]: of the training set */
    bool *used;     /* [count] of the set's numbers: it is in the generation, or was tried */
    int64_t count, next;
};

static enum status list_spares(const struct grpo *grpo, struct spares *spares, struct error *err) {
    const struct problem_set *set = &grpo->problems.train;
    const struct generation *generation = grpo->generation;
    *spares = (struct spares){.count = set->count};
    if (!(spares->order = memory_new((size_t)set->count, sizeof *spares->order, "dynamic sampling", err)) ||
        !(spares->used = memory_new((size_t)set->count, sizeof *spares->used, "dynamic sampling", err)))
        return STATUS_FAILED;
    for (int64_t i = 0; i < set->count; i++)
        for (int64_t s = 0; s < generation_slots(generation) && !spares->used[i]; s++)
            spares->used[i] = generation->groups[s].row == set->list[i];
    return order_shuffle((uint64_t)grpo->run.config->data_seed, ORDER_CHOICE,
                         (uint32_t)grpo->run.position.step, set->count, spares->order, err);
}

static void spares_free(struct spares *spares) {
    free(spares->order);
    free(spares->used);
}

/* The row of the next one, or -1. */
static int64_t take_spare(const struct grpo *grpo, struct spares *spares) {
    while (spares->next < spares->count) {
        int64_t number = spares->order[spares->next++];
        if (!spares->used[number]) return grpo->problems.train.list[number];
    }
    return -1;
}

/* Draws groups on other prompts for the slots: others [count], those of this process with completions, then
 * all of them. */
static enum status draw_others(struct grpo *grpo, struct grpo_group *others, const bool *own, int64_t count,
                               struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    struct grpo_list list = {
        .groups = memory_new((size_t)count, sizeof(struct grpo_group *), "dynamic sampling", err)};
    enum status status = list.groups ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++)
        if (own[i]) list.groups[list.count++] = &others[i];
    if (status == STATUS_OK) status = grpo_fetch(grpo, &grpo->problems.train, &list, err);
    if (status == STATUS_OK)
        status = grpo_draw(grpo, grpo->rollout, (uint64_t)grpo->run.position.step, config->num_generations,
                           &list, err);
    grpo_list_free(&list);
    status = run_agree(&grpo->run, status, err);
    return status == STATUS_OK ? grpo_join_groups(grpo, others, own, count, err) : status;
}

/* One round: each slot whose group is flat gets another prompt's, if that one is not flat as well. *flat
 * receives how many were. */
static enum status replace_flat(struct grpo *grpo, struct spares *spares, int64_t *flat, struct error *err) {
    struct generation *generation = grpo->generation;
    size_t slots = (size_t)generation_slots(generation);
    const char *what = "dynamic sampling";
    int64_t *places = memory_new(slots, sizeof *places, what, err), count = 0;
    struct grpo_group *others = memory_new(slots, sizeof *others, what, err);
    bool *own = memory_new(slots, sizeof *own, what, err);
    enum status status = places && others && own ? STATUS_OK : STATUS_FAILED;
    *flat = 0;
    for (int64_t s = 0; status == STATUS_OK && s < generation->steps; s++)
        for (int64_t i = generation->starts[s]; i < generation->starts[s + 1]; i++) {
            if (generation->groups[i].count == 0 || !grpo_group_is_flat(&generation->groups[i])) continue;
            int64_t row = take_spare(grpo, spares);
            ++*flat;
            if (row < 0) continue;
            others[count].row = row;
            own[count] = grpo_owns(grpo, generation->starts, s, i);
            places[count++] = i;
        }
    status = run_agree(&grpo->run, status, err);
    if (status == STATUS_OK && count > 0) status = draw_others(grpo, others, own, count, err);
    for (int64_t i = 0; others && i < count; i++) {
        if (status == STATUS_OK && others[i].count > 0 && !grpo_group_is_flat(&others[i])) {
            grpo_group_clear(&generation->groups[places[i]]);
            generation->groups[places[i]] = others[i];
        } else {
            grpo_group_clear(&others[i]);
        }
    }
    free(places);
    free(others);
    free(own);
    return status;
}

static enum status sample_dynamically(struct grpo *grpo, struct error *err) {
    struct spares spares;
    enum status status = run_agree(&grpo->run, list_spares(grpo, &spares, err), err);
    for (int64_t round = 0, flat = 1; status == STATUS_OK && flat > 0; round++) {
        if (round == grpo->run.config->grpo.dynamic_sampling_rounds || spares.next == spares.count) break;
        status = replace_flat(grpo, &spares, &flat, err);
    }
    spares_free(&spares);
    return status;
}

/* ---- Log-probabilities ------------------------------------------------------------------------------- */

static float **old_logprob_of(struct grpo_completion *completion) {
    return &completion->old_logprob;
}

static float **reference_of(struct grpo_completion *completion) {
    return &completion->reference;
}

/* What the policy and the reference model make of the completions, as far as the loss wants to know it. */
static enum status read_logprobs(struct grpo *grpo, const struct grpo_list *own, struct error *err) {
    int64_t tokens = grpo->run.config->grpo.pass_tokens;
    const struct pass_reading how = grpo_reading(grpo);
    struct group_passes passes;
    double start = clock_seconds();
    enum status status = group_passes_make(&passes, own->groups, own->count, err);
    if (status == STATUS_OK && grpo->reads_old)
        status = group_passes_read(&passes, grpo->run.runner, how, tokens, old_logprob_of, err);
    double middle = clock_seconds();
    if (status == STATUS_OK && grpo->reference.runner) {
        status = group_passes_read(&passes, grpo->reference.runner, how, tokens, reference_of, err);
        model_drop_pages(&grpo->reference.model); /* learning needs the memory */
    }
    grpo->seconds.old_logprob += middle - start;
    grpo->seconds.reference += clock_seconds() - middle;
    group_passes_free(&passes);
    return status;
}

/* ---- All of it --------------------------------------------------------------------------------------- */

/* Completions and rewards of this process's groups. */
static enum status complete(struct grpo *grpo, const struct grpo_position *at, struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    struct grpo_list own;
    enum status status = grpo_list_own(grpo, grpo->generation, &own, err);
    if (status == STATUS_OK) status = take_prompts(grpo, &own, err);
    if (status == STATUS_OK)
        status = grpo->recorded ? read_recorded(grpo, grpo->starts[at->first], &own, err)
                                : grpo_draw(grpo, grpo->rollout, (uint64_t)grpo->run.position.step,
                                            config->num_generations, &own, err);
    grpo_list_free(&own);
    return status;
}

/* What is to be known of them before the first step. */
static enum status measure(struct grpo *grpo, struct error *err) {
    struct grpo_list own;
    enum status status = generation_compare(grpo->generation, grpo->scale, err);
    if (status != STATUS_OK) return status;
    status = grpo_list_own(grpo, grpo->generation, &own, err);
    if (status == STATUS_OK) status = read_logprobs(grpo, &own, err);
    grpo_list_free(&own);
    return status;
}

enum status grpo_generate(struct grpo *grpo, const struct grpo_position *at, struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    enum status status = grpo->stream ? STATUS_OK : start_epoch(grpo, at->first, err);
    if (status == STATUS_OK) {
        const int64_t *starts = grpo->starts + at->first;
        grpo->generation =
            generation_new(grpo->rows + starts[0], starts, at->steps, grpo->rewards.count, err);
        if (!grpo->generation) status = STATUS_FAILED;
    }
    status = run_agree(&grpo->run, status, err);
    if (status == STATUS_OK)
        status = optimizer_gather_weights(&grpo->run.optimizer, pass_runner_arena(grpo->run.runner), err);
    if (status == STATUS_OK) status = run_agree(&grpo->run, complete(grpo, at, err), err);
    if (status == STATUS_OK) status = grpo_join_generation(grpo, err);
    if (status == STATUS_OK && config->dynamic_sampling) status = sample_dynamically(grpo, err);
    if (grpo->rollout) rollout_rest(grpo->rollout); /* learning needs the memory */
    optimizer_drop_weights(&grpo->run.optimizer);
    if (status == STATUS_OK) status = measure(grpo, err);
    status = run_end_passes(&grpo->run, false, status, err);
    if (status == STATUS_OK && grpo->reads_old) status = grpo_join_generation(grpo, err);
    return status;
}
