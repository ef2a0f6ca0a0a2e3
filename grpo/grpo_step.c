/* The gradients of an optimizer step. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "grpo/completions.h"
#include "grpo/group_passes.h"
#include "grpo/grpo_run.h"

/* ---- Micro-batches ----------------------------------------------------------------------------------- */

/* A step: its groups, and what the losses of its micro-batches are weighed by. */
struct learning {
    struct grpo *grpo;
    const struct grpo_position *at;
    struct loss_counts *batches; /* of each micro-batch of the step */
    int64_t batch_count;
    struct grpo_list own;
    int64_t *batch_of; /* [own.count]: which micro-batch */
    struct group_passes passes;
    struct loss_sequence *sequences; /* [most completions of a group] */
    int64_t first, count;            /* groups of the pass that runs, in passes */
    struct loss_sums sums;
};

static void learning_free(struct learning *learning) {
    free(learning->batches);
    free(learning->batch_of);
    free(learning->sequences);
    grpo_list_free(&learning->own);
    group_passes_free(&learning->passes);
}

static bool is_masked(const struct grpo *grpo, const struct grpo_completion *completion) {
    return grpo->run.config->grpo.mask_truncated_completions && completion->truncated;
}

static int64_t group_tokens(const struct grpo *grpo, const struct grpo_group *group) {
    int64_t tokens = 0;
    for (int64_t c = 0; c < group->count; c++)
        if (!is_masked(grpo, &group->completions[c])) tokens += group->completions[c].count;
    return tokens;
}

/* What weights depend on. The run divides by the micro-batches that hold something, so their number is 1
 * here; a step's tokens are, as in TRL, its micro-batches' share of those of the generation. */
static enum status count_batches(struct learning *learning, struct error *err) {
    const struct grpo *grpo = learning->grpo;
    const struct generation *generation = grpo->generation;
    int64_t size = grpo->run.config->per_device_train_batch_size, all_tokens = 0, all_batches = 0, used = 0;
    int64_t begin = generation->starts[learning->at->step], end = generation->starts[learning->at->step + 1];
    learning->batch_count = (end - begin + size - 1) / size;
    learning->batches = memory_new((size_t)learning->batch_count, sizeof *learning->batches, "a step", err);
    if (!learning->batches) return STATUS_FAILED;
    for (int64_t s = 0; s < generation->steps; s++)
        for (int64_t i = generation->starts[s], last = -1; i < generation->starts[s + 1]; i++) {
            const struct grpo_group *group = &generation->groups[i];
            int64_t batch = (i - generation->starts[s]) / size, tokens = group_tokens(grpo, group);
            if (group->count == 0) continue;
            bool begins = batch != last;
            all_tokens += tokens;
            all_batches += begins;
            last = batch;
            if (s != learning->at->step) continue;
            used += begins;
            learning->batches[batch].sequences += group->count;
            learning->batches[batch].tokens += tokens;
        }
    double step_tokens = all_batches > 0 ? (double)all_tokens * (double)used / (double)all_batches : 0;
    for (int64_t b = 0; b < learning->batch_count; b++) {
        learning->batches[b].micro_batches = 1;
        learning->batches[b].step_tokens = used > 0 ? step_tokens / (double)used : 0;
    }
    return STATUS_OK;
}

/* The groups of the step that are this process's, as passes take them. */
static enum status choose(struct learning *learning, struct error *err) {
    struct grpo *grpo = learning->grpo;
    const struct generation *generation = grpo->generation;
    int64_t begin = generation->starts[learning->at->step], end = generation->starts[learning->at->step + 1];
    int64_t most = 0, size = grpo->run.config->per_device_train_batch_size;
    const char *what = "a step";
    if (!(learning->own.groups = memory_new((size_t)(end - begin), sizeof(struct grpo_group *), what, err)) ||
        !(learning->batch_of = memory_new((size_t)(end - begin), sizeof *learning->batch_of, what, err)))
        return STATUS_FAILED;
    for (int64_t i = begin; i < end; i++) {
        struct grpo_group *group = &generation->groups[i];
        if (group->count == 0 || !group->prompt) continue;
        if (group->count > most) most = group->count;
        learning->batch_of[learning->own.count] = (i - begin) / size;
        learning->own.groups[learning->own.count++] = group;
    }
    learning->sequences = memory_new((size_t)most, sizeof *learning->sequences, what, err);
    if (!learning->sequences) return STATUS_FAILED;
    return group_passes_make(&learning->passes, learning->own.groups, learning->own.count, err);
}

/* ---- The loss ---------------------------------------------------------------------------------------- */

/* The loss of one group; arrays are those of its values. */
static void derive_group(struct learning *learning, int64_t number, const float *logprob,
                         const float *entropy, float *d_logprob, float *d_entropy) {
    const struct grpo *grpo = learning->grpo;
    const struct grpo_group *group = learning->passes.list[number];
    for (int64_t c = 0, at = 0; c < group->count; at += group->completions[c++].count) {
        struct grpo_completion *completion = &group->completions[c];
        learning->sequences[c] = (struct loss_sequence){
            .count = completion->count,
            .advantage = completion->advantage,
            .masked = is_masked(grpo, completion),
            .logprob = logprob + at,
            .old_logprob = completion->old_logprob,
            .reference = completion->reference,
            .rollout = isnan(grpo->loss.importance_cap) ? NULL : completion->rollout,
            .entropy = entropy + at,
            .d_logprob = d_logprob + at,
            .d_entropy = d_entropy ? d_entropy + at : NULL,
        };
        if (learning->at->iteration > 0) continue;
        completion->logprob_sum = 0;
        for (int64_t t = 0; t < completion->count; t++) completion->logprob_sum += (double)logprob[at + t];
    }
    loss_compute(&grpo->loss, &learning->batches[learning->batch_of[number]], learning->sequences,
                 group->count, &learning->sums);
}

static enum status derive(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *err) {
    struct learning *learning = context;
    (void)err;
    for (int64_t g = 0, at = 0; g < learning->count; g++) {
        int64_t number = learning->first + g;
        derive_group(learning, number, logprob + at, entropy + at, d_logprob + at,
                     d_entropy ? d_entropy + at : NULL);
        at += pass_group_values(&learning->passes.groups[number], 1);
    }
    return STATUS_OK;
}

/* The pass that is about to run is followed by one over these groups. */
static void announce(struct learning *learning, int64_t first) {
    const struct grpo *grpo = learning->grpo;
    const struct group_passes *passes = &learning->passes;
    if (first >= passes->count) return;
    int64_t count = group_passes_take(passes, first, grpo->run.config->grpo.pass_tokens);
    for (int64_t g = first; g < first + count; g++)
        pass_announce(grpo->run.runner, &passes->groups[g].visuals);
}

static enum status run_passes(struct learning *learning, struct run_step *step, struct error *err) {
    struct grpo *grpo = learning->grpo;
    const struct group_passes *passes = &learning->passes;
    const struct pass_loss loss = {.derive = derive,
                                   .context = learning,
                                   .reads_entropy = true,
                                   .derives_entropy = grpo->loss.entropy_coef > 0};
    double start = clock_seconds();
    enum status status = STATUS_OK;
    while (status == STATUS_OK && learning->first < passes->count) {
        const struct pass_group *groups = &passes->groups[learning->first];
        learning->count = group_passes_take(passes, learning->first, grpo->run.config->grpo.pass_tokens);
        for (int64_t g = 0; g < learning->count; g++) {
            step->sequences += groups[g].completion_count;
            step->tokens += pass_group_tokens(&groups[g], false);
        }
        step->labels += pass_group_values(groups, learning->count);
        announce(learning, learning->first + learning->count);
        if (learning->first + learning->count == passes->count) optimizer_last_pass(&grpo->run.optimizer);
        status = pass_groups_train(grpo->run.runner, groups, learning->count, grpo_reading(grpo), &loss, err);
        learning->first += learning->count;
    }
    grpo->seconds.policy += clock_seconds() - start;
    step->loss = learning->sums.loss;
    return status;
}

/* Adds the gradients of the step, and what was seen. */
static enum status learn(struct grpo *grpo, const struct grpo_position *at, struct run_step *step,
                         struct loss_sums *sums, struct error *err) {
    struct learning learning = {.grpo = grpo, .at = at, .sums = loss_sums_start()};
    const int64_t *starts = grpo->generation->starts;
    enum status status = count_batches(&learning, err);
    if (status == STATUS_OK) status = choose(&learning, err);
    if (status == STATUS_OK) status = run_passes(&learning, step, err);
    for (int64_t b = 0; status == STATUS_OK && b < learning.batch_count; b++) {
        int64_t slot = starts[at->step] + b * grpo->run.config->per_device_train_batch_size;
        step->micro_batches += learning.batches[b].sequences > 0 && grpo_owns(grpo, starts, at->step, slot);
    }
    *sums = learning.sums;
    learning_free(&learning);
    status = run_end_passes(&grpo->run, true, status, err);
    if (status == STATUS_OK) status = grpo_join_sums(grpo, sums, err);
    if (status == STATUS_OK) status = grpo_join_logprob_sums(grpo, at, err);
    return status;
}

/* ---- What follows ------------------------------------------------------------------------------------ */

/* Removes what an earlier run left, when the first step of this session is done. */
static enum status write_completions(struct grpo *grpo, const struct grpo_position *at, struct error *err) {
    const struct train_config *config = grpo->run.config;
    const struct generation *generation = grpo->generation;
    const struct completions_settings settings = {
        .output_dir = config->output_dir,
        .rows = grpo->problems.rows,
        .tokenizer = grpo->run.tokenizer,
        .rewards = &grpo->rewards,
        .logprobs = !isnan(grpo->loss.importance_cap),
    };
    if (!run_leads(&grpo->run) || !config->grpo.log_completions) return STATUS_OK;
    int64_t step = grpo->run.position.step;
    enum status status = grpo->cleaned ? STATUS_OK : completions_clean(config->output_dir, step, err);
    grpo->cleaned = true;
    if (status != STATUS_OK || at->iteration > 0) return status;
    int64_t first = generation->starts[at->step];
    return completions_write(&settings, step + 1, generation->groups + first,
                             generation->starts[at->step + 1] - first, err);
}

/* Whether no group of the step tells its completions apart. */
static bool is_flat(const struct generation *generation, const struct grpo_position *at) {
    bool flat = true;
    for (int64_t i = generation->starts[at->step]; i < generation->starts[at->step + 1]; i++)
        flat = flat && grpo_group_is_flat(&generation->groups[i]);
    return flat;
}

/* Whether there is still sense in going on. */
static enum status check(struct grpo *grpo, const struct grpo_position *at, const struct loss_sums *sums,
                         struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    long long step = (long long)grpo->run.position.step + 1;
    double kl = loss_statistics(sums).kl_completion;
    if (kl > config->max_kl)
        return error_set(err,
                         "step %lld: the mean KL divergence from the reference model is %g, more than max_kl "
                         "(%g); the last checkpoint is as it was",
                         step, kl, config->max_kl);
    grpo->flat_steps = is_flat(grpo->generation, at) ? grpo->flat_steps + 1 : 0;
    if (config->max_zero_std_steps == 0 || grpo->flat_steps < config->max_zero_std_steps) return STATUS_OK;
    return error_set(
        err,
        "step %lld: in %lld steps in a row (max_zero_std_steps) all completions of each prompt "
        "had the same reward, so that nothing could be learned; the last checkpoint is as it was",
        step, (long long)grpo->flat_steps);
}

/* Moves on; the last step of a generation drops it, and the last one of an epoch ends that. */
static void move_on(struct grpo *grpo, const struct grpo_position *at) {
    struct run_position *position = &grpo->run.position;
    if (at->step == at->steps - 1 && at->iteration == grpo->run.config->grpo.num_iterations - 1) {
        generation_free(grpo->generation);
        grpo->generation = NULL;
    }
    if (++position->batch < grpo->run.batches) return;
    prompt_stream_stop(grpo->stream);
    grpo->stream = NULL;
    position->epoch++;
    position->batch = 0;
}

static enum status sync_reference(struct grpo *grpo, struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    int64_t step = grpo->run.position.step;
    if (!config->sync_ref_model || step == 0 || step % config->ref_model_sync_steps != 0) return STATUS_OK;
    return reference_sync(&grpo->reference, &grpo->run.optimizer, config->ref_model_mixup_alpha, err);
}

enum status grpo_gradients(void *context, struct run_step *step, struct error *err) {
    struct grpo *grpo = context;
    const struct grpo_position at = grpo_position(grpo);
    struct loss_sums sums;
    grpo->seconds = (struct grpo_seconds){0};
    enum status status = run_agree(&grpo->run, sync_reference(grpo, err), err);
    if (status == STATUS_OK && !grpo->generation) status = grpo_generate(grpo, &at, err);
    if (status == STATUS_OK) status = learn(grpo, &at, step, &sums, err);
    if (status == STATUS_OK) status = grpo_add_metrics(grpo, &sums, err);
    if (status == STATUS_OK) status = write_completions(grpo, &at, err);
    if (status == STATUS_OK) status = check(grpo, &at, &sums, err);
    if (status == STATUS_OK) move_on(grpo, &at);
    return status;
}
