#include "model/language_parts.h"

struct block language_block(const struct language_layer_weights *layer) {
    return (struct block){.attention_norm = layer->input_norm,
                          .mlp_norm = layer->post_attention_norm,
                          .project = {layer->q, layer->k, layer->v},
                          .output = {.weight = layer->o},
                          .mlp = {{.weight = layer->gate}, {.weight = layer->up}, {.weight = layer->down}}};
}

struct block_shape language_block_shape(const struct model_config *config) {
    return (struct block_shape){.hidden = config->hidden,
                                .heads = config->heads,
                                .kv_heads = config->kv_heads,
                                .head_dim = config->head_dim,
                                .intermediate = config->intermediate,
                                .epsilon = (float)config->rms_epsilon};
}

/* Angles of each token: the halves of a head are cut into a section for each of time, height and width. */
static void make_rope(const struct model *model, struct block_pass *run, const struct language_pass *pass) {
    const struct model_config *config = &model->config;
    int64_t half = config->head_dim / 2, count = pass->count;
    float frequencies[MAX_HEAD / 2];
    int32_t axis[MAX_HEAD / 2];
    rope_frequencies(config->rope_theta, config->head_dim, frequencies);
    for (int64_t i = 0, of = 0, end = config->mrope_section[0]; i < half; i++) {
        while (i >= end) end += config->mrope_section[++of];
        axis[i] = (int32_t)of;
    }
    run->cosine = pass->tape ? pass->tape->cosine : arena_tensor(run->arena, DTYPE_F32, count, half);
    run->sine = pass->tape ? pass->tape->sine : arena_tensor(run->arena, DTYPE_F32, count, half);
    rope_table(run->device, run->cosine, run->sine,
               arena_upload(run->arena, DTYPE_I32, 3, count, pass->positions),
               arena_upload(run->arena, DTYPE_I32, 1, half, axis),
               arena_upload(run->arena, DTYPE_F32, 1, half, frequencies));
}

/* The stream begins as the embeddings of the tokens, with features at the visuals' pads. */
static void embed(const struct model *model, struct block_pass *run, const struct language_pass *pass) {
    gather_rows(run->device, run->residual, model->language.embedding,
                arena_upload(run->arena, DTYPE_I32, 1, pass->count, pass->tokens));
    if (pass->features.rows > 0)
        scatter_rows(run->device, run->residual, pass->features,
                     arena_upload(run->arena, DTYPE_I32, 1, pass->features.rows, pass->feature_rows));
}

struct block_call language_call(const struct model *model, struct arena *arena,
                                const struct language_pass *pass) {
    struct block_call call = {.segments = pass->segments};
    if (pass->cache) call.cache_rows = arena_upload(arena, DTYPE_I32, 1, pass->count, pass->cache_rows);
    if (pass->wanted) {
        call.wanted = arena_upload(arena, DTYPE_I32, 1, pass->wanted_count, pass->wanted);
        call.narrow = arena_tensor(arena, model->stream, pass->wanted_count, model->config.hidden);
    }
    return call;
}

struct block_call language_layer_call(const struct model *model, const struct block_call *all,
                                      const struct language_pass *pass, int64_t number) {
    struct block_call call = *all;
    if (pass->cache) call.cache = kv_cache_layer(pass->cache, number);
    if (number < model->config.layers - 1) call.wanted = call.narrow = (struct tensor){0};
    if (pass->tape) call.tape = &pass->tape->layers[number];
    return call;
}

void language_forward(const struct model *model, struct arena *arena, struct tensor states,
                      const struct language_pass *pass) {
    const struct model_config *config = &model->config;
    struct arena_mark mark = arena_mark(arena);
    struct block_pass run = {.device = model->device,
                             .arena = arena,
                             .compute = model->compute,
                             .stream = model->stream,
                             .shape = language_block_shape(config)};
    assert(!pass->tape || !pass->cache);
    run.residual = arena_tensor(arena, model->stream, pass->count, config->hidden);
    run.update = arena_tensor(arena, model->compute, pass->count, config->hidden);
    run.normed = arena_tensor(arena, model->compute, pass->count, config->hidden);
    struct block_call all = language_call(model, arena, pass);
    make_rope(model, &run, pass);
    model_enter(model, UNIT_EMBEDDING, 0);
    embed(model, &run, pass);
    for (int64_t i = 0; i < config->layers; i++) {
        model_enter(model, UNIT_LAYER, i);
        struct block block = language_block(&model->language.layers[i]);
        struct block_call call = language_layer_call(model, &all, pass, i);
        block_forward(&run, &block, &call);
    }
    model_enter(model, UNIT_NORM, 0);
    block_finish(&run, states, model->language.norm);
    if (pass->tape) convert(model->device, pass->tape->output, run.residual);
    arena_release(arena, mark);
}
