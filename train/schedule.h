/* Learning rates over a run, as Hugging Face's schedulers of the same names compute them
 * (transformers/optimization.py): warm-up in a straight line, then a shape. */
#ifndef VS2_TRAIN_SCHEDULE_H
#define VS2_TRAIN_SCHEDULE_H

#include <stdint.h>

struct schedule_kind;

/* "linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"; NULL: there is none. */
const struct schedule_kind *schedule_find(const char *name);
extern const char *const schedule_names[]; /* ends with NULL */

struct schedule {
    const struct schedule_kind *kind;
    double learning_rate;     /* at its highest */
    double min_learning_rate; /* cosine_with_min_lr ends there */
    int64_t steps, warmup_steps;
};

/* The warm-up's steps: `warmup_steps` when it is above 0, else ceil(steps * warmup_ratio). */
int64_t schedule_warmup(int64_t steps, int64_t warmup_steps, double warmup_ratio);

/* The rate of step `step`, counted from 0. */
double schedule_rate(const struct schedule *schedule, int64_t step);

#endif
