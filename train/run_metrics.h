/* Named figures of a run, such as "reward" or "kl", whose means over the steps since the last log line are
 * logged. A value that is no number is left out of its mean. */
#ifndef VS2_TRAIN_RUN_METRICS_H
#define VS2_TRAIN_RUN_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/json.h"

struct run_metric {
    char *name;
    double sum, last; /* last: the newest value, also after the window was emptied */
    int64_t count;    /* values in the sum */
};

struct run_metrics {
    struct run_metric *items; /* in the order in which they first came */
    size_t count, capacity;
};

/* Adds a value to the window. */
enum status run_metrics_add(struct run_metrics *metrics, const char *name, double value, struct error *err);

/* The mean over the window; NaN where it is empty. */
double run_metric_mean(const struct run_metric *metric);

/* The newest value; NaN for a name that never came. */
double run_metrics_last(const struct run_metrics *metrics, const char *name);

/* Begins a new window. */
void run_metrics_clear(struct run_metrics *metrics);
void run_metrics_free(struct run_metrics *metrics);

/* To and from a checkpoint's state: {NAME: [sum, count], ...}. NULL when out of memory. */
json_t *run_metrics_save(const struct run_metrics *metrics);
enum status run_metrics_load(struct run_metrics *metrics, const json_t *saved, struct error *err);

#endif
