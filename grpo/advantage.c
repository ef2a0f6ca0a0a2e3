#include "grpo/advantage.h"

#include <math.h>
#include <stddef.h>

static const double LEAST_STD = 1e-4;                     /* added to what is divided by */
static const double WRONG_REWARD = 1, CORRECT_REWARD = 2; /* Video-R1's, of accuracy and format together */

const char *const scale_rewards_names[] = {"group", "batch", "none", NULL};

bool advantage_is_flat(const double *rewards, int64_t count) {
    for (int64_t i = 1; i < count; i++)
        if (rewards[i] != rewards[0]) return false;
    return true;
}

static double mean(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

/* With n - 1; 0 where there is nothing to differ. */
static double deviation(const double *values, int64_t count) {
    if (advantage_is_flat(values, count)) return 0;
    double middle = mean(values, count), sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (values[i] - middle) * (values[i] - middle);
    return sqrt(sum / (double)(count - 1));
}

static bool all_at_most(const double *rewards, int64_t count, double most) {
    for (int64_t i = 0; i < count; i++)
        if (rewards[i] > most) return false;
    return true;
}

static bool all_at_least(const double *rewards, int64_t count, double least) {
    for (int64_t i = 0; i < count; i++)
        if (rewards[i] < least) return false;
    return true;
}

static enum status check(const double *rewards, const int64_t *sizes, int64_t groups, int64_t *all,
                         struct error *err) {
    *all = 0;
    for (int64_t group = 0; group < groups; group++)
        for (int64_t i = 0; i < sizes[group]; i++, ++*all)
            if (!isfinite(rewards[*all]))
                return error_set(err, "the reward of completion %lld of group %lld is %g", (long long)i + 1,
                                 (long long)group + 1, rewards[*all]);
    return STATUS_OK;
}

/* The advantages of one group; `std` is what to divide by, negative: nothing. */
static void fill_group(const double *rewards, int64_t count, double std, double *advantages) {
    bool flat = advantage_is_flat(rewards, count);
    double middle = flat ? 0 : mean(rewards, count);
    double scale = std < 0 ? 1 : 1 / (std + LEAST_STD);
    for (int64_t i = 0; i < count; i++) advantages[i] = flat ? 0 : (rewards[i] - middle) * scale;
}

enum status advantage_compute(enum scale_rewards scale, const double *rewards, const int64_t *sizes,
                              int64_t groups, double *advantages, struct advantage_statistics *statistics,
                              struct error *err) {
    int64_t all, at = 0;
    if (check(rewards, sizes, groups, &all, err) != STATUS_OK) return STATUS_FAILED;
    struct advantage_statistics sums = {0};
    double batch = deviation(rewards, all);
    for (int64_t group = 0; group < groups; at += sizes[group++]) {
        const double *own = rewards + at;
        double std = scale == SCALE_BATCH ? batch : deviation(own, sizes[group]);
        fill_group(own, sizes[group], scale == SCALE_NONE ? -1 : std, advantages + at);
        sums.reward_std += std;
        sums.frac_reward_zero_std += advantage_is_flat(own, sizes[group]);
        sums.all_wrong += all_at_most(own, sizes[group], WRONG_REWARD);
        sums.all_correct += all_at_least(own, sizes[group], CORRECT_REWARD);
    }
    double share = groups > 0 ? 1 / (double)groups : 0;
    *statistics = (struct advantage_statistics){.reward = all > 0 ? mean(rewards, all) : 0,
                                                .reward_std = sums.reward_std * share,
                                                .frac_reward_zero_std = sums.frac_reward_zero_std * share,
                                                .all_wrong = sums.all_wrong * share,
                                                .all_correct = sums.all_correct * share};
    return STATUS_OK;
}
