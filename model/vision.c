#include "model/vision.h"

#include <math.h>

#include "model/blocks.h"

/* The published tower's own constants, not in the configuration. */
#define VISION_EPSILON 1e-6f
#define VISION_THETA   10000.0

/* What all blocks of a pass share. */
struct pass {
    const struct model *model;
    struct device *device;
    struct arena *arena;
    const struct vision_plan *plan;
    struct tensor cosine, sine;   /* f32 [patches, head / 2] */
    struct tensor normed, update; /* [patches, hidden] */
};

/* Angles of each row: the first half of a head turns by its height, the second by its width. */
static void make_rope(struct pass *pass) {
    const struct vision_config *config = &pass->model->config.vision;
    int64_t half = config->hidden / config->heads / 2, patches = pass->plan->patches;
    float frequencies[MAX_HEAD / 2];
    int32_t axis[MAX_HEAD / 2];
    rope_frequencies(VISION_THETA, half, frequencies);
    for (int64_t i = 0; i < half; i++) {
        axis[i] = i >= half / 2;
        if (axis[i]) frequencies[i] = frequencies[i - half / 2];
    }
    pass->cosine = arena_tensor(pass->arena, DTYPE_F32, patches, half);
    pass->sine = arena_tensor(pass->arena, DTYPE_F32, patches, half);
    rope_table(pass->device, pass->cosine, pass->sine,
               arena_upload(pass->arena, DTYPE_I32, 2, patches, pass->plan->positions),
               arena_upload(pass->arena, DTYPE_I32, 1, half, axis),
               arena_upload(pass->arena, DTYPE_F32, 1, half, frequencies));
}

/* The patches in the tower's order, embedded. */
static void embed_patches(struct pass *pass, struct tensor hidden, struct tensor patches) {
    struct arena_mark mark = arena_mark(pass->arena);
    struct tensor order = arena_upload(pass->arena, DTYPE_I32, 1, patches.rows, pass->plan->patch_order);
    struct tensor ordered = arena_tensor(pass->arena, pass->model->compute, patches.rows, patches.cols);
    gather_rows(pass->device, ordered, patches, order);
    linear_forward(pass->device, hidden, ordered, pass->model->vision.patch_embed, (struct tensor){0});
    arena_release(pass->arena, mark);
}

/* update = attention(normed). */
static void attend(struct pass *pass, int64_t number) {
    const struct vision_config *config = &pass->model->config.vision;
    const struct vision_block_weights *block = &pass->model->vision.blocks[number];
    const struct vision_plan *plan = pass->plan;
    int64_t hidden = config->hidden;
    int heads = (int)config->heads;
    int64_t head_dim = hidden / heads;
    struct arena_mark mark = arena_mark(pass->arena);
    struct tensor qkv = arena_tensor(pass->arena, pass->model->compute, plan->patches, 3 * hidden);
    linear_forward(pass->device, qkv, pass->normed, block->qkv.weight, block->qkv.bias);
    rope_forward(pass->device, tensor_cols(qkv, 0, 2 * hidden), pass->cosine, pass->sine, 2 * heads, false);
    attention_forward(pass->device, pass->normed, (struct tensor){0}, tensor_cols(qkv, 0, hidden),
                      tensor_cols(qkv, hidden, hidden), tensor_cols(qkv, 2 * hidden, hidden),
                      vision_segments(config, plan, number), heads, heads, 1.0f / sqrtf((float)head_dim));
    linear_forward(pass->device, pass->update, pass->normed, block->proj.weight, block->proj.bias);
    arena_release(pass->arena, mark);
}

static void keep(struct pass *pass, const struct tensor *kept, int64_t block, struct tensor hidden) {
    if (kept && kept[block].data) convert(pass->device, kept[block], hidden);
}

/* All blocks: `hidden` is the residual stream, to which a block's MLP is added by the next norm. */
static void run_blocks(struct pass *pass, struct tensor hidden, const struct tensor *kept) {
    const struct vision_weights *weights = &pass->model->vision;
    const struct tensor none = {0};
    for (int64_t i = 0; i < pass->model->config.vision.depth; i++) {
        const struct vision_block_weights *block = &weights->blocks[i];
        if (i == 0)
            rmsnorm_forward(pass->device, pass->normed, none, hidden, block->norm1, VISION_EPSILON);
        else
            add_rmsnorm_forward(pass->device, pass->normed, none, hidden, pass->update, block->norm1,
                                VISION_EPSILON);
        keep(pass, kept, i, hidden);
        attend(pass, i);
        add_rmsnorm_forward(pass->device, pass->normed, none, hidden, pass->update, block->norm2,
                            VISION_EPSILON);
        mlp_forward(pass->device, pass->arena, pass->update, pass->normed, &block->gate, &block->up,
                    &block->down);
    }
}

/* The merger: merge^2 normed rows side by side, through two layers, back in the features' own order. */
static void merge_patches(struct pass *pass, struct tensor features, struct tensor hidden) {
    const struct vision_weights *weights = &pass->model->vision;
    int64_t count = pass->plan->features;
    struct tensor wide = tensor_reshape(pass->normed, count, weights->merger_fc1.weight.cols);
    struct tensor inner = tensor_reshape(pass->update, count, wide.cols);
    add_rmsnorm_forward(pass->device, pass->normed, (struct tensor){0}, hidden, pass->update,
                        weights->merger_norm, VISION_EPSILON);
    linear_forward(pass->device, inner, wide, weights->merger_fc1.weight, weights->merger_fc1.bias);
    gelu_forward(pass->device, inner, inner);
    struct tensor merged = arena_tensor(pass->arena, features.dtype, count, features.cols);
    linear_forward(pass->device, merged, inner, weights->merger_fc2.weight, weights->merger_fc2.bias);
    gather_rows(pass->device, features, merged,
                arena_upload(pass->arena, DTYPE_I32, 1, count, pass->plan->feature_order));
}

void vision_forward(const struct model *model, struct arena *arena, struct tensor features,
                    struct tensor patches, const struct vision_plan *plan, const struct tensor *kept) {
    const struct vision_config *config = &model->config.vision;
    struct arena_mark mark = arena_mark(arena);
    struct pass pass = {.model = model, .device = model->device, .arena = arena, .plan = plan};
    struct tensor hidden = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    pass.normed = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    pass.update = arena_tensor(arena, model->compute, plan->patches, config->hidden);
    make_rope(&pass);
    embed_patches(&pass, hidden, patches);
    run_blocks(&pass, hidden, kept);
    merge_patches(&pass, features, hidden);
    keep(&pass, kept, config->depth, hidden);
    arena_release(arena, mark);
}
