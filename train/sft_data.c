#include "train/sft_data.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/order.h"
#include "data/packing.h"
#include "train/measure.h"

/* ---- Reading and measuring --------------------------------------------------------------------------- */

static enum status open_dataset(const struct train_config *config, const struct train_names *names,
                                struct dataset **dataset, struct error *err) {
    struct text joined = {0};
    for (int64_t i = 0; i < names->count; i++)
        text_format(&joined, "%s%s", i > 0 ? "," : "", names->names[i]);
    enum status status = text_check(&joined, "the names of data sets", err);
    const struct dataset_options options = {
        .folder = config->dataset_dir,
        .names = joined.data,
        .media_folder = config->media_dir,
        .max_samples = config->max_samples == INT64_MAX ? 0 : config->max_samples,
        .seed = (uint64_t)config->data_seed,
    };
    if (status == STATUS_OK) status = dataset_open(&options, dataset, err);
    text_free(&joined);
    return status;
}

/* How a data set is read, and who is told how far that is. */
struct reading {
    const struct dataset *dataset;
    const struct sample_options *encoding;
    const struct train_config *config;
    struct skipped *skipped;
    void (*progress)(void *context, int64_t done, int64_t total);
    void *context;
};

static enum status measure_row(const void *context, int64_t row, struct measure *measure,
                               struct error *problem) {
    const struct reading *reading = context;
    struct sample sample;
    enum status status = sample_measure(reading->encoding, reading->dataset, row, &sample, problem);
    if (status != STATUS_OK) return status;
    measure->tokens = sample.count;
    measure->labels = sample.label_count;
    for (int64_t i = 0; i < sample.visual_count; i++)
        measure->patches += sample.grids[i].t * sample.grids[i].h * sample.grids[i].w;
    sample_free(&sample);
    return STATUS_OK;
}

static enum status list_skips(struct skipped *skipped, const struct dataset *dataset,
                              const struct measure *measures, struct error *err) {
    for (int64_t i = 0; i < dataset_skip_count(dataset); i++) {
        const struct dataset_skip *skip = dataset_skip(dataset, i);
        if (skipped_add(skipped, skip->place, skip->reason, err) != STATUS_OK) return STATUS_FAILED;
    }
    for (int64_t i = 0; i < dataset_count(dataset); i++) {
        if (!measures[i].problem) continue;
        if (skipped_add(skipped, dataset_place(dataset, i), measures[i].problem, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    skipped->all_rows += dataset_count(dataset) + dataset_skip_count(dataset);
    return STATUS_OK;
}

/* ---- Sets -------------------------------------------------------------------------------------------- */

/* A row a group. */
static enum status single_groups(struct sft_set *set, struct error *err) {
    set->groups = memory_new((size_t)set->row_count, sizeof *set->groups, "sequences", err);
    if (!set->groups) return STATUS_FAILED;
    for (int64_t i = 0; i < set->row_count; i++) set->groups[i] = (struct stream_group){i, 1};
    set->group_count = set->row_count;
    return STATUS_OK;
}

/* Rows put together to sequences of at most cutoff_len tokens. */
static enum status packed_groups(struct sft_set *set, const struct measure *measures, int64_t cutoff,
                                 struct error *err) {
    int64_t *lengths = memory_new((size_t)set->row_count, sizeof *lengths, "packing", err);
    if (!lengths) return STATUS_FAILED;
    for (int64_t i = 0; i < set->row_count; i++) lengths[i] = measures[set->rows[i]].tokens;
    struct packing packing;
    enum status status = packing_make(lengths, set->row_count, cutoff, &packing, err);
    free(lengths);
    if (status != STATUS_OK) return status;
    set->groups = memory_new((size_t)packing.group_count, sizeof *set->groups, "sequences", err);
    int64_t *rows = memory_new((size_t)set->row_count, sizeof *rows, "sequences", err);
    if (set->groups && rows) {
        for (int64_t i = 0; i < set->row_count; i++) rows[i] = set->rows[packing.items[i]];
        for (int64_t g = 0; g < packing.group_count; g++)
            set->groups[g] =
                (struct stream_group){packing.starts[g], packing.starts[g + 1] - packing.starts[g]};
        set->group_count = packing.group_count;
        free(set->rows);
        set->rows = rows;
    } else {
        free(rows);
        status = STATUS_FAILED;
    }
    packing_free(&packing);
    return status;
}

/* The set of the rows `chosen` (of those that are good), or of all good ones when it is NULL. */
static enum status make_set(struct sft_set *set, const struct dataset *dataset,
                            const struct measure *measures, const int64_t *chosen, int64_t count,
                            const struct train_config *config, struct error *err) {
    set->dataset = dataset;
    set->rows = memory_new((size_t)count, sizeof *set->rows, "the rows of a data set", err);
    if (!set->rows) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++) {
        int64_t row = chosen ? chosen[i] : i;
        if (measures[row].problem) continue;
        set->rows[set->row_count++] = row;
        set->tokens += measures[row].tokens;
        set->labels += measures[row].labels;
    }
    enum status status =
        config->packing ? packed_groups(set, measures, config->cutoff_len, err) : single_groups(set, err);
    if (status != STATUS_OK) return status;
    for (int64_t g = 0; g < set->group_count; g++) {
        int64_t tokens = 0, patches = 0;
        for (int64_t i = 0; i < set->groups[g].count; i++) {
            const struct measure *row = &measures[set->rows[set->groups[g].first + i]];
            tokens += row->tokens;
            patches += row->patches;
        }
        if (tokens > set->longest) set->longest = tokens;
        if (patches > set->most_patches) set->most_patches = patches;
    }
    return STATUS_OK;
}

/* Measures the data set and makes its training set, and its evaluation set when val_size is above 0; all of
 * it is for evaluation when `train` is NULL. */
static enum status take_dataset(const struct reading *reading, struct sft_set *train, struct sft_set *eval,
                                struct error *err) {
    const struct train_config *config = reading->config;
    const struct dataset *dataset = reading->dataset;
    const struct measure_work work = {.measure = measure_row,
                                      .context = reading,
                                      .count = dataset_count(dataset),
                                      .progress = reading->progress,
                                      .progress_context = reading->context};
    struct measure *measures = measure_rows(&work, config, err);
    if (!measures) return STATUS_FAILED;
    struct order_split split = {0};
    enum status status = list_skips(reading->skipped, dataset, measures, err);
    if (status == STATUS_OK && !train) {
        status = make_set(eval, dataset, measures, NULL, work.count, config, err);
    } else if (status == STATUS_OK) {
        status = order_split_make(work.count, config->val_size, (uint64_t)config->seed, &split, err);
        if (status == STATUS_OK)
            status = make_set(train, dataset, measures, split.train, split.train_count, config, err);
        if (status == STATUS_OK && split.validation_count > 0)
            status = make_set(eval, dataset, measures, split.validation, split.validation_count, config, err);
        order_split_free(&split);
    }
    measures_free(measures, work.count);
    return status;
}

enum status sft_data_open(struct sft_data *data, const struct train_config *config,
                          const struct sample_options *encoding, struct skipped *skipped,
                          void (*progress)(void *context, int64_t done, int64_t total), void *context,
                          struct error *err) {
    *data = (struct sft_data){0};
    struct reading reading = {
        .encoding = encoding, .config = config, .skipped = skipped, .progress = progress, .context = context};
    enum status status = open_dataset(config, &config->datasets, &data->dataset, err);
    reading.dataset = data->dataset;
    if (status == STATUS_OK) status = take_dataset(&reading, &data->train, &data->eval, err);
    if (status == STATUS_OK && config->eval_datasets.count > 0) {
        status = open_dataset(config, &config->eval_datasets, &data->eval_dataset, err);
        reading.dataset = data->eval_dataset;
        if (status == STATUS_OK) status = take_dataset(&reading, NULL, &data->eval, err);
    }
    if (status == STATUS_OK) status = skipped_check(skipped, config->max_skipped_ratio, err);
    if (status == STATUS_OK && data->train.group_count == 0)
        status = error_set(err, "no row of the data set can be trained on; the first: %s",
                           skipped->count > 0 ? skipped->rows[0].reason : "there is none");
    return status;
}

static void set_free(struct sft_set *set) {
    free(set->rows);
    free(set->groups);
}

void sft_data_close(struct sft_data *data) {
    set_free(&data->train);
    set_free(&data->eval);
    dataset_close(data->dataset);
    dataset_close(data->eval_dataset);
    *data = (struct sft_data){0};
}

enum status sft_data_order(const struct sft_data *data, const struct train_config *config, int64_t epoch,
                           int64_t *order, struct error *err) {
    return order_epoch((uint64_t)config->data_seed, (uint32_t)epoch, !config->disable_shuffling,
                       data->train.group_count, order, err);
}
