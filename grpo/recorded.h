/* Recorded rollouts: completions and rewards of a file, to train from instead of sampling.
 *
 *     {"step": 1, "problem_id": "7", "completion_ids": [198, ...], "reward": 0.7}
 *
 * is a completion. Lines of one step and problem_id that follow each other are a group; steps never become
 * smaller, and what they are called is of no matter: those of the first step in the file are trained on
 * first. What GRPO writes as completions/step_N.jsonl is such a file, and so are all of them together.
 *   "completion"     instead of "completion_ids": the text, whose tokens end with the first stop token
 *   "logprobs"       of the tokens when they were drawn, for importance_sampling_cap
 * Completions whose ids do not end with a stop token count as truncated. Other members are not looked at. */
#ifndef VS2_GRPO_RECORDED_H
#define VS2_GRPO_RECORDED_H

#include "grpo/generation.h"
#include "model/config.h"

struct recorded;

struct recorded_settings {
    const char *path;
    const struct grpo_rows *rows; /* in which the problems are found */
    const struct tokenizer *tokenizer;
    const struct generation_config *generation; /* its stop tokens */
    bool logprobs;                              /* they are wanted */
};

/* Reads and checks the file; what the settings point to must outlive it. Errors are "PATH: row N: CAUSE". */
struct recorded *recorded_open(const struct recorded_settings *settings, struct error *err);
void recorded_close(struct recorded *recorded); /* NULL is fine */

int64_t recorded_steps(const struct recorded *recorded);
const int64_t *recorded_starts(const struct recorded *recorded); /* [steps + 1]: groups at which they begin */
const int64_t *recorded_rows(const struct recorded *recorded);   /* of each group, as grpo_rows counts */

/* Fills in the completions of group `number` of the file: tokens, rewards, log-probabilities. */
enum status recorded_read(const struct recorded *recorded, int64_t number, struct grpo_group *group,
                          struct error *err);

#endif
