#include <math.h>

#include "model/vision_parts.h"

#define VISION_THETA 10000.0 /* the published tower's own, not in the configuration */

struct block vision_block(const struct vision_block_weights *weights) {
    return (struct block){.attention_norm = weights->norm1,
                          .mlp_norm = weights->norm2,
                          .project = {weights->qkv},
                          .output = weights->proj,
                          .mlp = {weights->gate, weights->up, weights->down}};
}

struct block_shape vision_block_shape(const struct vision_config *config) {
    return (struct block_shape){.hidden = config->hidden,
                                .heads = config->heads,
                                .kv_heads = config->heads,
                                .head_dim = config->hidden / config->heads,
                                .intermediate = config->intermediate,
                                .epsilon = VISION_EPSILON};
}

struct block_call vision_call(const struct model *model, const struct vision_plan *plan,
                              struct vision_tape *tape, int64_t number) {
    return (struct block_call){.segments = vision_segments(&model->config.vision, plan, number),
                               .tape = tape ? &tape->blocks[number] : NULL};
}

/* Angles of each row: the first half of a head turns by its height, the second by its width. */
static void make_rope(struct block_pass *pass, const struct vision_plan *plan,
                      const struct vision_tape *tape) {
    int64_t half = pass->shape.head_dim / 2, patches = plan->patches;
    float frequencies[MAX_HEAD / 2];
    int32_t axis[MAX_HEAD / 2];
    rope_frequencies(VISION_THETA, half, frequencies);
    for (int64_t i = 0; i < half; i++) {
        axis[i] = i >= half / 2;
        if (axis[i]) frequencies[i] = frequencies[i - half / 2];
    }
    pass->cosine = tape ? tape->cosine : arena_tensor(pass->arena, DTYPE_F32, patches, half);
    pass->sine = tape ? tape->sine : arena_tensor(pass->arena, DTYPE_F32, patches, half);
    rope_table(pass->device, pass->cosine, pass->sine,
               arena_upload(pass->arena, DTYPE_I32, 2, patches, plan->positions),
               arena_upload(pass->arena, DTYPE_I32, 1, half, axis),
               arena_upload(pass->arena, DTYPE_F32, 1, half, frequencies));
}

struct tensor vision_order_patches(const struct model *model, struct arena *arena, struct tensor patches,
                                   const struct vision_plan *plan) {
    struct tensor ordered = arena_tensor(arena, model->compute, patches.rows, patches.cols);
    gather_rows(model->device, ordered, patches,
                arena_upload(arena, DTYPE_I32, 1, patches.rows, plan->patch_order));
    return ordered;
}

/* The merger: merge^2 normed rows side by side, through two layers, back in the features' own order. */
static void merge_patches(const struct model *model, struct block_pass *pass, struct tensor features,
                          const struct vision_plan *plan, const struct vision_tape *tape) {
    const struct vision_weights *weights = &model->vision;
    block_finish(pass, pass->normed, weights->merger_norm);
    int64_t count = plan->features, cols = weights->merger_fc1.weight.cols;
    struct tensor wide = tensor_reshape(pass->normed, count, cols);
    struct tensor inner = tensor_reshape(pass->update, count, cols);
    struct tensor before = tape ? tape->inner : inner;
    linear_forward(pass->device, before, wide, weights->merger_fc1.weight, weights->merger_fc1.bias);
    gelu_forward(pass->device, inner, before);
    struct tensor merged = arena_tensor(pass->arena, features.dtype, count, features.cols);
    linear_forward(pass->device, merged, inner, weights->merger_fc2.weight, weights->merger_fc2.bias);
    gather_rows(pass->device, features, merged,
                arena_upload(pass->arena, DTYPE_I32, 1, count, plan->feature_order));
}

void vision_forward_keep(const struct model *model, struct arena *arena, struct tensor features,
                         struct tensor patches, const struct vision_plan *plan, struct vision_tape *tape) {
    const struct vision_config *config = &model->config.vision;
    struct arena_mark mark = arena_mark(arena);
    struct block_pass pass = {.device = model->device,
                              .arena = arena,
                              .compute = model->compute,
                              .stream = model->compute,
                              .shape = vision_block_shape(config)};
    pass.residual = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    pass.normed = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    pass.update = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    make_rope(&pass, plan, tape);
    struct arena_mark before = arena_mark(arena);
    model_enter(model, UNIT_PATCH_EMBED, 0);
    linear_forward(model->device, pass.residual, vision_order_patches(model, arena, patches, plan),
                   model->vision.patch_embed, (struct tensor){0});
    arena_release(arena, before);
    for (int64_t i = 0; i < config->depth; i++) {
        model_enter(model, UNIT_VISION_BLOCK, i);
        struct block block = vision_block(&model->vision.blocks[i]);
        struct block_call call = vision_call(model, plan, tape, i);
        block_forward(&pass, &block, &call);
    }
    model_enter(model, UNIT_MERGER, 0);
    merge_patches(model, &pass, features, plan, tape);
    if (tape) convert(model->device, tape->output, pass.residual);
    arena_release(arena, mark);
}

void vision_forward(const struct model *model, struct arena *arena, struct tensor features,
                    struct tensor patches, const struct vision_plan *plan) {
    vision_forward_keep(model, arena, features, patches, plan, NULL);
}
