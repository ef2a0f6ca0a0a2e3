/* Memory of a GPU by part. */
#include <math.h>

#include "train/pass_room.h"
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
    [SCALE_READING] = "generates: activations",
    [SCALE_PASS] = "learns: activations, logits",
};

const double scale_library_bytes = 1e9;

/* Of a device on which nothing is computed: passes are walked through (train/pass_room.h). */
static enum status count_passes(struct scale_shape *shape, double *memory, struct error *err) {
    const struct scale_settings *s = shape->settings;
    const bool grpo = s->stage == TRAIN_STAGE_GRPO;
    const struct pass_plan plan = {&shape->model, &s->freeze, s->recompute, 0};
    const struct pass_size pass = {.sequences = s->rows,
                                   .tokens = shape->prompt + (grpo ? 0 : s->answer_tokens),
                                   .patches = s->video.t * s->video.h * s->video.w,
                                   .completions = grpo ? s->generations : 0,
                                   .completion_tokens = s->answer_tokens};
    const struct pass_size prompt = {1, shape->prompt, pass.patches, 1, 1};
    struct device device;
    size_t reads = 0, learns = 0;
    enum status status = device_open("cpu", &device, err);
    if (status != STATUS_OK) return status;
    device.stands_for_gpu = true;
    shape->model.device = &device;
    status = pass_plan_bytes(&plan, pass, true, &learns, err);
    if (status == STATUS_OK && grpo) status = pass_plan_bytes(&plan, prompt, false, &reads, err);
    shape->model.device = NULL;
    device_close(&device);
    memory[SCALE_READING] = (double)reads;
    memory[SCALE_PASS] = (double)learns;
    return status;
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

enum status scale_count_memory(struct scale_shape *shape, struct scale_step *step, struct error *err) {
    const struct scale_settings *s = shape->settings;
    const struct device_info device = {.own_memory = true,
                                       .free_memory = (size_t)(s->gpu->memory - scale_library_bytes)};
    double *memory = step->memory;
    count_state(shape, memory);
    memory[SCALE_FRAMES] = 2 * (double)run_ahead_bytes(&device);
    memory[SCALE_LIBRARIES] = scale_library_bytes;
    if (s->stage == TRAIN_STAGE_GRPO) memory[SCALE_CACHE] = cache_bytes(shape);
    enum status status = count_passes(shape, memory, err);
    for (int i = 0; i < SCALE_ROLLOUT; i++) step->memory_bytes += memory[i];
    step->memory_bytes +=
        fmax(memory[SCALE_ROLLOUT] + memory[SCALE_CACHE] + memory[SCALE_READING], memory[SCALE_PASS]);
    step->fits = step->memory_bytes <= s->gpu->memory;
    return status;
}
