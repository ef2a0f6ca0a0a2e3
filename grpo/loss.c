#include "grpo/loss.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

static const double KL_CLAMP = 10; /* of the difference of log-probabilities */

struct loss_kind {
    const char *name;
    bool sequence_level;
    bool weighs_logprob; /* cispo: the ratio is a bounded weight of the log-probability */
    /* Of each token of a completion of `tokens`. */
    double (*weight)(const struct loss_settings *settings, const struct loss_counts *counts, int64_t tokens);
};

/* ---- Weights ----------------------------------------------------------------------------------------- */

static double at_least_one(double count) {
    return count > 1 ? count : 1;
}

static double weight_by_completion(const struct loss_settings *settings, const struct loss_counts *counts,
                                   int64_t tokens) {
    (void)settings;
    return 1 / ((double)counts->sequences * (double)tokens * (double)counts->micro_batches);
}

static double weight_by_micro_batch(const struct loss_settings *settings, const struct loss_counts *counts,
                                    int64_t tokens) {
    (void)settings, (void)tokens;
    return 1 / (at_least_one((double)counts->tokens) * (double)counts->micro_batches);
}

static double weight_by_longest(const struct loss_settings *settings, const struct loss_counts *counts,
                                int64_t tokens) {
    (void)tokens;
    return 1 / ((double)counts->sequences * (double)settings->max_completion_length *
                (double)counts->micro_batches);
}

static double weight_by_step(const struct loss_settings *settings, const struct loss_counts *counts,
                             int64_t tokens) {
    (void)settings, (void)tokens;
    return 1 / at_least_one(counts->step_tokens);
}

static const struct loss_kind kinds[] = {
    {.name = "grpo", .weight = weight_by_completion},
    {.name = "bnpo", .weight = weight_by_micro_batch},
    {.name = "dr_grpo", .weight = weight_by_longest},
    {.name = "dapo", .weight = weight_by_step},
    {.name = "cispo", .weight = weight_by_step, .weighs_logprob = true},
    {.name = "gspo", .weight = weight_by_completion, .sequence_level = true},
};

const char *const loss_names[] = {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo", NULL};

const struct loss_kind *loss_find(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

bool loss_is_sequence_level(const struct loss_kind *kind) {
    return kind->sequence_level;
}

/* ---- What was seen ----------------------------------------------------------------------------------- */

static const struct loss_range nothing_seen = {.least = INFINITY, .most = -INFINITY};

static void see(struct loss_range *range, double value) {
    range->sum += value;
    range->count++;
    if (value < range->least) range->least = value;
    if (value > range->most) range->most = value;
}

struct loss_sums loss_sums_start(void) {
    return (struct loss_sums){.kl = nothing_seen,
                              .kl_means = nothing_seen,
                              .entropy = nothing_seen,
                              .low = nothing_seen,
                              .high = nothing_seen,
                              .ratio = nothing_seen,
                              .correction = nothing_seen,
                              .mismatch = nothing_seen};
}

static double mean(const struct loss_range *range) {
    return range->count > 0 ? range->sum / (double)range->count : 0;
}

static double least(const struct loss_range *range) {
    return range->count > 0 ? range->least : 0;
}

static double most(const struct loss_range *range) {
    return range->count > 0 ? range->most : 0;
}

struct loss_statistics loss_statistics(const struct loss_sums *sums) {
    double ratios = at_least_one((double)sums->ratios);
    return (struct loss_statistics){
        .loss = sums->loss,
        .kl = mean(&sums->kl),
        .kl_completion = mean(&sums->kl_means),
        .entropy = mean(&sums->entropy),
        .clip_low_mean = (double)sums->clipped_low / ratios,
        .clip_high_mean = (double)sums->clipped_high / ratios,
        .clip_region_mean = (double)(sums->clipped_low + sums->clipped_high) / ratios,
        .clip_low_min = least(&sums->low),
        .clip_high_max = most(&sums->high),
        .ratio_mean = mean(&sums->ratio),
        .ratio_min = least(&sums->ratio),
        .ratio_max = most(&sums->ratio),
        .correction_mean = mean(&sums->correction),
        .correction_min = least(&sums->correction),
        .correction_max = most(&sums->correction),
        .mismatch_mean = mean(&sums->mismatch),
        .mismatch_max = most(&sums->mismatch),
    };
}

/* ---- A token ----------------------------------------------------------------------------------------- */

/* A part of a token's loss, and its derivatives. */
struct part {
    double value;
    double by_log_ratio; /* by log r */
    double by_logprob;   /* by the log-probability itself */
    bool low, high;      /* the clip holds it */
};

/* - min(min(r, delta) A, clip(r) A) */
static struct part clipped(const struct loss_settings *settings, double ratio, double advantage) {
    double low = 1 - settings->epsilon, high = 1 + settings->epsilon_high;
    bool over_delta = settings->delta > 0 && ratio > settings->delta;
    bool out_of_clip = ratio < low || ratio > high;
    double bounded = over_delta ? settings->delta : ratio;
    double clip = ratio < low ? low : ratio > high ? high : ratio;
    bool takes_clip = clip * advantage < bounded * advantage;
    bool held = takes_clip ? out_of_clip : over_delta;
    return (struct part){
        .value = -(takes_clip ? clip : bounded) * advantage,
        .by_log_ratio = held ? 0 : -ratio * advantage,
        .low = advantage < 0 && bounded<low, .high = advantage> 0 && bounded > high,
    };
}

/* - stop(min(r, epsilon_high)) A logprob */
static struct part weighted(const struct loss_settings *settings, double ratio, double advantage,
                            double logprob) {
    double weight = ratio > settings->epsilon_high ? settings->epsilon_high : ratio;
    return (struct part){.value = -weight * advantage * logprob,
                         .by_logprob = -weight * advantage,
                         .high = advantage > 0 && ratio > settings->epsilon_high};
}

static struct part divergence(double logprob, double reference) {
    double x = reference - logprob;
    bool clamped = x < -KL_CLAMP || x > KL_CLAMP;
    if (clamped) x = x < 0 ? -KL_CLAMP : KL_CLAMP;
    return (struct part){.value = exp(x) - x - 1, .by_logprob = clamped ? 0 : 1 - exp(x)};
}

/* ---- A sequence -------------------------------------------------------------------------------------- */

static double log_ratio(const struct loss_sequence *sequence, int64_t t) {
    return sequence->old_logprob ? (double)sequence->logprob[t] - sequence->old_logprob[t] : 0;
}

static double sequence_ratio(const struct loss_sequence *sequence) {
    double sum = 0;
    for (int64_t t = 0; t < sequence->count; t++) sum += log_ratio(sequence, t);
    return exp(sum / (double)sequence->count);
}

static double difference(const struct loss_sequence *sequence, int64_t t) {
    const float *sampled = sequence->old_logprob ? sequence->old_logprob : sequence->logprob;
    return (double)sampled[t] - sequence->rollout[t];
}

static double correction(const struct loss_settings *settings, const struct loss_sequence *sequence,
                         int64_t t) {
    if (!sequence->rollout) return 1;
    double ratio = exp(difference(sequence, t));
    return ratio > settings->importance_cap ? settings->importance_cap : ratio;
}

static double mean_correction(const struct loss_settings *settings, const struct loss_sequence *sequence) {
    double sum = 0;
    for (int64_t t = 0; t < sequence->count; t++) sum += correction(settings, sequence, t);
    return sum / (double)sequence->count;
}

/* Sums of a sequence that end in those of all. */
struct sequence_sums {
    double loss; /* before the weight */
    double kl;
    int64_t low, high, ratios;
};

static void see_ratio(const struct part *part, double ratio, struct sequence_sums *own,
                      struct loss_sums *sums) {
    see(&sums->ratio, ratio);
    own->low += part->low;
    own->high += part->high;
    own->ratios++;
}

static void see_correction(const struct loss_settings *settings, const struct loss_sequence *sequence,
                           struct loss_sums *sums) {
    if (!sequence->rollout) return;
    for (int64_t t = 0; t < sequence->count; t++) {
        see(&sums->correction, correction(settings, sequence, t));
        see(&sums->mismatch, fabs(difference(sequence, t)));
    }
}

/* Each token's loss. At sequence level the tokens share one ratio: the derivative by a token's
 * log-probability is that of the whole sequence by log r, over the number of tokens. */
static void add_tokens(const struct loss_settings *settings, const struct loss_sequence *sequence,
                       double weight, struct sequence_sums *own, struct loss_sums *sums) {
    bool shared = settings->sequence_level || settings->kind->sequence_level;
    double ratio = shared ? sequence_ratio(sequence) : 1;
    double shared_correction = shared ? mean_correction(settings, sequence) : 1;
    for (int64_t t = 0; t < sequence->count; t++) {
        if (!shared) ratio = exp(log_ratio(sequence, t));
        double corrected = correction(settings, sequence, t);
        struct part policy = settings->kind->weighs_logprob
                                 ? weighted(settings, ratio, sequence->advantage, sequence->logprob[t])
                                 : clipped(settings, ratio, sequence->advantage);
        struct part kl = {0};
        if (settings->beta != 0) kl = divergence(sequence->logprob[t], sequence->reference[t]);
        own->loss += corrected * policy.value + settings->beta * kl.value;
        sequence->d_logprob[t] =
            (float)(weight * (corrected * policy.by_logprob +
                              (shared ? shared_correction : corrected) * policy.by_log_ratio +
                              settings->beta * kl.by_logprob));
        if (!shared || t == 0) see_ratio(&policy, ratio, own, sums);
        if (settings->beta != 0) see(&sums->kl, kl.value);
        own->kl += kl.value;
    }
}

static void add_entropy(const struct loss_settings *settings, const struct loss_counts *counts,
                        const struct loss_sequence *sequence, struct loss_sums *sums) {
    if (!sequence->entropy) return;
    double weight = -settings->entropy_coef * weight_by_micro_batch(settings, counts, sequence->count);
    for (int64_t t = 0; t < sequence->count; t++) {
        see(&sums->entropy, sequence->entropy[t]);
        if (settings->entropy_coef == 0) continue;
        sums->loss += weight * sequence->entropy[t];
        sequence->d_entropy[t] = (float)weight;
    }
}

static void clear_gradients(const struct loss_sequence *sequence) {
    for (int64_t t = 0; t < sequence->count; t++) sequence->d_logprob[t] = 0;
    for (int64_t t = 0; sequence->d_entropy && t < sequence->count; t++) sequence->d_entropy[t] = 0;
}

static void add_sequence(const struct loss_settings *settings, const struct loss_counts *counts,
                         const struct loss_sequence *sequence, struct loss_sums *sums) {
    clear_gradients(sequence);
    if (sequence->masked || sequence->count == 0) return;
    double weight = settings->kind->weight(settings, counts, sequence->count);
    struct sequence_sums own = {0};
    add_tokens(settings, sequence, weight, &own, sums);
    if (settings->beta != 0) see(&sums->kl_means, own.kl / (double)sequence->count);
    add_entropy(settings, counts, sequence, sums);
    see_correction(settings, sequence, sums);
    sums->loss += weight * own.loss;
    sums->clipped_low += own.low;
    sums->clipped_high += own.high;
    sums->ratios += own.ratios;
    see(&sums->low, (double)own.low / (double)own.ratios);
    see(&sums->high, (double)own.high / (double)own.ratios);
}

void loss_compute(const struct loss_settings *settings, const struct loss_counts *counts,
                  const struct loss_sequence *sequences, int64_t count, struct loss_sums *sums) {
    assert(counts->sequences > 0 && counts->micro_batches > 0);
    for (int64_t i = 0; i < count; i++) {
        assert(settings->beta == 0 || sequences[i].reference || sequences[i].count == 0);
        assert(settings->entropy_coef == 0 || (sequences[i].entropy && sequences[i].d_entropy));
        add_sequence(settings, counts, &sequences[i], sums);
    }
}
