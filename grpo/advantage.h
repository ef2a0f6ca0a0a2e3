/* Advantages: how much better a completion's reward is than those of the other completions of its prompt.
 *
 *     advantage = (reward - mean of the group) / (std + 1e-4)
 *
 * std is with n - 1, of the group, or of all rewards of the batch, or there is no division (TRL's
 * scale_rewards). The published trainer's is "group". A group whose rewards are all equal has advantages of
 * exactly 0, and so has a group of one.
 */
#ifndef VS2_GRPO_ADVANTAGE_H
#define VS2_GRPO_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum scale_rewards { SCALE_GROUP, SCALE_BATCH, SCALE_NONE };

/* "group", "batch", "none": choices of scale_rewards by their enum; ends with NULL. */
extern const char *const scale_rewards_names[];

struct advantage_statistics {
    double reward;               /* mean over all completions */
    double reward_std;           /* mean over groups of their std; the batch's own with SCALE_BATCH */
    double frac_reward_zero_std; /* groups whose rewards are all equal */
    double all_wrong;            /* groups whose rewards are all <= 1, as Video-R1 counts them */
    double all_correct;          /* groups whose rewards are all >= 2 */
};

/* Whether there is nothing to learn from a group: all its rewards are equal. */
bool advantage_is_flat(const double *rewards, int64_t count);

/* The rewards of group g are sizes[g] numbers, one group after another; the advantages lie in the same order.
 * A reward that is not finite is an error that names group and completion, from 1. */
enum status advantage_compute(enum scale_rewards scale, const double *rewards, const int64_t *sizes,
                              int64_t groups, double *advantages, struct advantage_statistics *statistics,
                              struct error *err);

#endif
