/* The gradients of an optimizer step, and the loss on held-out rows. */
#include <stdlib.h>

#include "base/memory.h"
#include "train/communicator.h"
#include "train/sft_run.h"

/* Short micro-batches share a pass up to this many tokens: the products fill the machine, and activations
 * stay small. Gradients are sums, so a pass may hold several. */
enum { PASS_TOKENS = 2048 };

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

/* After their passes: *loss grows by the loss of each micro-batch. */
static void pending_finish(struct pending *pending, enum status status, double *loss) {
    for (int64_t i = 0; status == STATUS_OK && i < pending->sample_count; i++)
        *loss -= pending->samples[i].weight * pending->logprobs[i];
    pending_empty(pending);
}

/* Trains on what waits; the pass after it will begin with the batch `next`, unless that is NULL. */
static enum status pending_train(struct pending *pending, struct pass_runner *runner,
                                 const struct micro_batch *next, double *loss, struct error *err) {
    if (pending->sample_count == 0) return STATUS_OK;
    for (int64_t i = 0; next && i < next->sample_count; i++) pass_announce(runner, &next->samples[i].visuals);
    enum status status =
        pass_run(runner, pending->samples, pending->sample_count, true, pending->logprobs, err);
    pending_finish(pending, status, loss);
    return status;
}

/* Reads what waits in passes of one sample, or of several with at most so many tokens: a batch to evaluate,
 * which is often larger than those to train on, is not to need more memory than they do. */
static enum status pending_read(struct pending *pending, struct pass_runner *runner, int64_t most_tokens,
                                double *loss, struct error *err) {
    const struct pass_sample *samples = pending->samples;
    enum status status = STATUS_OK;
    for (int64_t first = 0, end = 0; status == STATUS_OK && first < pending->sample_count; first = end) {
        int64_t tokens = samples[end++].count;
        while (end < pending->sample_count && tokens + samples[end].count <= most_tokens)
            tokens += samples[end++].count;
        status = pass_run(runner, samples + first, end - first, false, pending->logprobs + first, err);
    }
    pending_finish(pending, status, loss);
    return status;
}

/* Lists rows that could not be had. */
static enum status note_skips(struct sft *sft, const struct dataset *dataset, const struct micro_batch *batch,
                              struct error *err) {
    for (int64_t i = 0; i < batch->skip_count; i++)
        if (run_skip(&sft->run, dataset_place(dataset, batch->skips[i].row), batch->skips[i].reason, err) !=
            STATUS_OK)
            return STATUS_FAILED;
    return STATUS_OK;
}

static struct stream_settings stream_of(const struct sft *sft, const struct sft_set *set, int64_t batch) {
    int64_t threads = sft->run.config->dataloader_num_workers;
    return (struct stream_settings){
        .dataset = set->dataset,
        .encoding = &sft->encoding,
        .rows = set->rows,
        .groups = set->groups,
        .batch = batch,
        .joined = sft->run.config->packing && !sft->run.config->neat_packing,
        .model = &sft->run.model,
        .cache = sft->run.cache,
        .limits = {.threads = threads > 0 ? (int)threads : 1, .max_bytes = (size_t)1 << 30},
    };
}

struct pass_size sft_pass_size(const struct sft *sft, int64_t batch, int64_t longest) {
    int64_t together = PASS_TOKENS / (batch * longest), most = sft->run.config->gradient_accumulation_steps;
    if (together > most) together = most;
    return (struct pass_size){.sequences = batch * (together > 1 ? together : 1),
                              .tokens = longest,
                              .patches = sft->data.train.most_patches};
}

struct pass_size sft_largest_pass(const struct sft *sft) {
    return sft_pass_size(sft, sft->run.config->per_device_train_batch_size, sft->data.train.longest);
}

/* Whether a micro-batch is this process's to do: they take turns. */
static bool is_own(const struct sft *sft, int64_t batch) {
    const struct communicator *processes = sft->run.config->processes;
    return batch % communicator_size(processes) == communicator_rank(processes);
}

/* Leaves the groups of this process's own micro-batches in the order; returns how many groups these are, and
 * counts in *done those of the micro-batches that lie before the first `before`. */
static int64_t keep_own(const struct sft *sft, int64_t *order, int64_t groups, int64_t batch, int64_t before,
                        int64_t *done) {
    int64_t kept = 0;
    *done = 0;
    for (int64_t number = 0; number * batch < groups; number++) {
        if (!is_own(sft, number)) continue;
        *done += number < before;
        for (int64_t i = number * batch; i < (number + 1) * batch && i < groups; i++)
            order[kept++] = order[i];
    }
    return kept;
}

/* The epoch that the position stands in, from its micro-batch on. */
static enum status start_epoch(struct sft *sft, struct error *err) {
    const struct train_run *run = &sft->run;
    int64_t batch = run->config->per_device_train_batch_size, done;
    enum status status = sft_data_order(&sft->data, run->config, run->position.epoch, sft->order, err);
    if (status != STATUS_OK) return status;
    int64_t groups =
        keep_own(sft, sft->order, sft->data.train.group_count, batch, run->position.batch, &done);
    struct stream_settings settings = stream_of(sft, &sft->data.train, batch);
    sft->stream = stream_start(&settings, sft->order, groups, done, err);
    return sft->stream ? STATUS_OK : STATUS_FAILED;
}

static void end_epoch_if_done(struct sft *sft) {
    if (sft->run.position.batch < sft->run.batches) return;
    stream_stop(sft->stream);
    sft->stream = NULL;
    sft->run.position.epoch++;
    sft->run.position.batch = 0;
}

/* Gradients and loss of the step's micro-batches. */
static enum status accumulate(struct sft *sft, struct run_step *step, struct pending *pending,
                              struct error *err) {
    int64_t left = sft->run.batches - sft->run.position.batch;
    int64_t wanted = train_step_batches(sft->run.config);
    if (left < wanted) wanted = left;
    for (int64_t i = 0; i < wanted; i++) {
        struct micro_batch *batch;
        if (!is_own(sft, sft->run.position.batch++)) continue;
        enum status status = stream_next(sft->stream, &batch, err);
        if (status != STATUS_OK) return status;
        status = note_skips(sft, sft->data.train.dataset, batch, err);
        if (status == STATUS_OK && pending->tokens > 0 && pending->tokens + batch->tokens > PASS_TOKENS)
            status = pending_train(pending, sft->run.runner, batch, &step->loss, err);
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
    if (pending->sample_count > 0) optimizer_last_pass(&sft->run.optimizer);
    return pending_train(pending, sft->run.runner, stream_peek(sft->stream), &step->loss, err);
}

enum status sft_gradients(void *context, struct run_step *step, struct error *err) {
    struct sft *sft = context;
    enum status status = sft->stream ? STATUS_OK : start_epoch(sft, err);
    if (status != STATUS_OK) return status;
    struct pending pending = {0};
    status = accumulate(sft, step, &pending, err);
    pending_free(&pending);
    if (status == STATUS_OK) end_epoch_if_done(sft);
    return status;
}

enum status sft_evaluate(void *context, struct run_evaluation *evaluation, struct error *err) {
    struct sft *sft = context;
    const struct sft_set *set = &sft->data.eval;
    struct stream_settings settings = stream_of(sft, set, sft->run.config->per_device_eval_batch_size);
    int64_t *order = memory_new((size_t)set->group_count, sizeof *order, "an evaluation", err);
    if (!order) return STATUS_FAILED;
    for (int64_t i = 0; i < set->group_count; i++) order[i] = i;
    int64_t none, own = keep_own(sft, order, set->group_count, settings.batch, 0, &none);
    struct stream *stream = stream_start(&settings, order, own, 0, err);
    const struct pass_size largest = sft_largest_pass(sft);
    const int64_t most_tokens = largest.sequences * largest.tokens;
    struct pending pending = {0};
    enum status status = stream ? STATUS_OK : STATUS_FAILED;
    double loss = 0;
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
        if (status == STATUS_OK) status = pending_read(&pending, sft->run.runner, most_tokens, &mean, err);
        loss += mean * (double)count;
        evaluation->samples += count;
        evaluation->batches++;
    }
    pending_free(&pending);
    stream_stop(stream);
    free(order);
    status = run_end_passes(&sft->run, false, status, err);
    double sums[] = {loss, (double)evaluation->samples, (double)evaluation->batches};
    if (status == STATUS_OK) status = communicator_sum_values(sft->run.config->processes, sums, 3, err);
    evaluation->samples = (int64_t)sums[1];
    evaluation->batches = (int64_t)sums[2];
    return status == STATUS_OK ? run_evaluation_add(evaluation, "eval_loss", sums[0] / sums[1], err) : status;
}
