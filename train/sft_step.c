/* One optimizer step, and the loss on held-out rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/sft_run.h"

enum {
    /* Short micro-batches share a pass up to this many tokens: the products fill the machine, and activations
     * stay small. Gradients are sums, so a pass may hold several. */
    PASS_TOKENS = 2048,
    BAD_STEPS_IN_A_ROW = 10, /* without a number for a loss or a gradient, after which a run gives up */
};

/* Micro-batches that wait to go through in one pass. */
struct pending {
    struct micro_batch **batches;
    struct pass_sample *samples;
    double *logprobs; /* [samples] */
    size_t batch_count, batch_capacity, sample_capacity;
    int64_t sample_count, tokens;
};

static void pending_empty(struct pending *pending) {
    for (size_t i = 0; i < pending->batch_count; i++) micro_batch_free(pending->batches[i]);
    pending->batch_count = 0;
    pending->sample_count = pending->tokens = 0;
}

static void pending_free(struct pending *pending) {
    pending_empty(pending);
    free(pending->batches);
    free(pending->samples);
    free(pending->logprobs);
}

/* Takes the batch, also when it fails. */
static enum status pending_add(struct pending *pending, struct micro_batch *batch, struct error *err) {
    const char *what = "a training pass";
    size_t samples = (size_t)(pending->sample_count + batch->sample_count),
           capacity = pending->sample_capacity;
    if (memory_grow(&pending->batches, &pending->batch_capacity, pending->batch_count + 1,
                    sizeof *pending->batches, what, err) != STATUS_OK ||
        memory_grow(&pending->samples, &capacity, samples, sizeof *pending->samples, what, err) !=
            STATUS_OK ||
        memory_grow(&pending->logprobs, &pending->sample_capacity, samples, sizeof *pending->logprobs, what,
                    err) != STATUS_OK) {
        micro_batch_free(batch);
        return STATUS_FAILED;
    }
    pending->batches[pending->batch_count++] = batch;
    for (int64_t i = 0; i < batch->sample_count; i++)
        pending->samples[pending->sample_count++] = batch->samples[i];
    pending->tokens += batch->tokens;
    return STATUS_OK;
}

/* Runs what waits. *loss grows by the loss of each micro-batch. */
static enum status pending_run(struct pending *pending, struct pass_runner *runner, bool backward,
                               double *loss, struct error *err) {
    if (pending->sample_count == 0) return STATUS_OK;
    enum status status =
        pass_run(runner, pending->samples, pending->sample_count, backward, pending->logprobs, err);
    for (int64_t i = 0; status == STATUS_OK && i < pending->sample_count; i++)
        *loss -= pending->samples[i].weight * pending->logprobs[i];
    pending_empty(pending);
    return status;
}

/* Lists rows that could not be had, and says so. */
static enum status note_skips(struct sft *sft, const struct dataset *dataset, const struct micro_batch *batch,
                              struct error *err) {
    if (batch->skip_count == 0) return STATUS_OK;
    for (int64_t i = 0; i < batch->skip_count; i++) {
        struct row_place place = dataset_place(dataset, batch->skips[i].row);
        progress_message(sft->progress, "skipped %s row %lld: %s", place.name, (long long)place.number,
                         batch->skips[i].reason);
        if (skipped_add(&sft->data.skipped, place, batch->skips[i].reason, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    enum status status = skipped_write(&sft->data.skipped, sft->config->output_dir, err);
    if (status != STATUS_OK) return status;
    return skipped_check(&sft->data.skipped, sft->data.all_rows, sft->config->max_skipped_ratio, err);
}

static struct stream_settings stream_of(const struct sft *sft, const struct sft_set *set, int64_t batch) {
    int64_t threads = sft->config->dataloader_num_workers;
    return (struct stream_settings){
        .dataset = set->dataset,
        .encoding = &sft->encoding,
        .rows = set->rows,
        .groups = set->groups,
        .batch = batch,
        .joined = sft->config->packing && !sft->config->neat_packing,
        .model = &sft->model,
        .cache = sft->cache,
        .limits = {.threads = threads > 0 ? (int)threads : 1, .max_bytes = (size_t)1 << 30},
    };
}

/* The epoch that the position stands in, from its micro-batch on. */
static enum status start_epoch(struct sft *sft, struct error *err) {
    enum status status = sft_data_order(&sft->data, sft->config, sft->position.epoch, sft->order, err);
    if (status != STATUS_OK) return status;
    struct stream_settings settings =
        stream_of(sft, &sft->data.train, sft->config->per_device_train_batch_size);
    sft->stream = stream_start(&settings, sft->order, sft->data.train.group_count, sft->position.batch, err);
    return sft->stream ? STATUS_OK : STATUS_FAILED;
}

static void end_epoch_if_done(struct sft *sft) {
    if (sft->position.batch < sft->batches) return;
    stream_stop(sft->stream);
    sft->stream = NULL;
    sft->position.epoch++;
    sft->position.batch = 0;
}

/* Gradients and loss of the step's micro-batches; the loss is still a sum. */
static enum status accumulate(struct sft *sft, struct sft_step *step, struct pending *pending,
                              struct error *err) {
    int64_t left = sft->batches - sft->position.batch;
    int64_t wanted = sft->config->gradient_accumulation_steps;
    if (left < wanted) wanted = left;
    for (int64_t i = 0; i < wanted; i++) {
        struct micro_batch *batch;
        enum status status = stream_next(sft->stream, &batch, err);
        if (status != STATUS_OK) return status;
        sft->position.batch++;
        status = note_skips(sft, sft->data.train.dataset, batch, err);
        if (status == STATUS_OK && pending->tokens > 0 && pending->tokens + batch->tokens > PASS_TOKENS)
            status = pending_run(pending, sft->runner, true, &step->loss, err);
        if (status != STATUS_OK) {
            micro_batch_free(batch);
            return status;
        }
        step->micro_batches += batch->sample_count > 0;
        step->sequences += batch->sample_count;
        step->tokens += batch->tokens;
        step->labels += batch->labels;
        status = pending_add(pending, batch, err);
        if (status != STATUS_OK) return status;
    }
    return pending_run(pending, sft->runner, true, &step->loss, err);
}

/* The update, unless the loss or the gradient is no number. */
static enum status update(struct sft *sft, struct sft_step *step, struct error *err) {
    const struct train_config *config = sft->config;
    double scale = 1.0 / (double)step->micro_batches;
    step->loss *= scale;
    enum status status = optimizer_norm(&sft->optimizer, scale, &step->norm, err);
    if (status != STATUS_OK) return status;
    if (isfinite(step->loss) && isfinite(step->norm)) {
        const struct optimizer_settings settings = {
            .beta1 = config->adam_beta1,
            .beta2 = config->adam_beta2,
            .epsilon = config->adam_epsilon,
            .weight_decay = config->weight_decay,
            .max_grad_norm = config->max_grad_norm,
        };
        optimizer_step(&sft->optimizer, &settings, step->learning_rate, scale, step->norm);
        step->updated = true;
        sft->position.bad_in_a_row = 0;
        return device_synchronize(&sft->device, err);
    }
    optimizer_clear(&sft->optimizer);
    sft->position.bad_steps++;
    progress_message(sft->progress, "step %lld is left out: its loss is %g and its gradient norm %g",
                     (long long)sft->position.step + 1, step->loss, step->norm);
    if (++sft->position.bad_in_a_row < BAD_STEPS_IN_A_ROW) return STATUS_OK;
    return error_set(
        err,
        "step %lld: loss or gradients were not numbers in %d steps in a row; the last checkpoint "
        "is as it was",
        (long long)sft->position.step + 1, BAD_STEPS_IN_A_ROW);
}

static void count_step(struct sft *sft, const struct sft_step *step) {
    struct sft_position *position = &sft->position;
    position->step++;
    position->updates = sft->optimizer.step;
    position->samples += step->sequences;
    position->tokens += step->tokens;
    position->labels += step->labels;
    position->flops += step->flops;
    if (!step->updated) return;
    position->window_loss += step->loss;
    position->total_loss += step->loss;
    position->window_steps++;
    position->loss_steps++;
}

enum status sft_step(struct sft *sft, struct sft_step *step, struct error *err) {
    double start = clock_seconds(), flops = pass_statistics(sft->runner).flops;
    *step = (struct sft_step){.learning_rate = schedule_rate(&sft->schedule, sft->position.step)};
    enum status status = sft->stream ? STATUS_OK : start_epoch(sft, err);
    if (status != STATUS_OK) return status;
    struct pending pending = {0};
    status = accumulate(sft, step, &pending, err);
    pending_free(&pending);
    if (status != STATUS_OK) return status;
    if (step->micro_batches > 0) {
        status = update(sft, step, err);
        if (status != STATUS_OK) return status;
    } else {
        step->loss = step->norm = NAN;
    }
    step->seconds = clock_seconds() - start;
    step->flops = pass_statistics(sft->runner).flops - flops;
    count_step(sft, step);
    end_epoch_if_done(sft);
    return STATUS_OK;
}

enum status sft_evaluate(struct sft *sft, double *loss, int64_t *sequences, struct error *err) {
    const struct sft_set *set = &sft->data.eval;
    struct stream_settings settings = stream_of(sft, set, sft->config->per_device_eval_batch_size);
    int64_t *order = memory_new((size_t)set->group_count, sizeof *order, "an evaluation", err);
    if (!order) return STATUS_FAILED;
    for (int64_t i = 0; i < set->group_count; i++) order[i] = i;
    struct stream *stream = stream_start(&settings, order, set->group_count, 0, err);
    struct pending pending = {0};
    enum status status = stream ? STATUS_OK : STATUS_FAILED;
    *loss = 0;
    *sequences = 0;
    while (status == STATUS_OK) {
        struct micro_batch *batch;
        status = stream_next(stream, &batch, err);
        if (status != STATUS_OK || !batch) break;
        status = note_skips(sft, set->dataset, batch, err);
        if (status != STATUS_OK) {
            micro_batch_free(batch);
            break;
        }
        int64_t count = batch->sample_count;
        double mean = 0;
        status = pending_add(&pending, batch, err);
        if (status == STATUS_OK) status = pending_run(&pending, sft->runner, false, &mean, err);
        *loss += mean * (double)count;
        *sequences += count;
    }
    *loss /= (double)*sequences;
    pending_free(&pending);
    stream_stop(stream);
    free(order);
    return status;
}
