/* The language model's tape and backward pass. */
#include <stdlib.h>

#include "base/memory.h"
#include "model/language_parts.h"

int64_t language_frozen_layers(const struct model *gradients, bool features) {
    const struct language_weights *language = &gradients->language;
    int64_t frozen = 0, layers = gradients->config.layers;
    if (features || language->embedding.data) return 0;
    while (frozen < layers) {
        struct block gradient = language_block(&language->layers[frozen]);
        if (block_is_trained(&gradient)) break;
        frozen++;
    }
    return frozen;
}

/* ---- The tape ---------------------------------------------------------------------------------------- */

static struct tape_shape shape_of_tape(const struct model *model, int64_t count, int64_t wanted,
                                       struct tape_depth depth) {
    return (struct tape_shape){.block = language_block_shape(&model->config),
                               .compute = model->compute,
                               .stream = model->stream,
                               .blocks = model->config.layers,
                               .tokens = count,
                               .last_rows = wanted,
                               .depth = depth};
}

/* What a tape holds beside what the layers keep. */
static size_t other_bytes(const struct model *model, int64_t count, int64_t wanted) {
    return 2 * tape_tensor_bytes(DTYPE_F32, count, model->config.head_dim / 2) +
           tape_tensor_bytes(model->stream, wanted, model->config.hidden);
}

size_t language_tape_bytes(const struct model *model, int64_t count, int64_t wanted,
                           struct tape_depth depth) {
    struct tape_shape shape = shape_of_tape(model, count, wanted, depth);
    return tape_bytes(&shape) + other_bytes(model, count, wanted);
}

struct tape_depth language_tape_depth(const struct model *model, int64_t count, int64_t wanted,
                                      int64_t frozen, size_t bytes) {
    struct tape_shape shape = shape_of_tape(model, count, wanted, (struct tape_depth){.frozen = frozen});
    size_t other = other_bytes(model, count, wanted);
    return tape_depth_within(&shape, bytes > other ? bytes - other : 0);
}

enum status language_tape_make(struct language_tape *tape, const struct model *model, struct arena *arena,
                               int64_t count, int64_t wanted, struct tape_depth depth, struct error *err) {
    *tape = (struct language_tape){0};
    tape->layers = memory_new((size_t)model->config.layers, sizeof *tape->layers, "the tape", err);
    if (!tape->layers) return STATUS_FAILED;
    struct tape_shape shape = shape_of_tape(model, count, wanted, depth);
    tape_make(tape->layers, arena, &shape);
    tape->cosine = arena_tensor(arena, DTYPE_F32, count, model->config.head_dim / 2);
    tape->sine = arena_tensor(arena, DTYPE_F32, count, model->config.head_dim / 2);
    tape->output = arena_tensor(arena, model->stream, wanted, model->config.hidden);
    return STATUS_OK;
}

void language_tape_free(struct language_tape *tape) {
    free(tape->layers);
    *tape = (struct language_tape){0};
}

/* ---- The backward pass ------------------------------------------------------------------------------- */

/* The gradient of the embedding: that of the stream's beginning, but for the rows that features replaced. */
static void embedding_backward(const struct model *model, struct tensor d_embedding, struct arena *arena,
                               struct tensor d_stream, const struct language_pass *pass) {
    struct error err;
    int32_t *rows = memory_new((size_t)pass->count, sizeof *rows, "the gradient of the embedding", &err);
    if (!rows) {
        device_fail(model->device, "%s", err.message);
        return;
    }
    for (int64_t i = 0; i < pass->count; i++) rows[i] = pass->tokens[i];
    for (int64_t i = 0; i < pass->features.rows; i++) rows[pass->feature_rows[i]] = -1;
    scatter_add_rows(model->device, d_embedding, d_stream,
                     arena_upload(arena, DTYPE_I32, 1, pass->count, rows));
    free(rows);
}

/* The gradient of the stream after the last layer. */
static struct tensor final_norm_backward(const struct model *model, const struct model *gradients,
                                         struct arena *arena, struct tensor d_states, struct tensor output) {
    struct device *device = model->device;
    struct tensor d_stream = arena_tensor(arena, model->stream, output.rows, output.cols);
    struct arena_mark mark = arena_mark(arena);
    struct tensor normed = arena_tensor(arena, model->compute, output.rows, output.cols);
    struct tensor inverse_rms = arena_tensor(arena, DTYPE_F32, 1, output.rows);
    rmsnorm_forward(device, normed, inverse_rms, output, model->language.norm,
                    (float)model->config.rms_epsilon);
    clear(device, d_stream);
    rmsnorm_backward(device, d_stream, gradients->language.norm, d_states, output, model->language.norm,
                     inverse_rms);
    arena_release(arena, mark);
    return d_stream;
}

void language_backward(const struct model *model, const struct model *gradients, struct arena *arena,
                       struct tensor d_states, struct tensor d_features, const struct language_pass *pass) {
    struct arena_mark mark = arena_mark(arena);
    const struct language_tape *tape = pass->tape;
    struct block_pass run = {.device = model->device,
                             .arena = arena,
                             .compute = model->compute,
                             .stream = model->stream,
                             .shape = language_block_shape(&model->config),
                             .cosine = tape->cosine,
                             .sine = tape->sine};
    struct block_call all = language_call(model, arena, pass);
    struct tensor d_before = {0};
    if (pass->wanted) d_before = arena_tensor(arena, model->stream, pass->count, model->config.hidden);
    model_enter(model, UNIT_NORM, 0);
    struct tensor d_stream = final_norm_backward(model, gradients, arena, d_states, tape->output);
    model_leave(gradients, UNIT_NORM, 0);
    bool ends = d_features.data || gradients->language.embedding.data;
    int64_t frozen = language_frozen_layers(gradients, d_features.data != NULL);
    for (int64_t i = model->config.layers - 1; i >= frozen; i--) {
        model_enter(model, UNIT_LAYER, i);
        struct block block = language_block(&model->language.layers[i]);
        struct block gradient = language_block(&gradients->language.layers[i]);
        struct block_call call = language_layer_call(model, &all, pass, i);
        block_backward(&run, &block, &gradient, &call, &d_stream, d_before, ends || i > frozen);
        model_leave(gradients, UNIT_LAYER, i);
    }
    if (d_features.data)
        gather_rows(model->device, d_features, d_stream,
                    arena_upload(arena, DTYPE_I32, 1, pass->features.rows, pass->feature_rows));
    if (gradients->language.embedding.data)
        embedding_backward(model, gradients->language.embedding, arena, d_stream, pass);
    model_leave(gradients, UNIT_EMBEDDING, 0);
    arena_release(arena, mark);
}
