/* What was said in a step: OUTPUT_DIR/completions/step_N.jsonl, a completion a line.
 *
 *     {"step": 1, "problem_id": "7", "completion_ids": [198, ...], "text": "...", "truncated": false,
 *      "reward": 1.2, "rewards": {"accuracy": 1, ...}, "advantage": 0.9,
 *      "logp": -71.3, "old_logp": -71.3, "ref_logp": -70.9, "rollout_logp": -71.3}
 *
 * The last four are sums of log-probabilities of the completion's tokens: of the policy in the step, of the
 * policy that drew it, of the reference model, and what the rollout itself found; null where there are none.
 * With importance_sampling_cap each token's of the latter are there as "logprobs". Files are whole or not
 * there, and can be trained from again (grpo/recorded.h). */
#ifndef VS2_GRPO_COMPLETIONS_H
#define VS2_GRPO_COMPLETIONS_H

#include "grpo/generation.h"
#include "grpo/reward.h"

struct completions_settings {
    const char *output_dir;
    const struct grpo_rows *rows;
    const struct tokenizer *tokenizer;
    const struct rewards *rewards; /* the names of their values */
    bool logprobs;
};

/* Writes the file of step `step` (from 1), with the completions of these groups. */
enum status completions_write(const struct completions_settings *settings, int64_t step,
                              const struct grpo_group *groups, int64_t count, struct error *err);

/* Removes the files of steps after `step`, which an earlier run left. */
enum status completions_clean(const char *output_dir, int64_t step, struct error *err);

#endif
