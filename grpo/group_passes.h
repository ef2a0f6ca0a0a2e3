/* Groups as training passes take them, several to a pass. */
#ifndef VS2_GRPO_GROUP_PASSES_H
#define VS2_GRPO_GROUP_PASSES_H

#include "grpo/generation.h"

struct group_passes {
    struct grpo_group **list;            /* [count] */
    struct pass_group *groups;           /* [count]: the same, pointing into `list` and `completions` */
    struct pass_completion *completions; /* of all groups */
    int64_t count;
};

/* Takes those of the groups list[0 .. count) that are there with their prompts, which must outlive the
 * passes. group_passes_free also after a failure. */
enum status group_passes_make(struct group_passes *passes, struct grpo_group *const *list, int64_t count,
                              struct error *err);
void group_passes_free(struct group_passes *passes);

/* How many groups from `first` on share a pass of up to so many tokens: at least one. */
int64_t group_passes_take(const struct group_passes *passes, int64_t first, int64_t tokens);

/* Computes log-probabilities of all completions, each into an array of its own that member_of gives the place
 * of. */
enum status group_passes_read(const struct group_passes *passes, struct pass_runner *runner,
                              struct pass_reading how, int64_t tokens,
                              float **(*member_of)(struct grpo_completion *completion), struct error *err);

#endif
