#include "model/cost.h"

/* Adds y = x W^T over `rows` rows. */
static void add_linear(struct cost *cost, struct tensor weight, int64_t rows) {
    cost->flops += 2.0 * (double)rows * (double)weight.rows * (double)weight.cols;
    if (rows > 0) cost->bytes += (double)(weight.rows * weight.cols) * (double)dtype_size(weight.dtype);
}

/* Pairs of a query and a key that it sees. */
static double count_pairs(struct attention_segments segments) {
    double pairs = 0;
    for (int64_t i = 0; i < segments.count; i++) {
        const struct attention_segment *s = &segments.host[i];
        double own = (double)s->queries * (double)s->keys;
        if (s->causal) own -= (double)s->queries * (double)(s->queries - 1) / 2;
        pairs += own + (double)s->queries * (double)s->prefix_keys;
    }
    return pairs;
}

/* Keys that are looked at; those that segments share count once, when the segments stand together. */
static double count_keys(struct attention_segments segments) {
    double keys = 0;
    for (int64_t i = 0; i < segments.count; i++) {
        const struct attention_segment *s = &segments.host[i];
        bool shared = i > 0 && s[-1].prefix == s->prefix && s[-1].prefix_keys == s->prefix_keys;
        keys += (double)s->keys + (shared ? 0 : (double)s->prefix_keys);
    }
    return keys;
}

/* Adds scores and weighted values of one layer. */
static void add_attention(struct cost *cost, struct attention_segments segments, int64_t width,
                          int64_t kv_width, enum dtype dtype) {
    cost->flops += 4.0 * (double)width * count_pairs(segments);
    cost->bytes += 2.0 * (double)kv_width * (double)dtype_size(dtype) * count_keys(segments);
}

struct cost vision_cost(const struct model *model, const struct vision_plan *plan) {
    const struct vision_config *config = &model->config.vision;
    struct cost cost = {0};
    add_linear(&cost, model->vision.patch_embed, plan->patches);
    for (int64_t i = 0; i < config->depth; i++) {
        const struct vision_block_weights *block = &model->vision.blocks[i];
        const struct tensor weights[] = {block->qkv.weight, block->proj.weight, block->gate.weight,
                                         block->up.weight, block->down.weight};
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++)
            add_linear(&cost, weights[w], plan->patches);
        add_attention(&cost, vision_segments(config, plan, i), config->hidden, config->hidden,
                      model->compute);
    }
    add_linear(&cost, model->vision.merger_fc1.weight, plan->features);
    add_linear(&cost, model->vision.merger_fc2.weight, plan->features);
    return cost;
}

struct cost language_cost(const struct model *model, int64_t tokens, struct attention_segments segments,
                          int64_t logits) {
    const struct model_config *config = &model->config;
    struct cost cost = {0};
    for (int64_t i = 0; i < config->layers; i++) {
        const struct language_layer_weights *layer = &model->language.layers[i];
        const struct tensor weights[] = {layer->q.weight, layer->k.weight, layer->v.weight, layer->o,
                                         layer->gate,     layer->up,       layer->down};
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) add_linear(&cost, weights[w], tokens);
        add_attention(&cost, segments, config->heads * config->head_dim, config->kv_heads * config->head_dim,
                      model->compute);
    }
    add_linear(&cost, model->language.head, logits);
    return cost;
}
