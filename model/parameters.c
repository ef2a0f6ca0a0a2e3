#include "model/parameters.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* The sizes that parameters have, as functions of the configuration. */
enum size {
    SIZE_ONE,
    SIZE_HIDDEN,
    SIZE_QUERY, /* all query heads */
    SIZE_KEY,   /* all key heads */
    SIZE_INTERMEDIATE,
    SIZE_VOCAB,
    SIZE_VISION_HIDDEN,
    SIZE_VISION_QKV,
    SIZE_VISION_INTERMEDIATE,
    SIZE_VISION_PATCH,  /* the values of one patch */
    SIZE_VISION_MERGED, /* merge x merge patches side by side */
    SIZE_VISION_OUT,
};

static int64_t size_of(const struct model_config *config, enum size size) {
    const struct vision_config *vision = &config->vision;
    switch (size) {
    case SIZE_ONE: return 1;
    case SIZE_HIDDEN: return config->hidden;
    case SIZE_QUERY: return config->heads * config->head_dim;
    case SIZE_KEY: return config->kv_heads * config->head_dim;
    case SIZE_INTERMEDIATE: return config->intermediate;
    case SIZE_VOCAB: return config->vocab;
    case SIZE_VISION_HIDDEN: return vision->hidden;
    case SIZE_VISION_QKV: return 3 * vision->hidden;
    case SIZE_VISION_INTERMEDIATE: return vision->intermediate;
    case SIZE_VISION_PATCH:
        return vision->in_channels * vision->temporal_patch * vision->patch * vision->patch;
    case SIZE_VISION_MERGED: return vision->hidden * vision->merge * vision->merge;
    case SIZE_VISION_OUT: return vision->out_hidden;
    }
    return 0;
}

enum owner { OWNER_MODEL, OWNER_VISION_BLOCK, OWNER_LANGUAGE_LAYER };

/* A parameter of the model, or of each of its blocks or layers. */
struct pattern {
    const char *name; /* after the owner's prefix */
    enum parameter_kind kind;
    enum size rows, cols;
    size_t offset;
};

#define IN_MODEL(member) offsetof(struct model, member)
#define IN_BLOCK(member) offsetof(struct vision_block_weights, member)
#define IN_LAYER(member) offsetof(struct language_layer_weights, member)

static const struct pattern vision_start[] = {
    {"model.visual.patch_embed.proj.weight", PARAMETER_CONVOLUTION, SIZE_VISION_HIDDEN, SIZE_VISION_PATCH,
     IN_MODEL(vision.patch_embed)},
};

static const struct pattern vision_block[] = {
    {"norm1.weight", PARAMETER_NORM, SIZE_ONE, SIZE_VISION_HIDDEN, IN_BLOCK(norm1)},
    {"attn.qkv.weight", PARAMETER_MATRIX, SIZE_VISION_QKV, SIZE_VISION_HIDDEN, IN_BLOCK(qkv.weight)},
    {"attn.qkv.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_QKV, IN_BLOCK(qkv.bias)},
    {"attn.proj.weight", PARAMETER_MATRIX, SIZE_VISION_HIDDEN, SIZE_VISION_HIDDEN, IN_BLOCK(proj.weight)},
    {"attn.proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_HIDDEN, IN_BLOCK(proj.bias)},
    {"norm2.weight", PARAMETER_NORM, SIZE_ONE, SIZE_VISION_HIDDEN, IN_BLOCK(norm2)},
    {"mlp.gate_proj.weight", PARAMETER_MATRIX, SIZE_VISION_INTERMEDIATE, SIZE_VISION_HIDDEN,
     IN_BLOCK(gate.weight)},
    {"mlp.gate_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_INTERMEDIATE, IN_BLOCK(gate.bias)},
    {"mlp.up_proj.weight", PARAMETER_MATRIX, SIZE_VISION_INTERMEDIATE, SIZE_VISION_HIDDEN,
     IN_BLOCK(up.weight)},
    {"mlp.up_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_INTERMEDIATE, IN_BLOCK(up.bias)},
    {"mlp.down_proj.weight", PARAMETER_MATRIX, SIZE_VISION_HIDDEN, SIZE_VISION_INTERMEDIATE,
     IN_BLOCK(down.weight)},
    {"mlp.down_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_HIDDEN, IN_BLOCK(down.bias)},
};

static const struct pattern vision_end[] = {
    {"model.visual.merger.ln_q.weight", PARAMETER_NORM, SIZE_ONE, SIZE_VISION_HIDDEN,
     IN_MODEL(vision.merger_norm)},
    {"model.visual.merger.mlp.0.weight", PARAMETER_MATRIX, SIZE_VISION_MERGED, SIZE_VISION_MERGED,
     IN_MODEL(vision.merger_fc1.weight)},
    {"model.visual.merger.mlp.0.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_MERGED,
     IN_MODEL(vision.merger_fc1.bias)},
    {"model.visual.merger.mlp.2.weight", PARAMETER_MATRIX, SIZE_VISION_OUT, SIZE_VISION_MERGED,
     IN_MODEL(vision.merger_fc2.weight)},
    {"model.visual.merger.mlp.2.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_VISION_OUT,
     IN_MODEL(vision.merger_fc2.bias)},
};

static const struct pattern language_start[] = {
    {"model.language_model.embed_tokens.weight", PARAMETER_EMBEDDING, SIZE_VOCAB, SIZE_HIDDEN,
     IN_MODEL(language.embedding)},
};

static const struct pattern language_layer[] = {
    {"input_layernorm.weight", PARAMETER_NORM, SIZE_ONE, SIZE_HIDDEN, IN_LAYER(input_norm)},
    {"self_attn.q_proj.weight", PARAMETER_MATRIX, SIZE_QUERY, SIZE_HIDDEN, IN_LAYER(q.weight)},
    {"self_attn.q_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_QUERY, IN_LAYER(q.bias)},
    {"self_attn.k_proj.weight", PARAMETER_MATRIX, SIZE_KEY, SIZE_HIDDEN, IN_LAYER(k.weight)},
    {"self_attn.k_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_KEY, IN_LAYER(k.bias)},
    {"self_attn.v_proj.weight", PARAMETER_MATRIX, SIZE_KEY, SIZE_HIDDEN, IN_LAYER(v.weight)},
    {"self_attn.v_proj.bias", PARAMETER_BIAS, SIZE_ONE, SIZE_KEY, IN_LAYER(v.bias)},
    {"self_attn.o_proj.weight", PARAMETER_MATRIX, SIZE_HIDDEN, SIZE_QUERY, IN_LAYER(o)},
    {"post_attention_layernorm.weight", PARAMETER_NORM, SIZE_ONE, SIZE_HIDDEN, IN_LAYER(post_attention_norm)},
    {"mlp.gate_proj.weight", PARAMETER_MATRIX, SIZE_INTERMEDIATE, SIZE_HIDDEN, IN_LAYER(gate)},
    {"mlp.up_proj.weight", PARAMETER_MATRIX, SIZE_INTERMEDIATE, SIZE_HIDDEN, IN_LAYER(up)},
    {"mlp.down_proj.weight", PARAMETER_MATRIX, SIZE_HIDDEN, SIZE_INTERMEDIATE, IN_LAYER(down)},
};

static const struct pattern language_norm[] = {
    {"model.language_model.norm.weight", PARAMETER_NORM, SIZE_ONE, SIZE_HIDDEN, IN_MODEL(language.norm)},
};

/* Left out when tied. */
static const struct pattern language_head[] = {
    {"lm_head.weight", PARAMETER_MATRIX, SIZE_VOCAB, SIZE_HIDDEN, IN_MODEL(language.head)},
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static struct parameter make_parameter(const struct model_config *config, const struct pattern *pattern,
                                       const char *prefix, enum owner owner, enum model_unit unit,
                                       int64_t layer) {
    const struct vision_config *vision = &config->vision;
    struct parameter p = {
        .kind = pattern->kind,
        .rows = size_of(config, pattern->rows),
        .cols = size_of(config, pattern->cols),
        .unit = unit,
        .owner = owner,
        .layer = layer,
        .offset = pattern->offset,
    };
    if (prefix)
        snprintf(p.name, sizeof p.name, "%s.%lld.%s", prefix, (long long)layer, pattern->name);
    else
        snprintf(p.name, sizeof p.name, "%s", pattern->name);

    if (p.kind == PARAMETER_CONVOLUTION) {
        const int64_t shape[] = {p.rows, vision->in_channels, vision->temporal_patch, vision->patch,
                                 vision->patch};
        p.rank = PARAMETER_MAX_RANK;
        memcpy(p.shape, shape, sizeof shape);
    } else if (p.kind == PARAMETER_MATRIX || p.kind == PARAMETER_EMBEDDING) {
        p.rank = 2;
        p.shape[0] = p.rows;
        p.shape[1] = p.cols;
    } else {
        p.rank = 1;
        p.shape[0] = p.cols;
    }
    return p;
}

struct parameter *parameters_list(const struct model_config *config, size_t *count, struct error *err) {
    const struct group {
        const struct pattern *patterns;
        size_t length;
        const char *prefix; /* NULL: the names are whole */
        enum owner owner;
        enum model_unit unit;
        int64_t repeats;
    } groups[] = {
        {vision_start, LENGTH(vision_start), NULL, OWNER_MODEL, UNIT_PATCH_EMBED, 1},
        {vision_block, LENGTH(vision_block), "model.visual.blocks", OWNER_VISION_BLOCK, UNIT_VISION_BLOCK,
         config->vision.depth},
        {vision_end, LENGTH(vision_end), NULL, OWNER_MODEL, UNIT_MERGER, 1},
        {language_start, LENGTH(language_start), NULL, OWNER_MODEL, UNIT_EMBEDDING, 1},
        {language_layer, LENGTH(language_layer), "model.language_model.layers", OWNER_LANGUAGE_LAYER,
         UNIT_LAYER, config->layers},
        {language_norm, LENGTH(language_norm), NULL, OWNER_MODEL, UNIT_NORM, 1},
        {language_head, LENGTH(language_head), NULL, OWNER_MODEL, UNIT_HEAD, !config->tied_embeddings},
    };
    *count = 0;
    for (size_t g = 0; g < LENGTH(groups); g++) *count += groups[g].length * (size_t)groups[g].repeats;
    struct parameter *list = memory_new(*count, sizeof *list, "the list of parameters", err);
    if (!list) return NULL;

    struct parameter *next = list;
    for (size_t g = 0; g < LENGTH(groups); g++)
        for (int64_t layer = 0; layer < groups[g].repeats; layer++)
            for (size_t i = 0; i < groups[g].length; i++)
                *next++ = make_parameter(config, &groups[g].patterns[i], groups[g].prefix, groups[g].owner,
                                         groups[g].unit, layer);
    return list;
}

struct tensor *parameter_tensor(struct model *model, const struct parameter *parameter) {
    char *base = (char *)model;
    if (parameter->owner == OWNER_VISION_BLOCK) base = (char *)&model->vision.blocks[parameter->layer];
    if (parameter->owner == OWNER_LANGUAGE_LAYER) base = (char *)&model->language.layers[parameter->layer];
    return (struct tensor *)(void *)(base + parameter->offset);
}

static bool begins(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

void parameter_new_name(const char *stored, char name[PARAMETER_NAME_SIZE]) {
    const char *rest = stored;
    const char *prefix = "";
    if (begins(stored, "visual.")) {
        prefix = "model.";
    } else if (begins(stored, "model.") && !begins(stored, "model.visual.") &&
               !begins(stored, "model.language_model.")) {
        prefix = "model.language_model.";
        rest += strlen("model.");
    }
    snprintf(name, PARAMETER_NAME_SIZE, "%s%s", prefix, rest);
}

void parameter_old_name(const char *name, char old[PARAMETER_NAME_SIZE]) {
    if (begins(name, "model.visual."))
        snprintf(old, PARAMETER_NAME_SIZE, "%s", name + strlen("model."));
    else if (begins(name, "model.language_model."))
        snprintf(old, PARAMETER_NAME_SIZE, "model.%s", name + strlen("model.language_model."));
    else
        snprintf(old, PARAMETER_NAME_SIZE, "%s", name);
}
