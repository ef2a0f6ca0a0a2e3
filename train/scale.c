#include "train/scale.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "model/shapes.h"
#include "train/scale_parts.h"

/* Of large products on Hopper cuBLAS reaches about three quarters of the data sheet's peak under power
 * limits. */
const struct scale_shares scale_assumed = {.flops = 0.75, .bandwidth = 0.85, .link = 0.8, .latency = 10e-6};

const char *const scale_part_names[SCALE_PARTS] = {
    [SCALE_WEIGHTS] = "weights for rollouts", [SCALE_PROMPTS] = "prompts", [SCALE_DECODING] = "decoding",
    [SCALE_REFERENCE] = "reference",          [SCALE_FORWARD] = "forward", [SCALE_BACKWARD] = "backward",
    [SCALE_OPTIMIZER] = "optimizer",
};

/* ---- The shape of a pass ----------------------------------------------------------------------------- */

static enum status count_parameters(struct scale_shape *shape, struct error *err) {
    const struct freeze *freeze = &shape->settings->freeze;
    size_t count = 0;
    struct parameter *parameters = parameters_list(&shape->model.config, &count, err);
    if (!parameters) return STATUS_FAILED;
    const struct freeze tower = {.vision_tower = true, .projector = true};
    for (size_t i = 0; i < count; i++) {
        double elements = (double)parameters[i].rows * (double)parameters[i].cols;
        double bytes = elements * (double)dtype_size(parameter_tensor(&shape->model, &parameters[i])->dtype);
        bool frozen = freeze_holds(freeze, &parameters[i]), in_tower = freeze_holds(&tower, &parameters[i]);
        if (!frozen) shape->trained += elements;
        if (frozen) shape->frozen_bytes += bytes;
        if (frozen && in_tower) shape->frozen_tower += bytes;
    }
    double parts = OPTIMIZER_PARTS * (double)dtype_size(DTYPE_F32);
    shape->copy_bytes =
        (double)optimizer_bytes(&shape->model, parameters, count, freeze) - parts * shape->trained;
    shape->weight_bytes = (double)dtype_size(shape->model.compute) * shape->trained;
    free(parameters);
    return STATUS_OK;
}

/* A sample is one segment; a prompt is one, and each of its completions another that sees it. */
static enum status lay_out(struct scale_shape *shape, struct error *err) {
    const struct scale_settings *s = shape->settings;
    bool grpo = s->stage == TRAIN_STAGE_GRPO;
    int64_t own = grpo ? shape->prompt : shape->prompt + s->answer_tokens,
            completions = grpo ? s->generations : 0;
    shape->segments =
        memory_new((size_t)(s->rows * (1 + completions)), sizeof *shape->segments, "segments", err);
    if (!shape->segments) return STATUS_FAILED;
    for (int64_t row = 0, at = 0; row < s->rows; row++) {
        int64_t prompt = at;
        shape->segments[shape->segment_count++] =
            (struct attention_segment){.query = at, .queries = own, .key = at, .keys = own, .causal = true};
        at += own;
        for (int64_t i = 0; i < completions; i++, at += s->answer_tokens)
            shape->segments[shape->segment_count++] = (struct attention_segment){.query = at,
                                                                                 .queries = s->answer_tokens,
                                                                                 .prefix = prompt,
                                                                                 .prefix_keys = own,
                                                                                 .key = at,
                                                                                 .keys = s->answer_tokens,
                                                                                 .causal = true};
        shape->pass_tokens = at;
    }
    shape->pass_wanted = s->rows * s->answer_tokens * (grpo ? completions : 1);
    return STATUS_OK;
}

static enum status plan_vision(struct scale_shape *shape, struct error *err) {
    const struct scale_settings *s = shape->settings;
    struct visual_grid *grids = memory_new((size_t)s->rows, sizeof *grids, "grids", err);
    if (!grids) return STATUS_FAILED;
    for (int64_t i = 0; i < s->rows; i++) grids[i] = s->video;
    enum status status = vision_plan_make(&s->config->vision, grids, s->rows, &shape->vision, err);
    free(grids);
    return status;
}

static void shape_free(struct scale_shape *shape) {
    vision_plan_free(&shape->vision);
    free(shape->segments);
    model_shapes_free(&shape->model);
}

static enum status shape_make(struct scale_shape *shape, const struct scale_settings *s, struct error *err) {
    *shape = (struct scale_shape){.settings = s};
    enum status status = model_shapes_make(&shape->model, s->config, DTYPE_BF16, err);
    if (status == STATUS_OK) status = count_parameters(shape, err);
    shape->prompt = grid_features(&s->config->vision, &s->video) + s->text_tokens;
    if (status == STATUS_OK) status = lay_out(shape, err);
    if (status == STATUS_OK) status = plan_vision(shape, err);
    if (status != STATUS_OK) shape_free(shape);
    return status;
}

/* ---- Time -------------------------------------------------------------------------------------------- */

static double work_seconds(const struct scale_settings *s, const struct scale_work *work) {
    double bandwidth = s->gpu->bandwidth * s->shares.bandwidth;
    return fmax(work->flops / (s->gpu->flops * s->shares.flops), work->product_bytes / bandwidth) +
           work->other_bytes / bandwidth;
}

/* Seconds of one message in which a GPU receives that many bytes: over rings, of which as many leave a
 * machine as it has network adapters. */
static double message_seconds(const struct scale_settings *s, double bytes) {
    if (bytes == 0) return 0;
    const struct gpu *gpu = s->gpu;
    double rate = gpu->link;
    if (s->gpus > gpu->per_machine) rate = fmin(rate, (double)gpu->per_machine * gpu->network);
    return bytes / (rate * s->shares.link) + s->shares.latency * ceil(log2((double)s->gpus));
}

/* What a GPU receives of a whole that all have (gather), or in whose sum it has a shard (scatter). */
static double received(const struct scale_settings *s, double whole) {
    return whole * (double)(s->gpus - 1) / (double)s->gpus;
}

/* The bytes of one message of each part; a pass has one, or with `last` only the last pass of a step does. */
struct messages {
    double bytes[SCALE_PARTS];
    bool last;
};

static struct messages plan_messages(const struct scale_shape *shape) {
    const struct scale_settings *s = shape->settings;
    double gradients = received(s, (double)dtype_size(DTYPE_F32) * shape->trained);
    double copies = received(s, shape->weight_bytes), weights = copies + received(s, shape->frozen_bytes);
    struct messages m = {.last = s->zero <= 1};
    m.bytes[SCALE_BACKWARD] =
        s->zero == 0 ? 2 * gradients : gradients; /* a sum for all, or for each its shard */
    if (s->zero == 1 || s->zero == 2) m.bytes[SCALE_OPTIMIZER] = copies;
    if (s->zero < 3) return m;
    m.bytes[SCALE_FORWARD] = weights;
    m.bytes[SCALE_BACKWARD] += weights - received(s, shape->frozen_tower);
    if (s->stage == TRAIN_STAGE_GRPO) m.bytes[SCALE_WEIGHTS] = m.bytes[SCALE_REFERENCE] = weights;
    return m;
}

/* A part's time with its messages behind it. */
static double part_seconds(const struct scale_shape *shape, const struct messages *m, int part, double work) {
    const struct scale_settings *s = shape->settings;
    double message = message_seconds(s, m->bytes[part]);
    bool alone = part == SCALE_OPTIMIZER || part == SCALE_WEIGHTS;
    if (alone) return work + message;
    double passes = (double)s->accumulation;
    if (m->last) return work + fmax(0, message - work / passes);
    return fmax(work, passes * message);
}

static void count_seconds(const struct scale_shape *shape, struct scale_step *step) {
    const struct scale_settings *s = shape->settings;
    struct messages m = plan_messages(shape);
    for (int part = 0; part < SCALE_PARTS; part++) {
        bool once = part == SCALE_OPTIMIZER || part == SCALE_WEIGHTS || m.last;
        step->messages[part] = m.bytes[part] * (once ? 1 : (double)s->accumulation);
        step->seconds[part] = part_seconds(shape, &m, part, work_seconds(s, &step->work[part]));
        step->step_seconds += step->seconds[part];
    }
    step->tokens_per_second = (double)(s->gpus * step->tokens) / step->step_seconds;
    step->peak_share = step->useful_flops / (step->step_seconds * s->gpu->flops);
}

enum status scale_plan(const struct scale_settings *settings, struct scale_step *step, struct error *err) {
    struct scale_shape shape;
    *step = (struct scale_step){0};
    enum status status = shape_make(&shape, settings, err);
    if (status != STATUS_OK) return status;
    status = scale_count_work(&shape, step, err);
    if (status == STATUS_OK) {
        count_seconds(&shape, step);
        scale_count_memory(&shape, step);
    }
    shape_free(&shape);
    return status;
}
