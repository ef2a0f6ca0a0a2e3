#include "train/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "model/cost.h"
#include "train/pass_parts.h"

static const struct tensor none;

int64_t pass_activation_bytes(int64_t given, int64_t trained_bytes) {
    return given >= 0 ? given : trained_bytes / 12;
}

struct pass_runner *pass_runner_new(const struct pass_settings *settings, struct error *err) {
    struct pass_runner *runner = memory_new(1, sizeof *runner, "the training pass", err);
    if (!runner) return NULL;
    runner->settings = *settings;
    arena_init(&runner->own_arena, settings->model->device, 0); /* allocates on first use */
    runner->arena = settings->lender ? settings->lender->arena : &runner->own_arena;
    return runner;
}

void pass_runner_free(struct pass_runner *runner) {
    if (!runner) return;
    arena_free(&runner->own_arena);
    free(runner->announced);
    free(runner);
}

struct arena *pass_runner_arena(struct pass_runner *runner) {
    return runner->arena;
}

struct pass_statistics pass_statistics(const struct pass_runner *runner) {
    struct pass_statistics statistics = runner->statistics;
    statistics.activation_peak = runner->arena->peak;
    return statistics;
}

/* ---- Parts ------------------------------------------------------------------------------------------- */

enum status pass_end_part(struct pass_run *run, double *seconds, struct error *err) {
    if (run->runner->settings.timed && device_synchronize(run->model->device, err) != STATUS_OK)
        return STATUS_FAILED;
    double now = clock_seconds();
    *seconds += now - run->clock;
    run->clock = now;
    return STATUS_OK;
}

/* ---- Ahead ------------------------------------------------------------------------------------------- */

void pass_announce(struct pass_runner *runner, const struct pass_visuals *visuals) {
    struct error without; /* memory: then it goes up as it is needed */
    size_t count = runner->announced_count + 1;
    if (!runner->settings.ahead || memory_grow(&runner->announced, &runner->announced_capacity, count,
                                               sizeof *visuals, "frames", &without) != STATUS_OK)
        return;
    runner->announced[runner->announced_count++] = *visuals;
}

/* To be called when all of a pass is queued. */
static void send_ahead(struct pass_runner *runner) {
    for (size_t i = 0; i < runner->announced_count; i++) {
        const struct pass_visuals *visuals = &runner->announced[i];
        for (int64_t v = 0; v < visuals->count; v++) {
            const struct vision_frames *frames = pass_visual_frames(visuals, v);
            if (frames && !(visuals->features && visuals->features[v]))
                ahead_put(runner->settings.ahead, frames->pixels, vision_frames_pixel_bytes(frames));
        }
    }
    runner->announced_count = 0;
}

/* ---- A pass ------------------------------------------------------------------------------------------ */

static struct pass_run begin(struct pass_runner *runner, bool backward) {
    const struct model *gradients = runner->settings.gradients;
    return (struct pass_run){
        .runner = runner,
        .model = runner->settings.model,
        .gradients = gradients,
        .arena = runner->arena,
        .backward = backward,
        .trains_vision = gradients && vision_is_trained(gradients),
        .clock = clock_seconds(),
    };
}

static void end(struct pass_run *run, struct arena_mark mark, enum status status) {
    if (status == STATUS_OK) units_end(run->runner->settings.units);
    arena_release(run->arena, mark);
    language_tape_free(&run->language_tape);
    vision_tape_free(&run->vision_tape);
    vision_plan_free(&run->plan);
    pass_layout_free(&run->layout);
}

/* How many layers keep what: as much as the settings allow. */
static struct tape_depth choose_depth(const struct pass_run *run) {
    const struct pass_settings *settings = &run->runner->settings;
    const struct pass_layout *layout = &run->layout;
    int64_t frozen = language_frozen_layers(run->gradients, run->trains_vision && layout->visual_count > 0);
    int64_t layers = run->model->config.layers - frozen;
    if (!settings->recompute)
        return (struct tape_depth){.frozen = frozen, .attention = layers, .whole = layers};
    return language_tape_depth(run->model, layout->tokens, layout->wanted, frozen,
                               (size_t)settings->activation_bytes);
}

static void count_work(struct pass_run *run) {
    struct pass_statistics *statistics = &run->runner->statistics;
    const struct pass_layout *layout = &run->layout;
    double forward = language_cost(run->model, layout->tokens, run->pass.segments, layout->values).flops;
    statistics->flops += run->backward ? 3 * forward : forward;
    statistics->tokens += layout->tokens;
    statistics->labels += layout->values;
}

/* Begins together with the processes that share the model. */
static enum status meet(struct pass_run *run, struct error *err) {
    const struct units_pass own = {run->backward, run->trains_vision && run->layout.visual_count > 0};
    return units_begin(run->runner->settings.units, own, &run->together, err);
}

/* Both towers; *states [values, hidden]: the final state that predicts each value. */
static enum status forward(struct pass_run *run, struct tensor *states, struct error *err) {
    const struct pass_layout *layout = &run->layout;
    int64_t hidden = run->model->config.hidden;
    enum status status = meet(run, err);
    if (run->runner->settings.ahead) ahead_turn(run->runner->settings.ahead);
    if (status == STATUS_OK) status = pass_see(run, err);
    if (status != STATUS_OK) return status;
    run->pass = (struct language_pass){
        .count = layout->tokens,
        .tokens = layout->ids,
        .positions = layout->positions,
        .segments = {layout->segments, layout->segment_count},
        .features = run->features,
        .feature_rows = layout->feature_rows,
        .wanted = layout->rows,
        .wanted_count = layout->wanted,
    };
    count_work(run);
    *states = arena_tensor(run->arena, run->model->compute, layout->wanted, hidden);
    if (run->backward) {
        status = language_tape_make(&run->language_tape, run->model, run->arena, layout->tokens,
                                    layout->wanted, choose_depth(run), err);
        if (status != STATUS_OK) return status;
        run->pass.tape = &run->language_tape;
    }
    language_forward(run->model, run->arena, *states, &run->pass);
    if (layout->picks) {
        struct tensor picked = arena_tensor(run->arena, run->model->compute, layout->values, hidden);
        gather_rows(run->model->device, picked, *states,
                    arena_upload(run->arena, DTYPE_I32, 1, layout->values, layout->picks));
        *states = picked;
    }
    return pass_end_part(run, &run->runner->statistics.seconds.forward, err);
}

/* The gradients of the final states of the wanted tokens: those of all values that a token predicts. */
static struct tensor add_up(struct pass_run *run, struct tensor d_states) {
    const struct pass_layout *layout = &run->layout;
    struct device *device = run->model->device;
    if (!layout->picks) return d_states;
    struct tensor sums = arena_tensor(run->arena, DTYPE_F32, layout->wanted, d_states.cols);
    struct tensor out = arena_tensor(run->arena, d_states.dtype, layout->wanted, d_states.cols);
    clear(device, sums);
    scatter_add_rows(device, sums, d_states,
                     arena_upload(run->arena, DTYPE_I32, 1, layout->values, layout->picks));
    convert(device, out, sums);
    return out;
}

/* Both towers back. d_states: [values, hidden]. */
static enum status backward(struct pass_run *run, struct tensor d_states, struct error *err) {
    struct pass_seconds *seconds = &run->runner->statistics.seconds;
    const struct pass_layout *layout = &run->layout;
    struct tensor d_features = none;
    if (run->trains_vision && layout->visual_count > 0)
        d_features = arena_tensor(run->arena, run->model->compute, layout->features, run->features.cols);
    language_backward(run->model, run->gradients, run->arena, add_up(run, d_states), d_features, &run->pass);
    enum status status = pass_end_part(run, &seconds->backward, err);
    if (status == STATUS_OK && run->together.sees && !d_features.data)
        units_pass_vision_backward(run->runner->settings.units);
    if (status != STATUS_OK || !d_features.data) return status;
    vision_backward(run->model, run->gradients, run->arena, d_features, run->patches, &run->plan,
                    &run->vision_tape);
    return pass_end_part(run, &seconds->vision_backward, err);
}

/* ---- Samples ----------------------------------------------------------------------------------------- */

/* *weights: the derivative of the loss by each value. */
static enum status upload_weights(struct pass_run *run, const struct pass_sample *samples, int64_t count,
                                  struct tensor *weights, struct error *err) {
    float *host = memory_new((size_t)run->layout.values, sizeof *host, "the weights of a training pass", err);
    if (!host) return STATUS_FAILED;
    for (int64_t s = 0, at = 0; s < count; s++) {
        int64_t labels = pass_labels(samples[s].labels, samples[s].count);
        for (int64_t i = 0; i < labels; i++) host[at++] = (float)-samples[s].weight;
    }
    *weights = arena_upload(run->arena, DTYPE_F32, 1, run->layout.values, host);
    free(host);
    return STATUS_OK;
}

/* The head, and back through everything. */
static enum status train_samples(struct pass_run *run, const struct pass_sample *samples, int64_t count,
                                 struct tensor states, struct tensor logprob, struct error *err) {
    struct language_loss loss = {
        .states = states,
        .target = arena_upload(run->arena, DTYPE_I32, 1, run->layout.values, run->layout.targets),
        .scale = 1,
        .d_states = states,
        .logprob = logprob,
    };
    enum status status = upload_weights(run, samples, count, &loss.d_logprob, err);
    if (status != STATUS_OK) return status;
    language_loss(run->model, run->gradients, run->arena, &loss);
    status = pass_end_part(run, &run->runner->statistics.seconds.head, err);
    return status == STATUS_OK ? backward(run, states, err) : status;
}

static enum status read_samples(struct pass_run *run, struct tensor states, struct tensor logprob,
                                struct error *err) {
    struct tensor target = arena_upload(run->arena, DTYPE_I32, 1, run->layout.values, run->layout.targets);
    language_logprob(run->model, run->arena, states, target, logprob, none, none, 1);
    return pass_end_part(run, &run->runner->statistics.seconds.head, err);
}

/* The logprobs of each sample, summed up. */
static enum status sum_logprobs(struct pass_run *run, const struct pass_sample *samples, int64_t count,
                                struct tensor logprob, double *sums, struct error *err) {
    float *values = memory_new((size_t)run->layout.values, sizeof *values, "log-probabilities", err);
    enum status status = values ? device_read(run->model->device, values, logprob, err) : STATUS_FAILED;
    for (int64_t s = 0, at = 0; status == STATUS_OK && s < count; s++) {
        int64_t labels = pass_labels(samples[s].labels, samples[s].count);
        sums[s] = 0;
        for (int64_t i = 0; i < labels; i++) sums[s] += (double)values[at++];
    }
    free(values);
    return status;
}

enum status pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                     bool backward_too, double *logprob_sums, struct error *err) {
    struct pass_run run = begin(runner, backward_too);
    struct arena_mark mark = arena_mark(run.arena);
    struct tensor states, logprob;
    enum status status = pass_layout_samples(&run.layout, &run.model->config, samples, count, err);
    if (status == STATUS_OK) status = forward(&run, &states, err);
    if (status == STATUS_OK) {
        logprob = arena_tensor(run.arena, DTYPE_F32, 1, run.layout.values);
        status = backward_too ? train_samples(&run, samples, count, states, logprob, err)
                              : read_samples(&run, states, logprob, err);
        send_ahead(runner);
    }
    if (status == STATUS_OK) status = sum_logprobs(&run, samples, count, logprob, logprob_sums, err);
    end(&run, mark, status);
    return status;
}

/* ---- Groups ------------------------------------------------------------------------------------------ */

/* What the head says of a group pass. */
struct head {
    struct tensor states, target, logprob, log_sum, entropy;
    float scale;
};

static enum status run_head(struct pass_run *run, struct tensor states, double temperature, bool entropy,
                            struct head *head, struct error *err) {
    int64_t values = run->layout.values;
    *head = (struct head){
        .states = states,
        .target = arena_upload(run->arena, DTYPE_I32, 1, values, run->layout.targets),
        .logprob = arena_tensor(run->arena, DTYPE_F32, 1, values),
        .log_sum = arena_tensor(run->arena, DTYPE_F32, 1, values),
        .entropy = entropy ? arena_tensor(run->arena, DTYPE_F32, 1, values) : none,
        .scale = (float)(1 / temperature),
    };
    language_logprob(run->model, run->arena, states, head->target, head->logprob, head->log_sum,
                     head->entropy, head->scale);
    return pass_end_part(run, &run->runner->statistics.seconds.head, err);
}

static enum status read_head(struct pass_run *run, const struct head *head, float *logprob, float *entropy,
                             struct error *err) {
    enum status status = device_read(run->model->device, logprob, head->logprob, err);
    if (status != STATUS_OK || !entropy) return status;
    return device_read(run->model->device, entropy, head->entropy, err);
}

/* Host arrays of a loss. */
struct loss_values {
    float *logprob, *entropy, *d_logprob, *d_entropy;
};

static enum status loss_values_make(struct loss_values *values, int64_t count, const struct pass_loss *loss,
                                    struct error *err) {
    const char *what = "the values of a training pass";
    size_t size = sizeof(float), length = (size_t)count;
    bool done = (values->logprob = memory_new(length, size, what, err)) &&
                (values->d_logprob = memory_new(length, size, what, err)) &&
                (!loss->reads_entropy || (values->entropy = memory_new(length, size, what, err))) &&
                (!loss->derives_entropy || (values->d_entropy = memory_new(length, size, what, err)));
    return done ? STATUS_OK : STATUS_FAILED;
}

static void loss_values_free(struct loss_values *values) {
    free(values->logprob);
    free(values->entropy);
    free(values->d_logprob);
    free(values->d_entropy);
}

/* The head's gradients; head->states become those of the states. */
static enum status head_backward(struct pass_run *run, const struct head *head,
                                 const struct loss_values *values, struct error *err) {
    int64_t count = run->layout.values;
    const struct language_loss loss = {
        .states = head->states,
        .target = head->target,
        .d_logprob = arena_upload(run->arena, DTYPE_F32, 1, count, values->d_logprob),
        .d_entropy =
            values->d_entropy ? arena_upload(run->arena, DTYPE_F32, 1, count, values->d_entropy) : none,
        .scale = head->scale,
        .known = true,
        .d_states = head->states,
        .log_sum = head->log_sum,
        .entropy = head->entropy,
    };
    language_loss(run->model, run->gradients, run->arena, &loss);
    return pass_end_part(run, &run->runner->statistics.seconds.head, err);
}

/* From the final states to the gradients, by way of the loss. */
static enum status train_groups(struct pass_run *run, struct tensor states, double temperature,
                                const struct pass_loss *loss, struct error *err) {
    struct pass_seconds *seconds = &run->runner->statistics.seconds;
    struct loss_values values = {0};
    struct head head;
    enum status status = loss_values_make(&values, run->layout.values, loss, err);
    if (status == STATUS_OK) status = run_head(run, states, temperature, loss->reads_entropy, &head, err);
    if (status == STATUS_OK) status = read_head(run, &head, values.logprob, values.entropy, err);
    if (status == STATUS_OK)
        status = loss->derive(loss->context, values.logprob, values.entropy, values.d_logprob,
                              values.d_entropy, err);
    if (status == STATUS_OK) status = pass_end_part(run, &seconds->loss, err);
    if (status == STATUS_OK) status = head_backward(run, &head, &values, err);
    if (status == STATUS_OK) status = backward(run, states, err);
    send_ahead(run->runner);
    if (status == STATUS_OK) status = device_synchronize(run->model->device, err);
    loss_values_free(&values);
    return status;
}

/* The groups as groups of one completion each. */
static struct pass_group *take_apart(const struct pass_group *groups, int64_t *count, struct error *err) {
    int64_t completions = 0, made = 0;
    for (int64_t g = 0; g < *count; g++) completions += groups[g].completion_count;
    struct pass_group *apart = memory_new((size_t)completions, sizeof *apart, "groups", err);
    if (!apart) return NULL;
    for (int64_t g = 0; g < *count; g++)
        for (int64_t c = 0; c < groups[g].completion_count; c++) {
            apart[made] = groups[g];
            apart[made].completions = &groups[g].completions[c];
            apart[made++].completion_count = 1;
        }
    *count = made;
    return apart;
}

/* The tables of the groups as they are to be read. */
static enum status layout_groups(struct pass_run *run, const struct pass_group *groups, int64_t count,
                                 struct pass_reading how, struct error *err) {
    const struct model_config *config = &run->model->config;
    if (!(how.temperature > 0))
        return error_usage(err, "a temperature of %g is not above 0", how.temperature);
    if (!how.apart) return pass_layout_groups(&run->layout, config, groups, count, err);
    struct pass_group *apart = take_apart(groups, &count, err);
    enum status status = apart ? pass_layout_groups(&run->layout, config, apart, count, err) : STATUS_FAILED;
    free(apart);
    return status;
}

enum status pass_groups_read(struct pass_runner *runner, const struct pass_group *groups, int64_t count,
                             struct pass_reading how, float *logprob, float *entropy, struct error *err) {
    struct pass_run run = begin(runner, false);
    struct arena_mark mark = arena_mark(run.arena);
    struct tensor states;
    struct head head;
    enum status status = layout_groups(&run, groups, count, how, err);
    if (status == STATUS_OK && run.layout.values > 0) {
        status = forward(&run, &states, err);
        if (status == STATUS_OK)
            status = run_head(&run, states, how.temperature, entropy != NULL, &head, err);
        if (status == STATUS_OK) status = read_head(&run, &head, logprob, entropy, err);
    }
    end(&run, mark, status);
    return status;
}

enum status pass_groups_train(struct pass_runner *runner, const struct pass_group *groups, int64_t count,
                              struct pass_reading how, const struct pass_loss *loss, struct error *err) {
    struct pass_run run = begin(runner, true);
    struct arena_mark mark = arena_mark(run.arena);
    struct tensor states;
    enum status status = layout_groups(&run, groups, count, how, err);
    if (status == STATUS_OK && run.layout.values > 0) {
        status = forward(&run, &states, err);
        if (status == STATUS_OK) status = train_groups(&run, states, how.temperature, loss, err);
    }
    end(&run, mark, status);
    return status;
}
