/* Memory of a GPU by part. */
#include "model/language.h"
#include "model/vision.h"
#include "train/scale_parts.h"

const char *const scale_memory_names[SCALE_MEMORIES] = {
    [SCALE_COPIES] = "weights",
    [SCALE_MASTERS] = "master weights and moments",
    [SCALE_GRADIENTS] = "gradients",
    [SCALE_GATHERED] = "gathered layers",
    [SCALE_ROLLOUT] = "weights for rollouts",
    [SCALE_CACHE] = "keys and values of rollouts",
    [SCALE_REFERENCE_WEIGHTS] = "reference model",
    [SCALE_ACTIVATIONS] = "activations",
    [SCALE_LOGITS] = "logits",
    [SCALE_LIBRARIES] = "libraries",
};

const double scale_library_bytes = 1e9;

/* Bytes of the largest pieces that ZeRO 3 has whole at one time: this layer and the next, the embedding and
 * the head. */
static double gathered_bytes(const struct scale_shape *shape) {
    const struct language_layer_weights *l = &shape->model.language.layers[0];
    const struct tensor layer[] = {l->q.weight, l->k.weight, l->v.weight, l->o, l->gate, l->up, l->down};
    double elements = 0;
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++)
        elements += 2 * (double)layer[i].rows * (double)layer[i].cols;
    elements += 2 * (double)shape->model.language.head.rows * (double)shape->model.language.head.cols;
    return elements * (double)dtype_size(shape->model.compute);
}

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

void scale_count_memory(const struct scale_shape *shape, struct scale_step *step) {
    const struct scale_settings *s = shape->settings;
    double *memory = step->memory, f32 = (double)dtype_size(DTYPE_F32), count = (double)s->gpus;
    double whole = shape->weight_bytes + shape->frozen_bytes;
    memory[SCALE_COPIES] =
        (s->zero >= 1 ? whole : shape->copy_bytes + shape->frozen_bytes) / (s->zero >= 3 ? count : 1);
    memory[SCALE_MASTERS] = 3 * f32 * shape->trained / (s->zero >= 1 ? count : 1);
    memory[SCALE_GRADIENTS] = f32 * shape->trained / (s->zero >= 2 ? count : 1);
    memory[SCALE_ACTIVATIONS] = activation_bytes(shape);
    memory[SCALE_LOGITS] = (double)language_loss_bytes(&shape->model, shape->pass_wanted);
    memory[SCALE_LIBRARIES] = scale_library_bytes;
    if (s->zero >= 3 && s->gpus > 1) memory[SCALE_GATHERED] = gathered_bytes(shape);
    if (s->stage == TRAIN_STAGE_GRPO) {
        if (s->zero >= 3 && s->gpus > 1) memory[SCALE_ROLLOUT] = whole;
        memory[SCALE_CACHE] = cache_bytes(shape);
        memory[SCALE_REFERENCE_WEIGHTS] = whole / (s->zero >= 3 ? count : 1);
    }
    for (int i = 0; i < SCALE_MEMORIES; i++) step->memory_bytes += memory[i];
    step->fits = step->memory_bytes <= s->gpu->memory;
}
