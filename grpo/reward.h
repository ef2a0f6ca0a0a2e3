/* Rewards of completions: functions by name, each with a weight.
 *
 *     accuracy       the published one, by the problem's type (grpo/problem.h)
 *     exact          1 when accuracy is 1, else 0
 *     distance       video eval: 1 - (sum of the distances of the three scores) / 12, so that nearer is
 *                    better however far; 0 when unreadable. Other types: accuracy
 *     format         1 when the completion begins with <think>...</think>
 *     format_strict  1 when it is one <think>...</think> that is not empty, and then the three lines
 *                    "(1) visual quality: V", ... of the trained answer (other types: one
 *                    <answer>...</answer> that is not empty), and nothing else but white space
 *     length         0.2 for completions of 320 to 512 tokens with accuracy above 0.1, if more than one of
 *                    the group has such an accuracy
 *     temporal       0.3 for completions with accuracy above 0.1, if the group's mean accuracy is at least
 *                    0.8 of that of completions on shuffled frames; 0 where there are none of those
 *     repetition     - the share of token trigrams that were there before (TRL: repetition_penalty_reward)
 *     truncation     -1 for a completion that was cut off
 *     cmd:PROGRAM    numbers of a program (grpo/reward_program.h)
 *
 * Published are accuracy, format with a weight of 0 (0.3 in the run without SFT), and length; the published
 * format takes no white space before <think>, but answers as SFT teaches them begin with a newline.
 * `length` and `temporal` look at the first of accuracy, exact and distance that is in the list, and at
 * accuracy when none is.
 */
#ifndef VS2_GRPO_REWARD_H
#define VS2_GRPO_REWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "grpo/rows.h"

struct reward_completion {
    const char *text; /* special tokens left out */
    size_t length;
    const int32_t *tokens; /* with the one that ended it */
    int64_t count;
    bool truncated; /* it ran to max_completion_length */
};

/* The completions of one prompt. */
struct reward_group {
    const struct grpo_row *row;
    const struct reward_completion *completions;
    int64_t count;
    const struct reward_completion *shuffled; /* on shuffled frames; none: temporal gives nothing */
    int64_t shuffled_count;
};

struct reward_kind;

struct reward {
    char *name; /* as it was written */
    const struct reward_kind *kind;
    double weight;
};

struct rewards {
    struct reward *list;
    int64_t count;
    double time_limit; /* of a program, in seconds */
};

/* Names of the table, without cmd:; ends with NULL. */
extern const char *const reward_names[];

/* Takes copies of the names; weights may be NULL (1 each). STATUS_USAGE: a name that is not there (with the
 * nearest one), twice the same, none at all; another number of weights than names; one that is not finite.
 * rewards_free frees it, also after a failure. */
enum status rewards_init(struct rewards *rewards, const char *const *names, int64_t count,
                         const double *weights, int64_t weight_count, double time_limit, struct error *err);
void rewards_free(struct rewards *rewards);

/* Whether completions on shuffled frames are looked at. */
bool rewards_want_shuffled(const struct rewards *rewards);

/* Computes all rewards of the completions of all groups: values [completions, rewards->count], in the order
 * of the groups; totals [completions], the sum of weight * value. All values are finite. It fails when memory
 * is short or a program fails twice, with what it wrote to stderr in the message. Of a program that failed
 * once `notes` gets a line to show; it may be NULL. */
enum status rewards_compute(const struct rewards *rewards, const struct reward_group *groups, int64_t count,
                            double *values, double *totals, struct text *notes, struct error *err);

/* Mean and std (n - 1; 0 of a single one) of each reward over `completions` rows of values, for the log:
 * means and stds are [rewards->count]. */
void rewards_statistics(const struct rewards *rewards, const double *values, int64_t completions,
                        double *means, double *stds);

#endif
