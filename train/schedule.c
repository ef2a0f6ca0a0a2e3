#include "train/schedule.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct schedule_kind {
    const char *name;
    bool warmup;
    double (*shape)(const struct schedule *schedule, double progress); /* factor after the warm-up; progress
                                                                          goes from 0 to 1 */
};

static double shape_constant(const struct schedule *schedule, double progress) {
    (void)schedule, (void)progress;
    return 1;
}

static double shape_linear(const struct schedule *schedule, double progress) {
    (void)schedule;
    return fmax(0, 1 - progress);
}

static double shape_cosine(const struct schedule *schedule, double progress) {
    (void)schedule;
    return fmax(0, 0.5 * (1 + cos(M_PI * progress)));
}

static double shape_cosine_min(const struct schedule *schedule, double progress) {
    double least = schedule->learning_rate > 0 ? schedule->min_learning_rate / schedule->learning_rate : 0;
    return fmax(0, 0.5 * (1 + cos(M_PI * progress)) * (1 - least) + least);
}

static const struct schedule_kind kinds[] = {
    {"linear", true, shape_linear},
    {"cosine", true, shape_cosine},
    {"constant", false, shape_constant},
    {"constant_with_warmup", true, shape_constant},
    {"cosine_with_min_lr", true, shape_cosine_min},
};

const char *const schedule_names[] = {
    "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr", NULL};

const struct schedule_kind *schedule_find(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

int64_t schedule_warmup(int64_t steps, int64_t warmup_steps, double warmup_ratio) {
    return warmup_steps > 0 ? warmup_steps : (int64_t)ceil((double)steps * warmup_ratio);
}

double schedule_rate(const struct schedule *schedule, int64_t step) {
    const struct schedule_kind *kind = schedule->kind;
    double warmup = (double)schedule->warmup_steps;
    if (kind->warmup && (double)step < warmup) return schedule->learning_rate * (double)step / warmup;
    double rest = fmax(1, (double)schedule->steps - warmup);
    return schedule->learning_rate * kind->shape(schedule, ((double)step - warmup) / rest);
}
