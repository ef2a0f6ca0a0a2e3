#include "grpo/problems.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/order.h"

/* How a file is read, and who is told how far that is. */
struct reading {
    const struct train_config *config;
    const struct prompt_settings *settings;
    struct skipped *skipped;
    void (*progress)(void *context, int64_t done, int64_t total);
    void *context;
    const struct grpo_rows *rows;
    const char *path;
};

static enum status measure_row(const void *context, int64_t row, struct measure *measure,
                               struct error *problem) {
    const struct reading *reading = context;
    return grpo_prompt_measure(reading->settings, reading->rows, row, measure, problem);
}

/* Lists what the file itself has that cannot be used, and what could not be measured. */
static enum status list_skips(const struct reading *reading, const struct measure *measures, int64_t count,
                              struct error *err) {
    struct skipped *skipped = reading->skipped;
    enum status status = STATUS_OK;
    int64_t broken = grpo_rows_skip_count(reading->rows);
    for (int64_t i = 0; status == STATUS_OK && i < broken; i++) {
        const struct grpo_skip *skip = grpo_rows_skip(reading->rows, i);
        status = skipped_add(skipped, (struct row_place){reading->path, skip->number}, skip->reason, err);
    }
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        struct grpo_row row;
        if (!measures[i].problem) continue;
        status = grpo_rows_read(reading->rows, i, &row, err);
        if (status != STATUS_OK) break;
        status =
            skipped_add(skipped, (struct row_place){reading->path, row.number}, measures[i].problem, err);
        grpo_row_free(&row);
    }
    skipped->all_rows += count + broken;
    return status;
}

/* The set of those of the rows `chosen` that can be used. */
static enum status make_set(const struct reading *reading, const struct measure *measures,
                            const int64_t *chosen, int64_t count, struct problem_set *set,
                            struct error *err) {
    set->rows = reading->rows;
    set->path = reading->path;
    set->list = memory_new((size_t)count, sizeof *set->list, "the problems", err);
    if (!set->list) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++) {
        const struct measure *measure = &measures[chosen[i]];
        if (measure->problem) continue;
        set->list[set->count++] = chosen[i];
        set->tokens += measure->tokens;
        if (measure->tokens > set->longest) set->longest = measure->tokens;
        if (measure->patches > set->most_patches) set->most_patches = measure->patches;
    }
    return STATUS_OK;
}

/* Reads a file: its rows go to `train` but for val_size of them; all to `eval` when `train` is NULL. */
static enum status take_file(struct reading *reading, const struct train_names *paths,
                             struct grpo_rows **rows, struct problem_set *train, struct problem_set *eval,
                             struct error *err) {
    const struct train_config *config = reading->config;
    reading->path = paths->names[0];
    enum status status = grpo_rows_open(reading->path, config->media_dir, rows, err);
    if (status != STATUS_OK) return status;
    reading->rows = *rows;
    int64_t count = grpo_rows_count(*rows);
    if (count > config->max_samples) count = config->max_samples;
    const struct measure_work work = {.measure = measure_row,
                                      .context = reading,
                                      .count = count,
                                      .progress = reading->progress,
                                      .progress_context = reading->context};
    struct measure *measures = measure_rows(&work, config, err);
    if (!measures) return STATUS_FAILED;
    struct order_split split = {0};
    status = list_skips(reading, measures, count, err);
    if (status == STATUS_OK)
        status = order_split_make(count, train ? config->val_size : 0, (uint64_t)config->seed, &split, err);
    if (status == STATUS_OK)
        status = make_set(reading, measures, split.train, split.train_count, train ? train : eval, err);
    if (status == STATUS_OK && split.validation_count > 0)
        status = make_set(reading, measures, split.validation, split.validation_count, eval, err);
    order_split_free(&split);
    measures_free(measures, count);
    return status;
}

enum status problems_open(struct problems *problems, const struct train_config *config,
                          const struct prompt_settings *settings, struct skipped *skipped,
                          void (*progress)(void *context, int64_t done, int64_t total), void *context,
                          struct error *err) {
    *problems = (struct problems){0};
    struct reading reading = {
        .config = config, .settings = settings, .skipped = skipped, .progress = progress, .context = context};
    enum status status =
        take_file(&reading, &config->datasets, &problems->rows, &problems->train, &problems->eval, err);
    if (status == STATUS_OK && config->eval_datasets.count > 0)
        status =
            take_file(&reading, &config->eval_datasets, &problems->eval_rows, NULL, &problems->eval, err);
    if (status == STATUS_OK) status = skipped_check(skipped, config->max_skipped_ratio, err);
    if (status == STATUS_OK && problems->train.count == 0)
        status = error_set(err, "%s: no row can be trained on; the first: %s", config->datasets.names[0],
                           skipped->count > 0 ? skipped->rows[0].reason : "there is none");
    return status;
}

void problems_close(struct problems *problems) {
    free(problems->train.list);
    free(problems->eval.list);
    grpo_rows_close(problems->rows);
    grpo_rows_close(problems->eval_rows);
    *problems = (struct problems){0};
}

struct row_place problem_place(const struct problem_set *set, const struct grpo_row *row) {
    return (struct row_place){set->path, row->number};
}
