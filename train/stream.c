#include "train/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/visual_ready.h"

struct stream_row {
    struct sample sample;
    struct ready_visual *ready;          /* [visual_count] */
    const char **keys;                   /* [visual_count]: as the pass wants them */
    const float **patches;               /* [visual_count] */
    const struct vision_frames **frames; /* [visual_count] */
    const void **features;               /* [visual_count] */
};

struct stream {
    struct stream_settings settings;
    const int64_t *order;
    int64_t groups, first_batch, batches, taken;
    struct prefetch *prefetch;
};

/* ---- Rows -------------------------------------------------------------------------------------------- */

static void row_clear(struct stream_row *row) {
    for (int64_t v = 0; row->ready && v < row->sample.visual_count; v++) ready_visual_free(&row->ready[v]);
    free(row->ready);
    free(row->keys);
    free(row->patches);
    free(row->frames);
    free(row->features);
    sample_free(&row->sample);
    *row = (struct stream_row){0};
}

static enum status row_tables(struct stream_row *row, struct error *err) {
    size_t visuals = (size_t)row->sample.visual_count;
    const char *what = "a row's visuals";
    bool done = (row->ready = memory_new(visuals, sizeof *row->ready, what, err)) &&
                (row->keys = memory_new(visuals, sizeof *row->keys, what, err)) &&
                (row->patches = memory_new(visuals, sizeof *row->patches, what, err)) &&
                (row->frames = memory_new(visuals, sizeof *row->frames, what, err)) &&
                (row->features = memory_new(visuals, sizeof *row->features, what, err));
    return done ? STATUS_OK : STATUS_FAILED;
}

/* Finds the features of a measured visual, or decodes it. */
static enum status fill_visual(const struct stream_settings *settings, struct stream_row *row, int64_t v,
                               bool *mismatch, struct error *err) {
    struct sample_visual *visual = &row->sample.visuals[v];
    const struct visual_source source = {settings->model, settings->cache, &settings->encoding->visual};
    enum status status = visual_make_ready(&source, visual->path, visual->image, &visual->visual,
                                           &row->ready[v], mismatch, err);
    row->features[v] = row->ready[v].found.data;
    row->keys[v] = row->ready[v].key;
    row->patches[v] = visual->visual.patches;
    row->frames[v] = visual->visual.frames;
    return status;
}

/* Measured first: what the cache has need not be decoded. A file whose header miscounts its frames is encoded
 * as it decodes, and is not kept. */
static enum status encode_row(const struct stream_settings *settings, int64_t number, struct stream_row *row,
                              struct error *err) {
    enum status status = sample_measure(settings->encoding, settings->dataset, number, &row->sample, err);
    if (status == STATUS_OK) status = row_tables(row, err);
    bool mismatch = false;
    for (int64_t v = 0; status == STATUS_OK && !mismatch && v < row->sample.visual_count; v++)
        status = fill_visual(settings, row, v, &mismatch, err);
    if (status == STATUS_OK && mismatch) {
        row_clear(row);
        status = sample_encode(settings->encoding, settings->dataset, number, &row->sample, err);
        if (status == STATUS_OK) status = row_tables(row, err);
        for (int64_t v = 0; status == STATUS_OK && v < row->sample.visual_count; v++) {
            row->patches[v] = row->sample.visuals[v].visual.patches;
            row->frames[v] = row->sample.visuals[v].visual.frames;
        }
    }
    if (status != STATUS_OK) row_clear(row);
    return status;
}

static struct pass_sample row_sample(const struct stream_row *row) {
    return (struct pass_sample){
        .count = row->sample.count,
        .tokens = row->sample.tokens,
        .labels = row->sample.labels,
        .visuals = {.count = row->sample.visual_count,
                    .grids = row->sample.grids,
                    .patches = row->patches,
                    .frames = row->frames,
                    .keys = row->keys,
                    .features = row->features},
    };
}

/* ---- Joined rows ------------------------------------------------------------------------------------- */

/* Appends the second sample to the first, whose arrays the first row owns. */
static enum status join(struct stream_row *to, struct stream_row *from, struct error *err) {
    struct sample *a = &to->sample, *b = &from->sample;
    size_t tokens = (size_t)(a->count + b->count), visuals = (size_t)(a->visual_count + b->visual_count);
    struct stream_row joined = {0};
    struct sample *c = &joined.sample;
    const char *what = "a packed sequence";
    c->visual_count = 0; /* nothing to clear yet */
    bool done = (c->tokens = memory_new(tokens, sizeof *c->tokens, what, err)) &&
                (c->labels = memory_new(tokens, sizeof *c->labels, what, err)) &&
                (c->visuals = memory_new(visuals, sizeof *c->visuals, what, err)) &&
                (c->grids = memory_new(visuals, sizeof *c->grids, what, err)) &&
                (joined.ready = memory_new(visuals, sizeof *joined.ready, what, err)) &&
                (joined.keys = memory_new(visuals, sizeof *joined.keys, what, err)) &&
                (joined.patches = memory_new(visuals, sizeof *joined.patches, what, err)) &&
                (joined.frames = memory_new(visuals, sizeof *joined.frames, what, err)) &&
                (joined.features = memory_new(visuals, sizeof *joined.features, what, err));
    if (!done) {
        row_clear(&joined);
        return STATUS_FAILED;
    }
    const struct stream_row *parts[] = {to, from};
    for (size_t p = 0; p < 2; p++) {
        const struct sample *part = &parts[p]->sample;
        size_t count = (size_t)part->count, each = (size_t)part->visual_count;
        memcpy(c->tokens + c->count, part->tokens, count * sizeof *c->tokens);
        memcpy(c->labels + c->count, part->labels, count * sizeof *c->labels);
        memcpy(c->visuals + c->visual_count, part->visuals, each * sizeof *c->visuals);
        memcpy(c->grids + c->visual_count, part->grids, each * sizeof *c->grids);
        memcpy(joined.ready + c->visual_count, parts[p]->ready, each * sizeof *joined.ready);
        memcpy(joined.keys + c->visual_count, parts[p]->keys, each * sizeof *joined.keys);
        memcpy(joined.patches + c->visual_count, parts[p]->patches, each * sizeof *joined.patches);
        memcpy(joined.frames + c->visual_count, parts[p]->frames, each * sizeof *joined.frames);
        memcpy(joined.features + c->visual_count, parts[p]->features, each * sizeof *joined.features);
        c->count += part->count;
        c->visual_count += part->visual_count;
    }
    /* What the visuals hold belongs to the joined row now. */
    a->visual_count = b->visual_count = 0;
    row_clear(to);
    row_clear(from);
    *to = joined;
    return STATUS_OK;
}

/* ---- Micro-batches ----------------------------------------------------------------------------------- */

void micro_batch_free(struct micro_batch *batch) {
    if (!batch) return;
    for (int64_t i = 0; batch->rows && i < batch->row_count; i++) row_clear(&batch->rows[i]);
    free(batch->rows);
    free(batch->samples);
    free(batch->skips);
    free(batch);
}

static void release_batch(void *context, void *batch) {
    (void)context;
    micro_batch_free(batch);
}

/* Reads the rows of a group behind those that are there; joined ones become one. */
static enum status read_group(const struct stream_settings *settings, const struct stream_group *group,
                              struct micro_batch *batch, struct error *err) {
    int64_t first = batch->row_count;
    for (int64_t i = 0; i < group->count; i++) {
        int64_t number = settings->rows[group->first + i];
        struct stream_row *row = &batch->rows[batch->row_count];
        struct stream_skip *skip = &batch->skips[batch->skip_count];
        struct error reason;
        if (encode_row(settings, number, row, &reason) != STATUS_OK) {
            if (reason.no_memory) {
                *err = reason;
                return STATUS_FAILED;
            }
            skip->row = number;
            memcpy(skip->reason, reason.message, sizeof skip->reason);
            batch->skip_count++;
            continue;
        }
        if (settings->joined && batch->row_count > first) {
            enum status status = join(&batch->rows[first], row, err);
            if (status != STATUS_OK) {
                row_clear(row);
                return status;
            }
        } else {
            batch->row_count++;
        }
    }
    return STATUS_OK;
}

static void weigh(struct micro_batch *batch) {
    for (int64_t i = 0; i < batch->row_count; i++) {
        struct pass_sample *sample = &batch->samples[batch->sample_count++];
        *sample = row_sample(&batch->rows[i]);
        batch->tokens += sample->count;
        batch->labels += pass_labels(sample->labels, sample->count);
    }
    for (int64_t i = 0; i < batch->sample_count; i++) batch->samples[i].weight = 1.0 / (double)batch->labels;
}

static size_t batch_bytes(const struct micro_batch *batch) {
    size_t bytes = sizeof *batch;
    for (int64_t i = 0; i < batch->row_count; i++) bytes += sample_bytes(&batch->rows[i].sample);
    return bytes;
}

static enum status make_batch(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    const struct stream *stream = context;
    const struct stream_settings *settings = &stream->settings;
    int64_t first = (stream->first_batch + item) * settings->batch;
    int64_t last = first + settings->batch < stream->groups ? first + settings->batch : stream->groups;
    int64_t rows = 0;
    for (int64_t g = first; g < last; g++) rows += settings->groups[stream->order[g]].count;
    struct micro_batch *batch = memory_new(1, sizeof *batch, "a micro-batch", err);
    if (!batch) return STATUS_FAILED;
    enum status status = STATUS_FAILED;
    if (!(batch->rows = memory_new((size_t)rows, sizeof *batch->rows, "a micro-batch", err)) ||
        !(batch->samples = memory_new((size_t)rows, sizeof *batch->samples, "a micro-batch", err)) ||
        !(batch->skips = memory_new((size_t)rows, sizeof *batch->skips, "a micro-batch", err)))
        goto err;
    for (int64_t g = first; g < last; g++) {
        status = read_group(settings, &settings->groups[stream->order[g]], batch, err);
        if (status != STATUS_OK) goto err;
    }
    weigh(batch);
    *bytes = batch_bytes(batch);
    *result = batch;
    return STATUS_OK;
err:
    micro_batch_free(batch);
    return status;
}

struct stream *stream_start(const struct stream_settings *settings, const int64_t *order, int64_t count,
                            int64_t skip, struct error *err) {
    struct stream *stream = memory_new(1, sizeof *stream, "the stream of micro-batches", err);
    if (!stream) return NULL;
    stream->settings = *settings;
    stream->order = order;
    stream->groups = count;
    stream->first_batch = skip;
    int64_t all = (count + settings->batch - 1) / settings->batch;
    stream->batches = all > skip ? all - skip : 0;
    const struct prefetch_work work = {stream, make_batch, release_batch};
    stream->prefetch = prefetch_start(&work, stream->batches, &settings->limits, err);
    if (stream->prefetch) return stream;
    free(stream);
    return NULL;
}

void stream_stop(struct stream *stream) {
    if (!stream) return;
    prefetch_stop(stream->prefetch);
    free(stream);
}

enum status stream_next(struct stream *stream, struct micro_batch **batch, struct error *err) {
    *batch = NULL;
    if (stream->taken == stream->batches) return STATUS_OK;
    stream->taken++;
    void *result;
    enum status status = prefetch_next(stream->prefetch, &result, err);
    if (status == STATUS_OK) *batch = result;
    return status;
}

const struct micro_batch *stream_peek(struct stream *stream) {
    return prefetch_peek(stream->prefetch);
}
