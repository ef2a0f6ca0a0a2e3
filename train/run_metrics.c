#include "train/run_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* The metric of the name, which is made when it is new; NULL when out of memory. */
static struct run_metric *find_or_add(struct run_metrics *metrics, const char *name, struct error *err) {
    for (size_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->items[i].name, name) == 0) return &metrics->items[i];
    if (memory_grow(&metrics->items, &metrics->capacity, metrics->count + 1, sizeof *metrics->items,
                    "the figures of a run", err) != STATUS_OK)
        return NULL;
    struct run_metric *metric = &metrics->items[metrics->count];
    *metric = (struct run_metric){.name = memory_text(name, strlen(name), "the figures of a run", err),
                                  .last = NAN};
    if (!metric->name) return NULL;
    metrics->count++;
    return metric;
}

enum status run_metrics_add(struct run_metrics *metrics, const char *name, double value, struct error *err) {
    struct run_metric *metric = find_or_add(metrics, name, err);
    if (!metric) return STATUS_FAILED;
    metric->last = value;
    if (!isfinite(value)) return STATUS_OK;
    metric->sum += value;
    metric->count++;
    return STATUS_OK;
}

double run_metric_mean(const struct run_metric *metric) {
    return metric->count > 0 ? metric->sum / (double)metric->count : NAN;
}

double run_metrics_last(const struct run_metrics *metrics, const char *name) {
    for (size_t i = 0; i < metrics->count; i++)
        if (strcmp(metrics->items[i].name, name) == 0) return metrics->items[i].last;
    return NAN;
}

void run_metrics_clear(struct run_metrics *metrics) {
    for (size_t i = 0; i < metrics->count; i++) {
        metrics->items[i].sum = 0;
        metrics->items[i].count = 0;
    }
}

void run_metrics_free(struct run_metrics *metrics) {
    for (size_t i = 0; i < metrics->count; i++) free(metrics->items[i].name);
    free(metrics->items);
    *metrics = (struct run_metrics){0};
}

json_t *run_metrics_save(const struct run_metrics *metrics) {
    json_t *saved = json_object();
    for (size_t i = 0; saved && i < metrics->count; i++) {
        const struct run_metric *metric = &metrics->items[i];
        json_t *value = json_pack("[f, I]", metric->sum, (json_int_t)metric->count);
        if (json_object_set_new(saved, metric->name, value) == 0) continue;
        json_decref(saved);
        return NULL;
    }
    return saved;
}

enum status run_metrics_load(struct run_metrics *metrics, const json_t *saved, struct error *err) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)saved, name, value) {
        struct run_metric *metric = find_or_add(metrics, name, err);
        if (!metric) return STATUS_FAILED;
        metric->sum = json_number_value(json_array_get(value, 0));
        metric->count = (int64_t)json_integer_value(json_array_get(value, 1));
    }
    return STATUS_OK;
}
