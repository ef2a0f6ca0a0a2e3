#include "train/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/cost.h"
#include "model/vision.h"

/* Host tables of one pass, and its sizes. */
struct layout {
    int64_t tokens, visuals, features, wanted;
    int32_t *ids;                       /* [tokens] */
    int32_t *positions;                 /* [3, tokens] */
    int32_t *feature_rows;              /* [features] */
    int32_t *rows, *targets;            /* [wanted]: tokens whose next one carries a label, and that label */
    float *d_logprob;                   /* [wanted] */
    float *logprob;                     /* [wanted]: read back */
    struct visual_grid *grids;          /* [visuals] */
    struct attention_segment *segments; /* [samples] */
    int64_t segment_count;
};

struct pass_runner {
    struct pass_settings settings;
    struct arena arena;
    struct pass_statistics statistics;
};

/* What one pass works with. */
struct run {
    struct pass_runner *runner;
    const struct model *model, *gradients;
    struct arena *arena;
    const struct pass_sample *samples;
    int64_t count;
    bool backward;
    struct layout layout;
    bool trains_vision;
    struct vision_plan plan; /* of all visuals, when the tower is trained */
    struct vision_tape vision_tape;
    struct tensor patches, features;
    struct language_tape language_tape;
    double clock; /* when the part that runs now began */
};

int64_t pass_labels(const int32_t *labels, int64_t count) {
    int64_t wanted = 0;
    for (int64_t i = 1; i < count; i++) wanted += labels[i] >= 0;
    return wanted;
}

struct pass_runner *pass_runner_new(const struct pass_settings *settings, struct error *err) {
    struct pass_runner *runner = memory_new(1, sizeof *runner, "the training pass", err);
    if (!runner) return NULL;
    runner->settings = *settings;
    arena_init(&runner->arena, settings->model->device, 0);
    return runner;
}

void pass_runner_free(struct pass_runner *runner) {
    if (!runner) return;
    arena_free(&runner->arena);
    free(runner);
}

struct pass_statistics pass_statistics(const struct pass_runner *runner) {
    struct pass_statistics statistics = runner->statistics;
    statistics.activation_peak = runner->arena.peak;
    return statistics;
}

/* ---- Tables ------------------------------------------------------------------------------------------ */

static void layout_free(struct layout *layout) {
    free(layout->ids);
    free(layout->positions);
    free(layout->feature_rows);
    free(layout->rows);
    free(layout->targets);
    free(layout->d_logprob);
    free(layout->logprob);
    free(layout->grids);
    free(layout->segments);
}

static enum status layout_allocate(struct layout *layout, int64_t samples, struct error *err) {
    const char *what = "the tables of a training pass";
    size_t tokens = (size_t)layout->tokens, wanted = (size_t)layout->wanted;
    bool done = (layout->ids = memory_new(tokens, sizeof *layout->ids, what, err)) &&
                (layout->positions = memory_new(tokens, 3 * sizeof *layout->positions, what, err)) &&
                (layout->feature_rows =
                     memory_new((size_t)layout->features, sizeof *layout->feature_rows, what, err)) &&
                (layout->rows = memory_new(wanted, sizeof *layout->rows, what, err)) &&
                (layout->targets = memory_new(wanted, sizeof *layout->targets, what, err)) &&
                (layout->d_logprob = memory_new(wanted, sizeof *layout->d_logprob, what, err)) &&
                (layout->logprob = memory_new(wanted, sizeof *layout->logprob, what, err)) &&
                (layout->grids = memory_new((size_t)layout->visuals, sizeof *layout->grids, what, err)) &&
                (layout->segments = memory_new((size_t)samples, sizeof *layout->segments, what, err));
    return done ? STATUS_OK : STATUS_FAILED;
}

/* Where the tables of the next sample begin. */
struct cursor {
    int64_t token, feature, wanted, visual;
};

static enum status place_sample(struct run *run, const struct pass_sample *sample, struct cursor *at,
                                struct error *err) {
    struct layout *layout = &run->layout;
    memcpy(layout->ids + at->token, sample->tokens, (size_t)sample->count * sizeof *layout->ids);
    if (sample->visual_count > 0)
        memcpy(layout->grids + at->visual, sample->visuals,
               (size_t)sample->visual_count * sizeof *layout->grids);
    struct sequence_positions positions = {.feature_rows = layout->feature_rows + at->feature};
    for (int axis = 0; axis < 3; axis++)
        positions.axis[axis] = layout->positions + axis * layout->tokens + at->token;
    enum status status = positions_of_sequence(&run->model->config, sample->tokens, sample->count,
                                               sample->visuals, sample->visual_count, &positions, err);
    if (status != STATUS_OK) return status;
    for (int64_t i = 0; i < positions.features; i++)
        layout->feature_rows[at->feature + i] += (int32_t)at->token;
    for (int64_t i = 1; i < sample->count; i++) {
        if (sample->labels[i] < 0) continue;
        layout->rows[at->wanted] = (int32_t)(at->token + i - 1);
        layout->targets[at->wanted] = sample->labels[i];
        layout->d_logprob[at->wanted++] = (float)-sample->weight;
    }
    layout->segments[layout->segment_count++] = (struct attention_segment){.query = at->token,
                                                                           .queries = sample->count,
                                                                           .key = at->token,
                                                                           .keys = sample->count,
                                                                           .causal = true};
    at->token += sample->count;
    at->feature += positions.features;
    at->visual += sample->visual_count;
    return STATUS_OK;
}

static enum status layout_make(struct run *run, struct error *err) {
    struct layout *layout = &run->layout;
    const struct vision_config *vision = &run->model->config.vision;
    for (int64_t s = 0; s < run->count; s++) {
        const struct pass_sample *sample = &run->samples[s];
        int64_t labels = pass_labels(sample->labels, sample->count);
        if (labels == 0) return error_set(err, "a sample without labels");
        layout->tokens += sample->count;
        layout->wanted += labels;
        layout->visuals += sample->visual_count;
        for (int64_t v = 0; v < sample->visual_count; v++) {
            if (grid_check(vision, &sample->visuals[v], err) != STATUS_OK) return STATUS_FAILED;
            layout->features += grid_features(vision, &sample->visuals[v]);
        }
    }
    if (layout->tokens > INT32_MAX / 4) return error_set(err, "too many tokens in one pass");
    enum status status = layout_allocate(layout, run->count, err);
    struct cursor at = {0};
    for (int64_t s = 0; status == STATUS_OK && s < run->count; s++)
        status = place_sample(run, &run->samples[s], &at, err);
    return status;
}

/* ---- Parts ------------------------------------------------------------------------------------------- */

/* Ends a part: its seconds are added to *seconds. */
static enum status end_part(struct run *run, double *seconds, struct error *err) {
    if (run->runner->settings.timed && device_synchronize(run->model->device, err) != STATUS_OK)
        return STATUS_FAILED;
    double now = clock_seconds();
    *seconds += now - run->clock;
    run->clock = now;
    return STATUS_OK;
}

static int64_t patch_columns(const struct model *model) {
    return model->vision.patch_embed.cols;
}

/* The features of one visual of a frozen tower, each computed by itself so that its bits do not depend on
 * what else is in the pass, and kept in the cache. */
static enum status compute_features(struct run *run, const struct visual_grid *grid, const float *patches,
                                    const char *key, struct tensor features, struct error *err) {
    struct vision_plan plan;
    enum status status = vision_plan_make(&run->model->config.vision, grid, 1, &plan, err);
    if (status != STATUS_OK) return status;
    struct arena_mark mark = arena_mark(run->arena);
    struct tensor input =
        arena_upload(run->arena, DTYPE_F32, plan.patches, patch_columns(run->model), patches);
    vision_forward(run->model, run->arena, features, input, &plan);
    arena_release(run->arena, mark);
    run->runner->statistics.patches += plan.patches;
    run->runner->statistics.flops += vision_cost(run->model, &plan).flops;
    if (run->runner->settings.cache && key) {
        size_t bytes = (size_t)features.rows * (size_t)features.cols * dtype_size(features.dtype);
        void *host = memory_new(bytes, 1, "vision features", err);
        status = host ? device_read(run->model->device, host, features, err) : STATUS_FAILED;
        if (status == STATUS_OK)
            status = vision_cache_store(run->runner->settings.cache, key, host, bytes, err);
        free(host);
    } else {
        status = device_synchronize(run->model->device, err); /* the plan ends here */
    }
    vision_plan_free(&plan);
    return status;
}

static enum status frozen_features(struct run *run, struct error *err) {
    int64_t first = 0;
    for (int64_t s = 0; s < run->count; s++) {
        const struct pass_sample *sample = &run->samples[s];
        for (int64_t v = 0; v < sample->visual_count; v++) {
            int64_t rows = grid_features(&run->model->config.vision, &sample->visuals[v]);
            struct tensor features = tensor_rows(run->features, first, rows);
            enum status status = STATUS_OK;
            if (sample->features && sample->features[v])
                device_write(run->model->device, features, sample->features[v]);
            else
                status = compute_features(run, &sample->visuals[v], sample->patches[v],
                                          sample->keys ? sample->keys[v] : NULL, features, err);
            if (status != STATUS_OK) return status;
            first += rows;
        }
    }
    return STATUS_OK;
}

/* All visuals through the tower at once, keeping what its backward pass needs. */
static enum status trained_features(struct run *run, struct error *err) {
    const struct vision_config *config = &run->model->config.vision;
    enum status status = vision_plan_make(config, run->layout.grids, run->layout.visuals, &run->plan, err);
    if (status != STATUS_OK) return status;
    run->patches = arena_tensor(run->arena, DTYPE_F32, run->plan.patches, patch_columns(run->model));
    int64_t first = 0;
    for (int64_t s = 0; s < run->count; s++)
        for (int64_t v = 0; v < run->samples[s].visual_count; v++) {
            const struct visual_grid *grid = &run->samples[s].visuals[v];
            int64_t rows = grid->t * grid->h * grid->w;
            device_write(run->model->device, tensor_rows(run->patches, first, rows),
                         run->samples[s].patches[v]);
            first += rows;
        }
    run->runner->statistics.patches += run->plan.patches;
    double forward = vision_cost(run->model, &run->plan).flops;
    run->runner->statistics.flops += run->backward ? 3 * forward : forward;
    if (!run->backward) {
        vision_forward(run->model, run->arena, run->features, run->patches, &run->plan);
        return STATUS_OK;
    }
    struct tape_depth depth = {.frozen = vision_frozen_blocks(run->gradients)};
    if (!run->runner->settings.recompute) depth.attention = depth.whole = config->depth;
    status = vision_tape_make(&run->vision_tape, run->model, run->arena, &run->plan, depth, err);
    if (status != STATUS_OK) return status;
    vision_forward_keep(run->model, run->arena, run->features, run->patches, &run->plan, &run->vision_tape);
    return STATUS_OK;
}

static enum status vision_part(struct run *run, struct error *err) {
    if (run->layout.visuals == 0) return STATUS_OK;
    run->features =
        arena_tensor(run->arena, run->model->compute, run->layout.features, run->model->config.hidden);
    enum status status = run->trains_vision ? trained_features(run, err) : frozen_features(run, err);
    if (status != STATUS_OK) return status;
    return end_part(run, &run->runner->statistics.seconds.vision, err);
}

/* How many layers keep what: as much as the settings allow. */
static struct tape_depth choose_depth(const struct run *run) {
    const struct pass_settings *settings = &run->runner->settings;
    const struct layout *layout = &run->layout;
    int64_t frozen = language_frozen_layers(run->gradients, run->trains_vision && layout->visuals > 0);
    int64_t layers = run->model->config.layers - frozen;
    if (!settings->recompute)
        return (struct tape_depth){.frozen = frozen, .attention = layers, .whole = layers};
    return language_tape_depth(run->model, layout->tokens, layout->wanted, frozen,
                               (size_t)settings->activation_bytes);
}

static void count_language(struct run *run, struct attention_segments segments) {
    struct pass_statistics *statistics = &run->runner->statistics;
    double forward = language_cost(run->model, run->layout.tokens, segments, run->layout.wanted).flops;
    statistics->flops += run->backward ? 3 * forward : forward;
    statistics->tokens += run->layout.tokens;
    statistics->labels += run->layout.wanted;
}

/* The language model, its loss, and back. */
static enum status language_part(struct run *run, struct error *err) {
    struct layout *layout = &run->layout;
    struct pass_seconds *seconds = &run->runner->statistics.seconds;
    struct device *device = run->model->device;
    struct language_pass pass = {
        .count = layout->tokens,
        .tokens = layout->ids,
        .positions = layout->positions,
        .segments = {layout->segments, layout->segment_count},
        .features = run->features,
        .feature_rows = layout->feature_rows,
        .wanted = layout->rows,
        .wanted_count = layout->wanted,
    };
    count_language(run, pass.segments);
    struct tensor states =
        arena_tensor(run->arena, run->model->compute, layout->wanted, run->model->config.hidden);
    struct tensor target = arena_upload(run->arena, DTYPE_I32, 1, layout->wanted, layout->targets);
    struct tensor logprob = arena_tensor(run->arena, DTYPE_F32, 1, layout->wanted);
    struct tensor none = {0};
    if (run->backward) {
        if (language_tape_make(&run->language_tape, run->model, run->arena, layout->tokens, layout->wanted,
                               choose_depth(run), err) != STATUS_OK)
            return STATUS_FAILED;
        pass.tape = &run->language_tape;
    }
    language_forward(run->model, run->arena, states, &pass);
    if (end_part(run, &seconds->forward, err) != STATUS_OK) return STATUS_FAILED;
    if (!run->backward) {
        language_logprob(run->model, run->arena, states, target, logprob, none, none, 1);
        if (end_part(run, &seconds->head, err) != STATUS_OK) return STATUS_FAILED;
        return device_read(device, layout->logprob, logprob, err);
    }
    const struct language_loss loss = {
        .states = states,
        .target = target,
        .d_logprob = arena_upload(run->arena, DTYPE_F32, 1, layout->wanted, layout->d_logprob),
        .scale = 1,
        .d_states = states,
        .logprob = logprob,
    };
    language_loss(run->model, run->gradients, run->arena, &loss);
    if (end_part(run, &seconds->head, err) != STATUS_OK) return STATUS_FAILED;
    struct tensor d_features = none;
    if (run->trains_vision && layout->visuals > 0)
        d_features = arena_tensor(run->arena, run->model->compute, layout->features, run->features.cols);
    language_backward(run->model, run->gradients, run->arena, states, d_features, &pass);
    if (end_part(run, &seconds->backward, err) != STATUS_OK) return STATUS_FAILED;
    if (d_features.data) {
        vision_backward(run->model, run->gradients, run->arena, d_features, run->patches, &run->plan,
                        &run->vision_tape);
        if (end_part(run, &seconds->vision_backward, err) != STATUS_OK) return STATUS_FAILED;
    }
    return device_read(device, layout->logprob, logprob, err);
}

/* The logprobs of each sample, summed up. */
static void sum_logprobs(const struct run *run, double *sums) {
    const float *logprob = run->layout.logprob;
    for (int64_t s = 0; s < run->count; s++) {
        int64_t labels = pass_labels(run->samples[s].labels, run->samples[s].count);
        sums[s] = 0;
        for (int64_t i = 0; i < labels; i++) {
            /* The analyser does not know that error_set always fails, and walks on without tables. */
            sums[s] += (double)*logprob++; /* NOLINT(clang-analyzer-core.NullDereference) */
        }
    }
}

enum status pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                     bool backward, double *logprob_sums, struct error *err) {
    struct run run = {
        .runner = runner,
        .model = runner->settings.model,
        .gradients = runner->settings.gradients,
        .arena = &runner->arena,
        .samples = samples,
        .count = count,
        .backward = backward,
        .trains_vision = runner->settings.gradients && vision_is_trained(runner->settings.gradients),
        .clock = clock_seconds(),
    };
    struct arena_mark mark = arena_mark(run.arena);
    enum status status = layout_make(&run, err);
    if (status == STATUS_OK) status = vision_part(&run, err);
    if (status == STATUS_OK) status = language_part(&run, err);
    if (status == STATUS_OK) sum_logprobs(&run, logprob_sums);
    arena_release(run.arena, mark);
    language_tape_free(&run.language_tape);
    vision_tape_free(&run.vision_tape);
    vision_plan_free(&run.plan);
    layout_free(&run.layout);
    return status;
}
