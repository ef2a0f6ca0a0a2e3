/* The losses of group-relative policy optimization and their gradients, on the host.
 *
 * For token t of completion i, with A its advantage, r the ratio of the probabilities that the policy gives
 * it now and gave it when it was sampled, and k the estimate of the KL divergence from the reference model:
 *
 *     l[i,t] = - correction * min(min(r, delta) A, clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta k
 *     l[i,t] = - correction * stop(min(r, epsilon_high)) A logprob + beta k                      (cispo)
 *     k = exp(x) - x - 1, x = reference - logprob clamped to [-10, 10]
 *     loss = sum of weight[i] l[i,t] - entropy_coef * (mean entropy)
 *
 * Sequence level (GSPO): r is the same for all tokens of a completion, exp(mean of logprob - old_logprob).
 * Where no old log-probabilities are given the sampling policy is the current one: r is 1 and has a gradient.
 * `correction` = min(exp(old_logprob - rollout), importance_cap) makes up for an engine whose numbers differ
 * from training's (truncated importance sampling); it has no gradient.
 *
 * The weights are TRL's, by the name of its loss_type; a step is all micro-batches that one optimizer step
 * takes, N sequences a micro-batch, masked ones counted:
 *
 *     grpo, gspo    1 / (N * tokens of the completion * micro-batches)   as published
 *     bnpo          1 / (tokens of the micro-batch * micro-batches)
 *     dr_grpo       1 / (N * max_completion_length * micro-batches)
 *     dapo, cispo   1 / tokens of the step
 *
 * Masked completions (mask_truncated_completions) have no loss and none of their tokens counts. The entropy's
 * mean is over the tokens of the micro-batch, divided by the micro-batches, whatever the loss.
 *
 *     struct loss_sums sums = loss_sums_start();
 *     for each micro-batch of the step, of counts that are known before:
 *         for each pass over some of its sequences:
 *             loss_compute(&settings, &counts, sequences, count, &sums);
 *     loss_statistics(&sums)
 *
 * Sources: TRL's GRPOTrainer (0.24; cispo and entropy_coef 1.16), and Video-R1's, which has loss_type grpo
 * with r = 1 and the clamp of x. Sums are in f64, in the order of the sequences.
 */
#ifndef VS2_GRPO_LOSS_H
#define VS2_GRPO_LOSS_H

#include <stdbool.h>
#include <stdint.h>

struct loss_kind;

/* "grpo", "bnpo", "dr_grpo", "dapo", "cispo", "gspo"; NULL: there is none of that name. */
const struct loss_kind *loss_find(const char *name);
extern const char *const loss_names[]; /* ends with NULL */

/* Whether the ratio is that of the whole sequence, whatever importance_sampling_level says: gspo. */
bool loss_is_sequence_level(const struct loss_kind *kind);

struct loss_settings {
    const struct loss_kind *kind;
    double epsilon;        /* 0.2 */
    double epsilon_high;   /* as a rule equal to epsilon; cispo: the ratio's bound itself, 5 is recommended */
    double delta;          /* bound of the ratio where the advantage is negative; 0: none */
    double beta;           /* of the KL divergence; 0: the reference is not read */
    bool sequence_level;   /* importance_sampling_level */
    double entropy_coef;   /* 0: no bonus */
    double importance_cap; /* of the correction, > 0; read where rollout numbers are given */
    int64_t max_completion_length; /* dr_grpo */
};

/* What the weights depend on. Known before any log-probability is. */
struct loss_counts {
    int64_t sequences;     /* of the micro-batch */
    int64_t tokens;        /* of the micro-batch, without masked completions */
    int64_t micro_batches; /* of the step */
    double step_tokens;    /* of the step, without masked completions: the sum over its micro-batches. Where
                              a step takes a part of what was generated, TRL takes that part of the tokens
                              of the whole generation, which need not be a whole number */
};

/* A completion. Arrays are [count]. */
struct loss_sequence {
    int64_t count; /* tokens up to and with the one that ended it; may be 0 */
    double advantage;
    bool masked;
    const float *logprob;     /* of the policy now */
    const float *old_logprob; /* of the policy that sampled, in training's numbers; NULL: the same */
    const float *reference;   /* of the reference model; may be NULL when beta is 0 */
    const float *rollout;     /* of the policy that sampled, in the rollout's numbers; NULL: no correction */
    const float *entropy;     /* of the policy now; NULL: not measured, entropy_coef must be 0 */
    float *d_logprob;         /* receives the gradient of the loss; zeros when masked */
    float *d_entropy;         /* the same; may be NULL when entropy_coef is 0 */
};

/* Numbers that were seen. */
struct loss_range {
    double sum, least, most;
    int64_t count;
};

/* What was computed, for one micro-batch or more; masked completions are not in it. */
struct loss_sums {
    double loss;                /* of these sequences, as they go into the step's */
    struct loss_range kl;       /* of tokens */
    struct loss_range kl_means; /* of completions: the means of their tokens */
    struct loss_range entropy;  /* of tokens */
    /* Shares of tokens that the clip holds below and above, by completion; and all such tokens of all tokens.
     * At sequence level a completion counts as one token. */
    struct loss_range low, high;
    int64_t clipped_low, clipped_high, ratios;
    struct loss_range ratio;      /* r */
    struct loss_range correction; /* after the cap */
    struct loss_range mismatch;   /* |old_logprob - rollout| */
};

struct loss_sums loss_sums_start(void);

/* Adds these sequences of a micro-batch to the sums, and writes their gradients. Numbers that are not finite
 * come out as a loss that is not finite. */
void loss_compute(const struct loss_settings *settings, const struct loss_counts *counts,
                  const struct loss_sequence *sequences, int64_t count, struct loss_sums *sums);

/* What TRL logs, under its names; 0 where there was nothing to measure. (At sequence level TRL's shares count
 * masked completions as unclipped ones.) */
struct loss_statistics {
    double loss;
    double kl;            /* mean over tokens */
    double kl_completion; /* mean over completions of their means, as Video-R1 logs it */
    double entropy;       /* mean over tokens */
    double clip_low_mean, clip_high_mean,
        clip_region_mean;                    /* clip_ratio/..., shares of tokens; cispo: high */
    double clip_low_min, clip_high_max;      /* the least and the most clipped completion */
    double ratio_mean, ratio_min, ratio_max; /* r */
    double correction_mean, correction_min, correction_max; /* sampling/importance_sampling_ratio/... */
    double mismatch_mean, mismatch_max;                     /* sampling/sampling_logp_difference/... */
};
struct loss_statistics loss_statistics(const struct loss_sums *sums);

#endif
