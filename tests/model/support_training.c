#include "tests/model/support_training.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/model/projections.h"

static void *zeros(int64_t count, size_t size) {
    void *memory = calloc(count ? (size_t)count : 1, size);
    assert_non_null(memory);
    return memory;
}

/* ---- Gradients --------------------------------------------------------------------------------------- */

struct gradients gradients_make(struct golden_model *opened, bool (*trained)(const char *name)) {
    struct gradients made = {.model = {.config = opened->model.config, .device = &opened->device}};
    struct error err;
    made.model.vision.blocks = zeros(opened->model.config.vision.depth, sizeof *made.model.vision.blocks);
    made.model.language.layers = zeros(opened->model.config.layers, sizeof *made.model.language.layers);
    made.parameters = parameters_list(&opened->model.config, &made.count, &err);
    assert_non_null(made.parameters);
    arena_init(&made.memory, &opened->device, 1 << 20);
    for (size_t i = 0; i < made.count; i++) {
        const struct parameter *parameter = &made.parameters[i];
        if (trained && !trained(parameter->name)) continue;
        struct tensor tensor = arena_tensor(&made.memory, DTYPE_F32, parameter->rows, parameter->cols);
        *parameter_tensor(&made.model, parameter) = tensor;
        clear(&opened->device, tensor);
    }
    if (device_synchronize(&opened->device, &err)) fail_msg("%s", err.message);
    return made;
}

void gradients_free(struct gradients *gradients) {
    arena_free(&gradients->memory);
    free(gradients->model.vision.blocks);
    free(gradients->model.language.layers);
    free(gradients->parameters);
}

float *gradients_read(struct golden_model *opened, const struct gradients *gradients, int64_t *count) {
    struct model model = gradients->model;
    struct error err;
    int64_t total = 0;
    for (size_t i = 0; i < gradients->count; i++)
        total += gradients->parameters[i].rows * gradients->parameters[i].cols;
    float *values = zeros(total, sizeof *values), *at = values;
    for (size_t i = 0; i < gradients->count; i++) {
        struct tensor tensor = *parameter_tensor(&model, &gradients->parameters[i]);
        if (!tensor.data) continue;
        if (device_read(&opened->device, at, tensor, &err)) fail_msg("%s", err.message);
        at += tensor.rows * tensor.cols;
    }
    *count = at - values;
    return values;
}

/* ---- Goldens ----------------------------------------------------------------------------------------- */

enum { SAMPLES = 32 /* tests/reference/gradients.py */ };

/* The gradient that the golden one sums up (added up over `count` cases), and what of it is measured. */
struct comparison {
    double error, norm; /* squares: of the estimated distance, of the golden gradient */
};

/* Random projections of a difference have its norm in the mean. */
static struct comparison compare_gradient(const float *values, int64_t count, const float *golden) {
    double projections[PROJECTIONS] = {0}, error = 0;
    for (int64_t i = 0; i < count; i++) projections_add(projections, i, (double)values[i]);
    for (int p = 0; p < PROJECTIONS; p++) {
        double d = projections[p] - (double)golden[1 + p];
        error += d * d / PROJECTIONS;
    }
    int64_t step = count / SAMPLES > 1 ? count / SAMPLES : 1;
    double samples = 0;
    for (int64_t i = 0; i < SAMPLES && i * step < count; i++) {
        double d = (double)values[i * step] - (double)golden[1 + PROJECTIONS + i];
        samples += d * d;
    }
    if (samples > error) error = samples;
    return (struct comparison){error, (double)golden[0] * (double)golden[0]};
}

double gradients_compare(struct golden_model *opened, const struct gradients *gradients,
                         const struct safetensors *expected, const char *const *names, double tolerance) {
    int64_t count;
    float *values = gradients_read(opened, gradients, &count), *at = values;
    struct model model = gradients->model;
    double error = 0, norm = 0;
    for (size_t i = 0; i < gradients->count; i++) {
        const struct parameter *parameter = &gradients->parameters[i];
        int64_t size = parameter->rows * parameter->cols;
        float golden[1 + PROJECTIONS + SAMPLES] = {0};
        if (!parameter_tensor(&model, parameter)->data) continue;
        for (int c = 0; names[c]; c++) {
            if (!golden_has(expected, "%s/%s", names[c], parameter->name)) continue;
            struct golden_tensor one = golden_get(expected, "%s/%s", names[c], parameter->name);
            for (int64_t k = 0; k < one.cols; k++) golden[k] += ((const float *)one.data)[k];
        }
        struct comparison c = compare_gradient(at, size, golden);
        if (!(sqrt(c.error) <= tolerance * sqrt(c.norm)))
            fail_msg("%s %s: the gradient of norm %.3g is off by %.3g", names[0], parameter->name,
                     sqrt(c.norm), sqrt(c.error));
        error += c.error;
        norm += c.norm;
        at += size;
    }
    free(values);
    return sqrt(error / norm);
}

/* ---- Cases ------------------------------------------------------------------------------------------- */

static void take_visuals(struct training_case *c, const struct golden_case *prompt) {
    c->visual_count = prompt->visual_count;
    for (int64_t i = 0; i < prompt->visual_count; i++) {
        c->visuals[i] = prompt->visuals[i];
        c->patch_rows += prompt->visuals[i].t * prompt->visuals[i].h * prompt->visuals[i].w;
    }
    c->patches = zeros(c->patch_rows * 1176, sizeof *c->patches);
    float *at = c->patches;
    for (int64_t i = 0; i < prompt->visual_count; i++) {
        int64_t values = prompt->visuals[i].t * prompt->visuals[i].h * prompt->visuals[i].w * 1176;
        memcpy(at, prompt->patches[i], (size_t)values * sizeof *at);
        at += values;
    }
}

static void take_labels(struct training_case *c, const int32_t *labels) {
    for (int64_t i = 0; i + 1 < c->count; i++) {
        if (labels[i + 1] < 0) continue;
        c->wanted[c->wanted_count] = (int32_t)i;
        c->target[c->wanted_count++] = labels[i + 1];
    }
    for (int64_t i = 0; i < c->wanted_count; i++) c->d_logprob[i] = -1.0f / (float)c->wanted_count;
}

static void allocate(struct training_case *c) {
    c->tokens = zeros(c->count, sizeof *c->tokens);
    c->feature_rows = zeros(c->count, sizeof *c->feature_rows);
    c->positions = zeros(3 * c->count, sizeof *c->positions);
    c->wanted = zeros(c->count, sizeof *c->wanted);
    c->target = zeros(c->count, sizeof *c->target);
    c->d_logprob = zeros(c->count, sizeof *c->d_logprob);
}

struct training_case training_case_get(const struct golden_model *opened, const struct safetensors *golden,
                                       const struct safetensors *labels, const char *name) {
    struct golden_case prompt = golden_case_get(golden, name);
    struct training_case c = {.count = prompt.count, .segment_count = 1};
    struct error err;
    allocate(&c);
    memcpy(c.tokens, prompt.tokens, (size_t)c.count * sizeof *c.tokens);
    struct sequence_positions out = {.axis = {c.positions, c.positions + c.count, c.positions + 2 * c.count},
                                     .feature_rows = c.feature_rows};
    if (positions_of_sequence(&opened->model.config, c.tokens, c.count, prompt.visuals, prompt.visual_count,
                              &out, &err))
        fail_msg("%s", err.message);
    c.features = out.features;
    take_visuals(&c, &prompt);
    take_labels(&c, golden_get(labels, "%s/labels", name).data);
    c.segments[0] = (struct attention_segment){.queries = c.count, .keys = c.count, .causal = true};
    golden_case_free(&prompt);
    return c;
}

/* Appends one case to another whose arrays have room. */
static void append(struct training_case *to, const struct training_case *c, int64_t count) {
    int32_t first = (int32_t)to->count;
    memcpy(to->tokens + first, c->tokens, (size_t)c->count * sizeof *c->tokens);
    for (int axis = 0; axis < 3; axis++)
        memcpy(to->positions + axis * count + first, c->positions + axis * c->count,
               (size_t)c->count * sizeof *c->positions);
    for (int64_t i = 0; i < c->features; i++) to->feature_rows[to->features++] = first + c->feature_rows[i];
    for (int64_t i = 0; i < c->wanted_count; i++) {
        to->target[to->wanted_count] = c->target[i];
        to->d_logprob[to->wanted_count] = c->d_logprob[i];
        to->wanted[to->wanted_count++] = first + c->wanted[i];
    }
    for (int64_t i = 0; i < c->visual_count; i++) to->visuals[to->visual_count++] = c->visuals[i];
    for (int64_t i = 0; i < c->segment_count; i++) {
        struct attention_segment segment = c->segments[i];
        segment.query += first;
        segment.key += first;
        segment.prefix += first;
        to->segments[to->segment_count++] = segment;
    }
    memcpy(to->patches + to->patch_rows * 1176, c->patches,
           (size_t)(c->patch_rows * 1176) * sizeof *c->patches);
    to->patch_rows += c->patch_rows;
    to->count += c->count;
}

struct training_case training_case_join(const struct training_case *a, const struct training_case *b) {
    struct training_case c = {.count = a->count + b->count};
    int64_t count = c.count;
    allocate(&c);
    c.patches = zeros((a->patch_rows + b->patch_rows) * 1176, sizeof *c.patches);
    c.count = 0;
    append(&c, a, count);
    append(&c, b, count);
    return c;
}

void training_case_free(struct training_case *c) {
    free(c->tokens);
    free(c->feature_rows);
    free(c->positions);
    free(c->wanted);
    free(c->target);
    free(c->d_logprob);
    free(c->patches);
}

/* ---- Steps ------------------------------------------------------------------------------------------- */

/* What a step has in hand. */
struct step {
    struct golden_model *opened;
    const struct gradients *gradients;
    const struct training_case *c;
    struct training_depths depths;
    struct vision_plan plan;
    struct vision_tape vision;
    struct language_tape language;
    struct tensor patches, features;
};

static enum status see(struct step *s, struct error *err) {
    const struct model *model = &s->opened->model;
    struct arena *arena = &s->opened->arena;
    if (vision_plan_make(&model->config.vision, s->c->visuals, s->c->visual_count, &s->plan, err) ||
        vision_tape_make(&s->vision, model, arena, &s->plan, s->depths.vision, err))
        return STATUS_FAILED;
    s->patches = arena_upload(arena, DTYPE_F32, s->c->patch_rows, 1176, s->c->patches);
    s->features = arena_tensor(arena, model->compute, s->plan.features, model->config.hidden);
    vision_forward_keep(model, arena, s->features, s->patches, &s->plan, &s->vision);
    return STATUS_OK;
}

static double mean_loss(const struct training_case *c, const float *logprobs) {
    double loss = 0;
    for (int64_t i = 0; i < c->wanted_count; i++) loss += (double)c->d_logprob[i] * (double)logprobs[i];
    return loss;
}

static enum status read_and_learn(struct step *s, double *loss, struct error *err) {
    const struct model *model = &s->opened->model;
    struct arena *arena = &s->opened->arena;
    const struct training_case *c = s->c;
    struct language_pass pass = {.count = c->count,
                                 .tokens = c->tokens,
                                 .positions = c->positions,
                                 .segments = {c->segments, c->segment_count},
                                 .features = s->features,
                                 .feature_rows = c->feature_rows,
                                 .wanted = c->wanted,
                                 .wanted_count = c->wanted_count,
                                 .tape = &s->language};
    if (language_tape_make(&s->language, model, arena, c->count, c->wanted_count, s->depths.language, err))
        return STATUS_FAILED;
    struct tensor states = arena_tensor(arena, model->compute, c->wanted_count, model->config.hidden);
    struct tensor logprob = arena_tensor(arena, DTYPE_F32, 1, c->wanted_count);
    language_forward(model, arena, states, &pass);
    struct language_loss what = {
        .states = states,
        .target = arena_upload(arena, DTYPE_I32, 1, c->wanted_count, c->target),
        .d_logprob = arena_upload(arena, DTYPE_F32, 1, c->wanted_count, c->d_logprob),
        .scale = 1,
        .d_states = states,
        .logprob = logprob,
    };
    language_loss(model, &s->gradients->model, arena, &what);
    struct tensor d_features = {0};
    if (s->features.rows && vision_is_trained(&s->gradients->model))
        d_features = arena_tensor(arena, model->compute, s->features.rows, s->features.cols);
    language_backward(model, &s->gradients->model, arena, states, d_features, &pass);
    if (d_features.data)
        vision_backward(model, &s->gradients->model, arena, d_features, s->patches, &s->plan, &s->vision);
    float *values = zeros(c->wanted_count, sizeof *values);
    enum status status = device_read(&s->opened->device, values, logprob, err);
    *loss = mean_loss(c, values);
    free(values);
    return status;
}

enum status training_try(struct golden_model *opened, const struct gradients *gradients,
                         const struct training_case *c, struct training_depths depths, double *loss,
                         struct error *err) {
    struct step s = {.opened = opened, .gradients = gradients, .c = c, .depths = depths};
    struct arena_mark mark = arena_mark(&opened->arena);
    enum status status = c->visual_count ? see(&s, err) : STATUS_OK;
    if (status == STATUS_OK) status = read_and_learn(&s, loss, err);
    language_tape_free(&s.language);
    vision_tape_free(&s.vision);
    vision_plan_free(&s.plan);
    arena_release(&opened->arena, mark);
    return status;
}

double training_step(struct golden_model *opened, const struct gradients *gradients,
                     const struct training_case *c, struct training_depths depths) {
    struct error err;
    double loss;
    if (training_try(opened, gradients, c, depths, &loss, &err)) fail_msg("%s", err.message);
    return loss;
}
