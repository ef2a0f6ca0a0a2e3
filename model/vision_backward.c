/* The vision tower's tape and backward pass. */
#include <stdlib.h>

#include "base/memory.h"
#include "model/vision_parts.h"

static bool merger_is_trained(const struct vision_weights *gradients) {
    return gradients->merger_norm.data || gradients->merger_fc1.weight.data ||
           gradients->merger_fc1.bias.data || gradients->merger_fc2.weight.data ||
           gradients->merger_fc2.bias.data;
}

int64_t vision_frozen_blocks(const struct model *gradients) {
    const struct vision_weights *vision = &gradients->vision;
    int64_t frozen = 0;
    if (vision->patch_embed.data) return 0;
    while (frozen < gradients->config.vision.depth) {
        struct block gradient = vision_block(&vision->blocks[frozen]);
        if (block_is_trained(&gradient)) break;
        frozen++;
    }
    return frozen;
}

bool vision_is_trained(const struct model *gradients) {
    return merger_is_trained(&gradients->vision) || gradients->vision.patch_embed.data ||
           vision_frozen_blocks(gradients) < gradients->config.vision.depth;
}

/* ---- The tape ---------------------------------------------------------------------------------------- */

static struct tape_shape shape_of_tape(const struct model *model, const struct vision_plan *plan,
                                       struct tape_depth depth) {
    return (struct tape_shape){.block = vision_block_shape(&model->config.vision),
                               .compute = model->compute,
                               .stream = model->compute,
                               .blocks = model->config.vision.depth,
                               .tokens = plan->patches,
                               .last_rows = plan->patches,
                               .depth = depth};
}

enum status vision_tape_make(struct vision_tape *tape, const struct model *model, struct arena *arena,
                             const struct vision_plan *plan, struct tape_depth depth, struct error *err) {
    *tape = (struct vision_tape){0};
    tape->blocks = memory_new((size_t)model->config.vision.depth, sizeof *tape->blocks, "the tape", err);
    if (!tape->blocks) return STATUS_FAILED;
    struct tape_shape shape = shape_of_tape(model, plan, depth);
    tape_make(tape->blocks, arena, &shape);
    tape->cosine = arena_tensor(arena, DTYPE_F32, plan->patches, shape.block.head_dim / 2);
    tape->sine = arena_tensor(arena, DTYPE_F32, plan->patches, shape.block.head_dim / 2);
    tape->output = arena_tensor(arena, model->compute, plan->patches, shape.block.hidden);
    tape->inner = arena_tensor(arena, model->compute, plan->features, model->vision.merger_fc1.weight.rows);
    return STATUS_OK;
}

void vision_tape_free(struct vision_tape *tape) {
    free(tape->blocks);
    *tape = (struct vision_tape){0};
}

/* ---- The backward pass ------------------------------------------------------------------------------- */

/* The merger: sets d_stream, the gradient of the stream after the blocks, as far as it or the gradient of the
 * merger's norm is wanted. */
static void merger_backward(const struct model *model, const struct model *gradients, struct arena *arena,
                            struct tensor d_stream, struct tensor d_features, const struct vision_plan *plan,
                            const struct vision_tape *tape, bool below) {
    const struct vision_weights *weights = &model->vision, *gradient = &gradients->vision;
    struct device *device = model->device;
    struct arena_mark mark = arena_mark(arena);
    struct tensor d_merged = arena_tensor(arena, model->compute, d_features.rows, d_features.cols);
    scatter_rows(device, d_merged, d_features,
                 arena_upload(arena, DTYPE_I32, 1, plan->features, plan->feature_order));
    struct tensor inner = arena_tensor(arena, model->compute, plan->features, tape->inner.cols);
    gelu_forward(device, inner, tape->inner);
    linear_backward_weights(device, gradient->merger_fc2, d_merged, inner);
    linear_backward_input(device, inner, d_merged, weights->merger_fc2.weight, false);
    gelu_backward(device, inner, inner, tape->inner);

    struct tensor output = tape->output;
    struct tensor normed = arena_tensor(arena, model->compute, output.rows, output.cols);
    struct tensor inverse_rms = arena_tensor(arena, DTYPE_F32, 1, output.rows);
    rmsnorm_forward(device, normed, inverse_rms, output, weights->merger_norm, VISION_EPSILON);
    struct tensor wide = tensor_reshape(normed, plan->features, weights->merger_fc1.weight.cols);
    linear_backward_weights(device, gradient->merger_fc1, inner, wide);
    if (below || gradient->merger_norm.data) {
        linear_backward_input(device, wide, inner, weights->merger_fc1.weight, false);
        clear(device, d_stream);
        rmsnorm_backward(device, d_stream, gradient->merger_norm, normed, output, weights->merger_norm,
                         inverse_rms);
    }
    arena_release(arena, mark);
}

void vision_backward(const struct model *model, const struct model *gradients, struct arena *arena,
                     struct tensor d_features, struct tensor patches, const struct vision_plan *plan,
                     struct vision_tape *tape) {
    struct arena_mark mark = arena_mark(arena);
    int64_t depth = model->config.vision.depth, frozen = vision_frozen_blocks(gradients);
    struct tensor d_patch_embed = gradients->vision.patch_embed;
    bool ends = d_patch_embed.data != NULL;
    struct block_pass run = {.device = model->device,
                             .arena = arena,
                             .compute = model->compute,
                             .stream = model->compute,
                             .shape = vision_block_shape(&model->config.vision),
                             .cosine = tape->cosine,
                             .sine = tape->sine};
    struct tensor d_stream = arena_tensor(arena, model->compute, plan->patches, run.shape.hidden);
    model_enter(model, UNIT_MERGER, 0);
    merger_backward(model, gradients, arena, d_stream, d_features, plan, tape, ends || frozen < depth);
    model_leave(gradients, UNIT_MERGER, 0);
    for (int64_t i = depth - 1; i >= frozen; i--) {
        model_enter(model, UNIT_VISION_BLOCK, i);
        struct block block = vision_block(&model->vision.blocks[i]);
        struct block gradient = vision_block(&gradients->vision.blocks[i]);
        struct block_call call = vision_call(model, plan, tape, i);
        block_backward(&run, &block, &gradient, &call, &d_stream, (struct tensor){0}, ends || i > frozen);
        model_leave(gradients, UNIT_VISION_BLOCK, i);
    }
    if (ends)
        linear_backward_weights(model->device, (struct linear){.weight = d_patch_embed}, d_stream,
                                vision_order_patches(model, arena, patches, plan));
    model_leave(gradients, UNIT_PATCH_EMBED, 0);
    arena_release(arena, mark);
}
