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

/* Whether a backward pass of ZeRO 3 gathers it, as train/units.c does: the embeddings are of no use to it,
 * and the last layer and what follows are there yet. */
static bool is_gathered_again(const struct model_config *config, const struct parameter *p) {
    return p->unit == UNIT_VISION_BLOCK || p->unit == UNIT_MERGER ||
           (p->unit == UNIT_LAYER && p->layer < config->layers - 1);
}

static enum status count_parameters(struct scale_shape *shape, struct error *err) {
    const struct freeze *freeze = &shape->settings->freeze;
    struct model *model = &shape->model;
    const struct parameter *last = NULL;
    shape->parameters = parameters_list(&model->config, &shape->parameter_count, err);
    if (!shape->parameters) return STATUS_FAILED;
    for (size_t i = 0; i < shape->parameter_count; i++) {
        const struct parameter *p = &shape->parameters[i];
        double elements = (double)p->rows * (double)p->cols;
        double each = optimizer_takes_weights(model, p) ? (double)dtype_size(DTYPE_F32) : 0;
        if (optimizer_takes_copy(model, p)) each += (double)dtype_size(model->compute);
        shape->elements += elements;
        if (freeze_holds(freeze, p)) continue;
        shape->trained += elements;
        shape->whole_bytes += each * elements;
        if (is_gathered_again(&model->config, p)) shape->again_bytes += each * elements;
        if (!last || last->unit != p->unit || last->layer != p->layer) shape->units++;
        last = p;
    }
    /* Vectors of trained ones, which stay too, depend on the checkpoint: a megabyte of 7B. */
    shape->frozen_bytes =
        (double)optimizer_stored_bytes(model, shape->parameters, shape->parameter_count, freeze, false);
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
    free(shape->parameters);
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

/* Seconds of so many exchanges in which a GPU receives that many bytes: over rings, of which as many leave a
 * machine as it has network adapters. */
static double message_seconds(const struct scale_settings *s, double bytes, double exchanges) {
    if (bytes == 0) return 0;
    const struct gpu *gpu = s->gpu;
    double rate = gpu->link;
    if (s->gpus > gpu->per_machine) rate = fmin(rate, (double)gpu->per_machine * gpu->network);
    return bytes / (rate * s->shares.link) + exchanges * s->shares.latency * ceil(log2((double)s->gpus));
}

/* What a GPU receives of a whole that all have (gather), or in whose sum it has a shard (scatter). */
static double received(const struct scale_settings *s, double whole) {
    return whole * (double)(s->gpus - 1) / (double)s->gpus;
}

/* The messages of each part. */
struct messages {
    double bytes, exchanges; /* each time */
    double times;            /* in a step */
    double beside;           /* the share of the part's work that they may go on beside, if they do */
};

static struct messages plan_backward(const struct scale_shape *shape) {
    const struct scale_settings *s = shape->settings;
    double passes = (double)s->accumulation, units = (double)shape->units;
    double gradients = received(s, (double)dtype_size(DTYPE_F32) * shape->trained);
    switch (s->zero) {
    case 0: return (struct messages){2 * gradients, 2 * units, 1, 1 / passes}; /* a sum for all */
    case 1: return (struct messages){gradients, units, 1, 1 / passes};         /* for each its shard */
    case 2: return (struct messages){gradients, units, passes, 1};
    default: return (struct messages){gradients + received(s, shape->again_bytes), 2 * units, passes, 1};
    }
}

/* The reference model and frozen weights are whole everywhere. */
static struct messages plan_messages(const struct scale_shape *shape, int part) {
    const struct scale_settings *s = shape->settings;
    double units = (double)shape->units, weights = received(s, shape->whole_bytes);
    const struct messages once = {weights, units, 1, 0};
    if (part == SCALE_BACKWARD) return plan_backward(shape);
    if (part == SCALE_OPTIMIZER && (s->zero == 1 || s->zero == 2)) return once;
    if (part == SCALE_WEIGHTS && s->zero == 3 && s->stage == TRAIN_STAGE_GRPO) return once;
    if (part == SCALE_FORWARD && s->zero == 3)
        return (struct messages){weights, units, (double)s->accumulation, 1};
    return (struct messages){0};
}

static void count_seconds(const struct scale_shape *shape, struct scale_step *step) {
    const struct scale_settings *s = shape->settings;
    for (int part = 0; part < SCALE_PARTS; part++) {
        struct messages m = plan_messages(shape, part);
        double work = work_seconds(s, &step->work[part]);
        double message = m.times * message_seconds(s, m.bytes, m.exchanges);
        step->messages[part] = m.times * m.bytes;
        step->work_seconds[part] = work;
        step->message_seconds[part] = message;
        step->seconds[part] = work + fmax(0, message - (s->overlap ? m.beside * work : 0));
        step->step_seconds += step->seconds[part];
    }
    step->tokens_per_second = (double)(s->gpus * step->tokens) / step->step_seconds;
    step->drawn_per_second = (double)(s->gpus * step->drawn) / step->step_seconds;
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
        status = scale_count_memory(&shape, step, err);
    }
    shape_free(&shape);
    return status;
}
