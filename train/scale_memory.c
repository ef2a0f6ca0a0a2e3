/* Memory of a GPU by part. */
#include <math.h>

#include "model/language.h"
#include "model/vision.h"
#include "train/run.h"
#include "train/scale_parts.h"

const char *const scale_memory_names[SCALE_MEMORIES] = {
    [SCALE_COPIES] = "weights",
    [SCALE_MASTERS] = "master weights and moments",
    [SCALE_GRADIENTS] = "gradients",
    [SCALE_ROOMS] = "rooms of whole layers",
    [SCALE_FROZEN] = "frozen weights",
    [SCALE_REFERENCE_WEIGHTS] = "reference model",
    [SCALE_FRAMES] = "frames ahead",
    [SCALE_LIBRARIES] = "libraries",
    [SCALE_ROLLOUT] = "generates: whole weights",
    [SCALE_CACHE] = "generates: keys and values",
    [SCALE_ACTIVATIONS] = "learns: activations",
    [SCALE_LOGITS] = "learns: logits",
};

const double scale_library_bytes = 1e9;

/* What a pass keeps; when layers are computed again, each does it with all of its own kept for that time. */
static double activation_bytes(const struct scale_shape *shape) {
    const struct scale_settings *s = shape->settings;
    const struct model_config *c = &shape->model.config;
    struct tape_depth depth = {.attention = s->recompute ? 0 : c->layers,
                               .whole = s->recompute ? 0 : c->layers};
    struct tape_depth one = {.attention = 1, .whole = 1}, none = {0};
    double bytes = (double)language_tape_bytes(&shape->model, shape->pass_tokens, shape->pass_wanted, depth);
    if (s->recompute)
        bytes += (double)language_tape_bytes(&shape->model, shape->pass_tokens, shape->pass_wanted, one) -
                 (double)language_tape_bytes(&shape->model, shape->pass_tokens, shape->pass_wanted, none);
    if (!s->freeze.vision_tower) {
        struct tape_depth tower = {.attention = s->recompute ? 0 : c->vision.depth,
                                   .whole = s->recompute ? 0 : c->vision.depth};
        bytes += (double)vision_tape_bytes(&shape->model, &shape->vision, tower);
    }
    return bytes;
}

/* Of all completions of a step and their prompts, each of which is kept once. */
static double cache_bytes(const struct scale_shape *shape) {
    const struct scale_settings *s = shape->settings;
    const struct model_config *c = &shape->model.config;
    double prompts = (double)(s->rows * s->accumulation);
    double tokens = prompts * (double)(shape->prompt + s->generations * s->answer_tokens);
    return tokens * 2 * (double)(c->layers * c->kv_heads * c->head_dim) *
           (double)dtype_size(shape->model.compute);
}

/* What training takes for the model, by the functions with which it plans its own. */
static void count_state(const struct scale_shape *shape, double *memory) {
    const struct scale_settings *s = shape->settings;
    const struct model *model = &shape->model;
    const struct parameter *parameters = shape->parameters;
    const size_t count = shape->parameter_count;
    const struct optimizer_sharing sharing = {
        .stage = s->zero, .overlaps = s->overlap, .plans_gpus = true, .plans_processes = s->gpus};
    struct optimizer_memory state = optimizer_memory(model, parameters, count, &s->freeze, sharing);
    memory[SCALE_COPIES] = (double)state.weights;
    memory[SCALE_MASTERS] = (double)state.masters;
    memory[SCALE_GRADIENTS] = (double)state.gradients;
    memory[SCALE_ROOMS] = (double)state.rooms;
    memory[SCALE_FROZEN] = shape->frozen_bytes;
    if (s->stage != TRAIN_STAGE_GRPO) return;
    memory[SCALE_ROLLOUT] = (double)optimizer_gathered_bytes(model, parameters, count, &s->freeze, sharing);
    memory[SCALE_REFERENCE_WEIGHTS] = (double)dtype_size(model->compute) * shape->elements;
}

void scale_count_memory(const struct scale_shape *shape, struct scale_step *step) {
    const struct scale_settings *s = shape->settings;
    const struct device_info device = {.own_memory = true,
                                       .free_memory = (size_t)(s->gpu->memory - scale_library_bytes)};
    double *memory = step->memory;
    count_state(shape, memory);
    memory[SCALE_FRAMES] = 2 * (double)run_ahead_bytes(&device);
    memory[SCALE_LIBRARIES] = scale_library_bytes;
    memory[SCALE_ACTIVATIONS] = activation_bytes(shape);
    memory[SCALE_LOGITS] = (double)language_loss_bytes(&shape->model, shape->pass_wanted);
    if (s->stage == TRAIN_STAGE_GRPO) memory[SCALE_CACHE] = cache_bytes(shape);
    for (int i = 0; i < SCALE_ROLLOUT; i++) step->memory_bytes += memory[i];
    step->memory_bytes +=
        fmax(memory[SCALE_ROLLOUT] + memory[SCALE_CACHE], memory[SCALE_ACTIVATIONS] + memory[SCALE_LOGITS]);
    step->fits = step->memory_bytes <= s->gpu->memory;
}
