/* A generation: completions drawn with the same weights, which some optimizer steps then train on, more than
 * once where num_iterations says so. Its groups lie in slots, those of its first step first, and in a step
 * those of its first micro-batch first. */
#ifndef VS2_GRPO_GENERATION_H
#define VS2_GRPO_GENERATION_H

#include "grpo/advantage.h"
#include "grpo/prompt.h"

/* What was said to a prompt, and what is known of it. Log-probabilities are [count]; NULL: not wanted. */
struct grpo_completion {
    int32_t *tokens; /* [count] */
    int64_t count;   /* with the token that ended it; may be 0 in recorded ones */
    bool truncated;  /* it did not end by itself */
    double reward, advantage;
    double *rewards;    /* by name, without weights, [generation.reward_count]; NULL: recorded */
    float *rollout;     /* of the policy that drew it, in the rollout's numbers */
    float *old_logprob; /* of the same, in training's */
    float *reference;   /* of the reference model */
    double logprob_sum; /* of the policy, when it was trained on first */
};

/* A prompt and its completions. */
struct grpo_group {
    int64_t row;                /* as grpo_rows_read counts; -1: there is nothing in this slot */
    struct grpo_prompt *prompt; /* NULL: another process has it */
    struct grpo_completion *completions;
    int64_t count;
};

struct generation {
    struct grpo_group *groups; /* [starts[steps]] */
    int64_t *starts;           /* [steps + 1]: slots at which steps begin, and the number of slots */
    int64_t steps;
    int64_t reward_count;
    struct advantage_statistics statistics;
};

/* One with empty groups of these rows; starts are counted from starts[0]. generation_free frees it. NULL with
 * err set when memory is short. */
struct generation *generation_new(const int64_t *rows, const int64_t *starts, int64_t steps,
                                  int64_t reward_count, struct error *err);
void generation_free(struct generation *generation); /* NULL is fine */

int64_t generation_slots(const struct generation *generation);

/* Frees what the group holds, and leaves it as one that has nothing. */
void grpo_group_clear(struct grpo_group *group);

/* Room for `count` completions; the group must have none. */
enum status grpo_group_make(struct grpo_group *group, int64_t count, struct error *err);

/* Whether all rewards of the group are equal, or it has none. */
bool grpo_group_is_flat(const struct grpo_group *group);

/* Sets all advantages, and the statistics. */
enum status generation_compare(struct generation *generation, enum scale_rewards scale, struct error *err);

/* To and from JSON, all but the prompts and what generation_compare computes, to the last bit. Saving returns
 * NULL when memory is short; loading takes nothing that is not of the shape that saving makes. */
json_t *grpo_group_save(const struct grpo_group *group, int64_t reward_count);
enum status grpo_group_load(struct grpo_group *group, const json_t *saved, int64_t reward_count,
                            struct error *err);
json_t *generation_save(const struct generation *generation);
struct generation *generation_load(const json_t *saved, int64_t reward_count, struct error *err);

#endif
