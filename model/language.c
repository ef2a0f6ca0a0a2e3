#include "model/language.h"

#include <math.h>

#include "model/blocks.h"

/* Logits held at once by language_logprob. */
enum { LOGIT_BYTES = 64 << 20 };

/* What all layers of a pass share. */
struct state {
    const struct model *model;
    struct device *device;
    struct arena *arena;
    const struct language_pass *pass;
    struct tensor cosine, sine; /* f32 [count, head_dim / 2] */
    struct tensor cache_rows;   /* i32 [1, count], or no tensor */
    struct tensor wanted;       /* i32 [1, wanted_count], or no tensor */
    struct tensor residual;     /* [rows, hidden]: the stream; rows are all tokens, then the wanted ones */
    struct tensor update;       /* [rows, hidden]: what the next norm adds to the stream */
    struct tensor normed;       /* [rows, hidden] */
};

/* Angles of each token: the halves of a head are cut into a section for each of time, height and width. */
static void make_rope(struct state *state) {
    const struct model_config *config = &state->model->config;
    int64_t half = config->head_dim / 2, count = state->pass->count;
    float frequencies[MAX_HEAD / 2];
    int32_t axis[MAX_HEAD / 2];
    rope_frequencies(config->rope_theta, config->head_dim, frequencies);
    for (int64_t i = 0, of = 0, end = config->mrope_section[0]; i < half; i++) {
        while (i >= end) end += config->mrope_section[++of];
        axis[i] = (int32_t)of;
    }
    state->cosine = arena_tensor(state->arena, DTYPE_F32, count, half);
    state->sine = arena_tensor(state->arena, DTYPE_F32, count, half);
    rope_table(state->device, state->cosine, state->sine,
               arena_upload(state->arena, DTYPE_I32, 3, count, state->pass->positions),
               arena_upload(state->arena, DTYPE_I32, 1, half, axis),
               arena_upload(state->arena, DTYPE_F32, 1, half, frequencies));
}

/* residual = the embeddings of the tokens, with features at the visuals' pads. */
static void embed(struct state *state) {
    const struct language_pass *pass = state->pass;
    gather_rows(state->device, state->residual, state->model->language.embedding,
                arena_upload(state->arena, DTYPE_I32, 1, pass->count, pass->tokens));
    if (pass->features.rows > 0)
        scatter_rows(state->device, state->residual, pass->features,
                     arena_upload(state->arena, DTYPE_I32, 1, pass->features.rows, pass->feature_rows));
}

/* The rows of x that are wanted. */
static struct tensor gather_wanted(struct state *state, struct tensor x) {
    struct tensor out = arena_tensor(state->arena, x.dtype, state->pass->wanted_count, x.cols);
    gather_rows(state->device, out, x, state->wanted);
    return out;
}

/* From here on only the wanted rows are computed. */
static void narrow(struct state *state) {
    state->residual = gather_wanted(state, state->residual);
    state->update = tensor_rows(state->update, 0, state->pass->wanted_count);
    state->normed = tensor_rows(state->normed, 0, state->pass->wanted_count);
}

/* Attention over `normed` into `attended`; keys and values go to the cache first, if there is one. */
static void attend(struct state *state, int64_t number, struct tensor qkv, struct tensor attended) {
    const struct model_config *config = &state->model->config;
    const struct language_layer_weights *layer = &state->model->language.layers[number];
    const struct language_pass *pass = state->pass;
    int64_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
    struct tensor keys = tensor_cols(qkv, q, kv), values = tensor_cols(qkv, q + kv, kv);

    linear_forward(state->device, tensor_cols(qkv, 0, q), state->normed, layer->q.weight, layer->q.bias);
    linear_forward(state->device, keys, state->normed, layer->k.weight, layer->k.bias);
    linear_forward(state->device, values, state->normed, layer->v.weight, layer->v.bias);
    rope_forward(state->device, tensor_cols(qkv, 0, q + kv), state->cosine, state->sine,
                 (int)(config->heads + config->kv_heads), false);
    if (pass->cache) {
        scatter_rows(state->device, pass->cache->both[number], tensor_cols(qkv, q, 2 * kv),
                     state->cache_rows);
        keys = kv_cache_keys(pass->cache, number);
        values = kv_cache_values(pass->cache, number);
    }
    attention_forward(state->device, attended, (struct tensor){0}, tensor_cols(qkv, 0, q), keys, values,
                      pass->segments, (int)config->heads, (int)config->kv_heads,
                      1.0f / sqrtf((float)config->head_dim));
}

/* One layer; its input is residual + update, and so is its output. The last one leaves unwanted rows out as
 * soon as their keys and values are known. */
static void run_layer(struct state *state, int64_t number) {
    const struct model_config *config = &state->model->config;
    const struct language_layer_weights *layer = &state->model->language.layers[number];
    const struct tensor none = {0};
    float epsilon = (float)config->rms_epsilon;
    int64_t q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;

    if (number == 0)
        rmsnorm_forward(state->device, state->normed, none, state->residual, layer->input_norm, epsilon);
    else
        add_rmsnorm_forward(state->device, state->normed, none, state->residual, state->update,
                            layer->input_norm, epsilon);
    if (state->pass->kept && state->pass->kept[number].data)
        convert(state->device, state->pass->kept[number], state->residual);

    struct tensor qkv = arena_tensor(state->arena, state->model->compute, state->pass->count, q + 2 * kv);
    struct tensor attended = arena_tensor(state->arena, state->model->compute, state->pass->count, q);
    attend(state, number, qkv, attended);
    if (number == config->layers - 1 && state->wanted.data) {
        attended = gather_wanted(state, attended);
        narrow(state);
    }
    linear_forward(state->device, state->update, attended, layer->o, none);
    add_rmsnorm_forward(state->device, state->normed, none, state->residual, state->update,
                        layer->post_attention_norm, epsilon);
    mlp_forward(state->device, state->arena, state->update, state->normed,
                &(struct linear){.weight = layer->gate}, &(struct linear){.weight = layer->up},
                &(struct linear){.weight = layer->down});
}

void language_forward(const struct model *model, struct arena *arena, struct tensor states,
                      const struct language_pass *pass) {
    const struct model_config *config = &model->config;
    struct arena_mark mark = arena_mark(arena);
    struct state state = {.model = model, .device = model->device, .arena = arena, .pass = pass};
    state.residual = arena_tensor(arena, model->compute, pass->count, config->hidden);
    state.update = arena_tensor(arena, model->compute, pass->count, config->hidden);
    state.normed = arena_tensor(arena, model->compute, pass->count, config->hidden);
    if (pass->cache) state.cache_rows = arena_upload(arena, DTYPE_I32, 1, pass->count, pass->cache_rows);
    if (pass->wanted) state.wanted = arena_upload(arena, DTYPE_I32, 1, pass->wanted_count, pass->wanted);
    make_rope(&state);
    embed(&state);
    for (int64_t i = 0; i < config->layers; i++) {
        struct arena_mark layer = arena_mark(arena);
        run_layer(&state, i);
        /* What the last layer gathered is still needed. */
        if (i < config->layers - 1) arena_release(arena, layer);
    }
    add_rmsnorm_forward(model->device, states, (struct tensor){0}, state.residual, state.update,
                        model->language.norm, (float)config->rms_epsilon);
    arena_release(arena, mark);
}

void language_logits(const struct model *model, struct tensor logits, struct tensor states) {
    linear_forward(model->device, logits, states, model->language.head, (struct tensor){0});
}

static struct tensor some_columns(struct tensor t, int64_t first, int64_t count) {
    return t.data ? tensor_cols(t, first, count) : t;
}

void language_logprob(const struct model *model, struct arena *arena, struct tensor states,
                      struct tensor target, struct tensor logprob, struct tensor log_sum,
                      struct tensor entropy) {
    int64_t chunk = LOGIT_BYTES / (int64_t)sizeof(float) / model->config.vocab;
    if (chunk < 1) chunk = 1;
    for (int64_t first = 0; first < states.rows; first += chunk) {
        int64_t count = states.rows - first < chunk ? states.rows - first : chunk;
        struct arena_mark mark = arena_mark(arena);
        struct tensor logits = arena_tensor(arena, DTYPE_F32, count, model->config.vocab);
        language_logits(model, logits, tensor_rows(states, first, count));
        logprob_forward(model->device, tensor_cols(logprob, first, count),
                        some_columns(log_sum, first, count), some_columns(entropy, first, count), logits,
                        tensor_cols(target, first, count));
        arena_release(arena, mark);
    }
}
