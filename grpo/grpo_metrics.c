/* What is logged of a step. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "grpo/grpo_run.h"

struct metric {
    const char *name;
    double value;
};

static enum status add_all(struct grpo *grpo, const struct metric *metrics, size_t count, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < count; i++)
        status = run_metrics_add(&grpo->run.metrics, metrics[i].name, metrics[i].value, err);
    return status;
}

/* "rewards/NAME" and what follows it. */
static enum status add_reward(struct grpo *grpo, int64_t reward, const char *suffix, double value,
                              struct error *err) {
    struct text name = {0};
    text_format(&name, "rewards/%s%s", grpo->rewards.list[reward].name, suffix);
    enum status status = text_check(&name, "metrics", err);
    if (status == STATUS_OK) status = run_metrics_add(&grpo->run.metrics, name.data, value, err);
    text_free(&name);
    return status;
}

/* The mean and standard deviation of each reward over the completions of the generation. */
static enum status add_rewards(struct grpo *grpo, int64_t completions, struct error *err) {
    const struct generation *generation = grpo->generation;
    int64_t names = grpo->rewards.count, at = 0;
    if (grpo->recorded) return STATUS_OK;
    double *values = memory_new((size_t)((completions + 2) * names), sizeof *values, "metrics", err);
    if (!values) return STATUS_FAILED;
    double *means = values + completions * names, *stds = means + names;
    for (int64_t i = 0; i < generation_slots(generation); i++)
        for (int64_t c = 0; c < generation->groups[i].count; c++, at += names)
            for (int64_t r = 0; r < names; r++)
                values[at + r] = generation->groups[i].completions[c].rewards[r];
    rewards_statistics(&grpo->rewards, values, completions, means, stds);
    enum status status = STATUS_OK;
    for (int64_t r = 0; status == STATUS_OK && r < names; r++) {
        status = add_reward(grpo, r, "", means[r], err);
        if (status == STATUS_OK) status = add_reward(grpo, r, "/std", stds[r], err);
    }
    free(values);
    return status;
}

/* What is known of the generation's completions. */
static enum status add_completions(struct grpo *grpo, struct error *err) {
    const struct generation *generation = grpo->generation;
    const struct advantage_statistics *statistics = &generation->statistics;
    double tokens = 0, least = INFINITY, most = 0, truncated = 0;
    int64_t completions = 0;
    for (int64_t i = 0; i < generation_slots(generation); i++)
        for (int64_t c = 0; c < generation->groups[i].count; c++, completions++) {
            const struct grpo_completion *completion = &generation->groups[i].completions[c];
            double length = (double)completion->count;
            tokens += length;
            least = fmin(least, length);
            most = fmax(most, length);
            truncated += completion->truncated;
        }
    if (completions == 0) return STATUS_OK;
    const struct metric metrics[] = {
        {"reward", statistics->reward},
        {"reward_std", statistics->reward_std},
        {"frac_reward_zero_std", statistics->frac_reward_zero_std},
        {"all_wrong", statistics->all_wrong},
        {"all_correct", statistics->all_correct},
        {"completion_length", tokens / (double)completions},
        {"completions/min_length", least},
        {"completions/max_length", most},
        {"completions/clipped_ratio", truncated / (double)completions},
    };
    enum status status = add_all(grpo, metrics, 2, err);
    if (status == STATUS_OK) status = add_rewards(grpo, completions, err);
    if (status != STATUS_OK) return status;
    return add_all(grpo, metrics + 2, sizeof metrics / sizeof *metrics - 2, err);
}

/* What was seen of the policy. */
static enum status add_policy(struct grpo *grpo, const struct loss_sums *sums, struct error *err) {
    const struct loss_statistics seen = loss_statistics(sums);
    const struct metric kl[] = {{"kl", seen.kl_completion}};
    const struct metric all[] = {
        {"entropy", seen.entropy},
        {"clip_ratio", seen.clip_region_mean},
        {"clip_ratio/low_mean", seen.clip_low_mean},
        {"clip_ratio/high_mean", seen.clip_high_mean},
    };
    const struct metric corrected[] = {
        {"sampling/importance_sampling_ratio/mean", seen.correction_mean},
        {"sampling/sampling_logp_difference/mean", seen.mismatch_mean},
    };
    enum status status = grpo->loss.beta > 0 ? add_all(grpo, kl, 1, err) : STATUS_OK;
    if (status == STATUS_OK) status = add_all(grpo, all, sizeof all / sizeof *all, err);
    if (status != STATUS_OK || isnan(grpo->loss.importance_cap)) return status;
    return add_all(grpo, corrected, sizeof corrected / sizeof *corrected, err);
}

enum status grpo_add_metrics(struct grpo *grpo, const struct loss_sums *sums, struct error *err) {
    const struct grpo_seconds *seconds = &grpo->seconds;
    const struct metric parts[] = {
        {"seconds/prompts", seconds->prompts},     {"seconds/rollout", seconds->rollout},
        {"seconds/rewards", seconds->rewards},     {"seconds/old_logprob", seconds->old_logprob},
        {"seconds/reference", seconds->reference}, {"seconds/policy", seconds->policy},
    };
    enum status status = add_completions(grpo, err);
    if (status == STATUS_OK) status = add_policy(grpo, sums, err);
    if (status != STATUS_OK) return status;
    return add_all(grpo, parts, sizeof parts / sizeof *parts, err);
}
