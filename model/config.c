#include "model/config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

enum { CONFIG_FILE_LIMIT = 16 << 20 };

/* An integer member of a JSON object and where it goes. */
struct integer_key {
    const char *key;
    const char *other; /* an older spelling, or NULL */
    long long low, high;
    long long missing; /* REQUIRED: there is no sensible default */
    size_t offset;     /* of an int64_t in struct model_config or struct vision_config */
};

#define REQUIRED LLONG_MIN

/* The limits are far above any published model and keep every product of two sizes inside int64_t. */
static const struct integer_key language_keys[] = {
    {"hidden_size", NULL, 1, 1 << 16, REQUIRED, offsetof(struct model_config, hidden)},
    {"num_hidden_layers", NULL, 1, 1024, REQUIRED, offsetof(struct model_config, layers)},
    {"num_attention_heads", NULL, 1, 1024, REQUIRED, offsetof(struct model_config, heads)},
    {"num_key_value_heads", NULL, 1, 1024, 0, offsetof(struct model_config, kv_heads)},
    {"head_dim", NULL, 1, 256, 0, offsetof(struct model_config, head_dim)},
    {"intermediate_size", NULL, 1, 1 << 20, REQUIRED, offsetof(struct model_config, intermediate)},
    {"vocab_size", NULL, 1, 1 << 22, REQUIRED, offsetof(struct model_config, vocab)},
    {"max_position_embeddings", NULL, 1, 1 << 30, 32768, offsetof(struct model_config, max_positions)},
};

static const struct integer_key vision_keys[] = {
    {"depth", NULL, 1, 1024, REQUIRED, offsetof(struct vision_config, depth)},
    {"hidden_size", NULL, 1, 1 << 16, REQUIRED, offsetof(struct vision_config, hidden)},
    {"num_heads", NULL, 1, 1024, REQUIRED, offsetof(struct vision_config, heads)},
    {"intermediate_size", NULL, 1, 1 << 20, REQUIRED, offsetof(struct vision_config, intermediate)},
    {"out_hidden_size", NULL, 1, 1 << 16, REQUIRED, offsetof(struct vision_config, out_hidden)},
    {"in_channels", "in_chans", 3, 3, 3, offsetof(struct vision_config, in_channels)},
    {"patch_size", "spatial_patch_size", 1, 128, 14, offsetof(struct vision_config, patch)},
    {"temporal_patch_size", NULL, 1, 16, 2, offsetof(struct vision_config, temporal_patch)},
    {"spatial_merge_size", NULL, 1, 16, 2, offsetof(struct vision_config, merge)},
    {"window_size", NULL, 1, 1 << 16, 112, offsetof(struct vision_config, window)},
};

static enum status read_integers(const json_t *object, const struct integer_key *keys, size_t count,
                                 void *target, const char *place, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        const struct integer_key *entry = &keys[i];
        const char *key = entry->key;
        if (entry->other && !json_object_get(object, key)) key = entry->other;
        long long value;
        if (json_get_integer(object, key, entry->low, entry->high, entry->missing, &value, place, err) !=
            STATUS_OK)
            return STATUS_FAILED;
        if (value == REQUIRED) return error_set(err, "%s: '%s' is missing", place, entry->key);
        *(int64_t *)((char *)target + entry->offset) = value;
    }
    return STATUS_OK;
}

/* A member that is an object, or NULL in *value when it is absent. */
static enum status get_object(const json_t *object, const char *key, const json_t **value, const char *place,
                              struct error *err) {
    const json_t *found = json_object_get(object, key);
    *value = found && !json_is_null(found) ? found : NULL;
    if (*value && !json_is_object(found)) return error_set(err, "%s: '%s' must be an object", place, key);
    return STATUS_OK;
}

static enum status require_silu(const json_t *object, const char *place, struct error *err) {
    const char *name;
    if (json_get_string(object, "hidden_act", "silu", &name, place, err) != STATUS_OK) return STATUS_FAILED;
    if (strcmp(name, "silu") != 0)
        return error_set(err, "%s: 'hidden_act' is '%s', only 'silu' is supported", place, name);
    return STATUS_OK;
}

static enum status require_positive(const json_t *object, const char *key, double missing, double high,
                                    double *value, const char *place, struct error *err) {
    if (json_get_number(object, key, missing, value, place, err) != STATUS_OK) return STATUS_FAILED;
    if (!(*value > 0 && *value <= high))
        return error_set(err, "%s: '%s' is %g, allowed are numbers over 0 to %g", place, key, *value, high);
    return STATUS_OK;
}

/* Layers that see only a window of the past are not computed here. */
static enum status refuse_sliding_window(const json_t *text, int64_t layers, const char *place,
                                         struct error *err) {
    bool sliding;
    long long first;
    if (json_get_bool(text, "use_sliding_window", false, &sliding, place, err) != STATUS_OK ||
        json_get_integer(text, "max_window_layers", 0, INT_MAX, 80, &first, place, err) != STATUS_OK)
        return STATUS_FAILED;
    if (sliding && first < layers)
        return error_set(err, "%s: 'use_sliding_window': sliding-window attention is not supported", place);

    const json_t *types = json_object_get(text, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention") != 0)
            return error_set(err, "%s: 'layer_types' has '%s', only 'full_attention' is supported", place,
                             type ? type : "(no text)");
    }
    return STATUS_OK;
}

/* "rope_type", or "type" in older files; "mrope" is the default kind with three position streams. */
static enum status check_rope_type(const json_t *rope, const char *place, struct error *err) {
    static const char *const keys[] = {"rope_type", "type"};
    for (size_t i = 0; i < 2; i++) {
        const char *type;
        if (json_get_string(rope, keys[i], "default", &type, place, err) != STATUS_OK) return STATUS_FAILED;
        if (strcmp(type, "default") != 0 && strcmp(type, "mrope") != 0)
            return error_set(err, "%s: '%s' is '%s', only 'default' and 'mrope' are supported", place,
                             keys[i], type);
    }
    double partial;
    if (json_get_number(rope, "partial_rotary_factor", 1, &partial, place, err) != STATUS_OK)
        return STATUS_FAILED;
    if (partial != 1) return error_set(err, "%s: 'partial_rotary_factor' must be 1", place);
    return STATUS_OK;
}

static enum status read_mrope_section(const json_t *rope, struct model_config *config, const char *place,
                                      struct error *err) {
    const json_t *section = json_object_get(rope, "mrope_section");
    if (json_array_size(section) != 3)
        return error_set(err, "%s: 'mrope_section' must be a list of 3 integers", place);
    int64_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(section, i);
        json_int_t value = json_integer_value(item);
        if (!json_is_integer(item) || value < 0 || value > config->head_dim)
            return error_set(err, "%s: 'mrope_section' must be 3 integers that sum to %lld", place,
                             (long long)config->head_dim / 2);
        config->mrope_section[i] = value;
        sum += value;
    }
    if (sum != config->head_dim / 2)
        return error_set(err, "%s: 'mrope_section' sums to %lld, half of the head size is %lld", place,
                         (long long)sum, (long long)config->head_dim / 2);
    return STATUS_OK;
}

/* rope_scaling beside rope_theta (transformers 4), or rope_parameters with both (5). */
static enum status read_rope(const json_t *text, struct model_config *config, const char *place,
                             struct error *err) {
    const json_t *rope;
    const char *key = "rope_parameters";
    if (get_object(text, key, &rope, place, err) != STATUS_OK) return STATUS_FAILED;
    if (!rope) {
        key = "rope_scaling";
        if (get_object(text, key, &rope, place, err) != STATUS_OK) return STATUS_FAILED;
    }
    if (!rope)
        return error_set(err, "%s: 'rope_scaling' (or 'rope_parameters') with 'mrope_section' is missing",
                         place);

    const double published_theta = 1e6, largest_theta = 1e12;
    const json_t *owner = json_object_get(rope, "rope_theta") ? rope : text;
    char where[2 * ERROR_MESSAGE_SIZE];
    snprintf(where, sizeof where, "%s: %s", place, key);
    if (check_rope_type(rope, where, err) != STATUS_OK ||
        require_positive(owner, "rope_theta", published_theta, largest_theta, &config->rope_theta,
                         owner == rope ? where : place, err) != STATUS_OK)
        return STATUS_FAILED;
    return read_mrope_section(rope, config, where, err);
}

static enum status check_heads(struct model_config *config, const char *place, struct error *err) {
    enum { TRANSFORMERS_KV_HEADS = 8 };
    if (!config->kv_heads) config->kv_heads = TRANSFORMERS_KV_HEADS;
    if (config->heads < 1) return error_set(err, "%s: 'num_attention_heads' is missing", place);
    if (!config->head_dim && config->hidden % config->heads != 0)
        return error_set(err, "%s: 'hidden_size' %lld is no multiple of 'num_attention_heads' %lld", place,
                         (long long)config->hidden, (long long)config->heads);
    if (!config->head_dim) config->head_dim = config->hidden / config->heads;
    if (config->head_dim % 4 != 0 || config->head_dim > 256)
        return error_set(err,
                         "%s: heads of %lld elements ('hidden_size' / 'num_attention_heads') are not "
                         "supported, only multiples of 4 to 256",
                         place, (long long)config->head_dim);
    if (config->heads % config->kv_heads != 0)
        return error_set(err, "%s: 'num_attention_heads' %lld is no multiple of 'num_key_value_heads' %lld",
                         place, (long long)config->heads, (long long)config->kv_heads);
    return STATUS_OK;
}

static enum status read_language(const json_t *text, struct model_config *config, const char *place,
                                 struct error *err) {
    const double largest_epsilon = 1, transformers_epsilon = 1e-5;
    if (read_integers(text, language_keys, sizeof language_keys / sizeof *language_keys, config, place,
                      err) != STATUS_OK ||
        require_positive(text, "rms_norm_eps", transformers_epsilon, largest_epsilon, &config->rms_epsilon,
                         place, err) != STATUS_OK ||
        require_silu(text, place, err) != STATUS_OK)
        return STATUS_FAILED;
    if (json_is_null(json_object_get(text, "num_key_value_heads"))) config->kv_heads = config->heads;
    if (check_heads(config, place, err) != STATUS_OK ||
        refuse_sliding_window(text, config->layers, place, err) != STATUS_OK)
        return STATUS_FAILED;
    return read_rope(text, config, place, err);
}

/* Indices past the last block mean nothing (transformers too never reaches them). */
static enum status read_full_blocks(const json_t *object, struct vision_config *vision, const char *place,
                                    struct error *err) {
    static const int64_t published[] = {7, 15, 23, 31};
    const json_t *list = json_object_get(object, "fullatt_block_indexes");
    size_t count = list ? json_array_size(list) : sizeof published / sizeof *published;
    bool full[1024] = {false}; /* the largest depth */
    if (list && !json_is_array(list))
        return error_set(err, "%s: 'fullatt_block_indexes' must be a list of integers", place);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t index = list ? json_integer_value(item) : published[i];
        if ((list && !json_is_integer(item)) || index < 0)
            return error_set(err, "%s: 'fullatt_block_indexes' must be a list of block numbers", place);
        if (index < vision->depth) full[index] = true;
    }
    for (int64_t i = 0; i < vision->depth; i++) {
        if (!full[i]) continue;
        if (vision->full_block_count == CONFIG_MAX_FULL_BLOCKS)
            return error_set(err, "%s: 'fullatt_block_indexes' has more than %d entries", place,
                             CONFIG_MAX_FULL_BLOCKS);
        vision->full_blocks[vision->full_block_count++] = i;
    }
    return STATUS_OK;
}

static enum status check_vision(const struct vision_config *vision, const char *place, struct error *err) {
    if (vision->hidden % (4 * vision->heads) != 0 || vision->hidden / vision->heads > 256)
        return error_set(err, "%s: 'hidden_size' %lld over 'num_heads' %lld must be a multiple of 4 to 256",
                         place, (long long)vision->hidden, (long long)vision->heads);
    if (vision->window < vision->patch * vision->merge)
        return error_set(err, "%s: 'window_size' %lld is less than 'patch_size' x 'spatial_merge_size' %lld",
                         place, (long long)vision->window, (long long)(vision->patch * vision->merge));
    return STATUS_OK;
}

static enum status read_vision(const json_t *object, struct vision_config *vision, const char *place,
                               struct error *err) {
    const double transformers_rate = 4, largest_rate = 1e6;
    if (read_integers(object, vision_keys, sizeof vision_keys / sizeof *vision_keys, vision, place, err) !=
            STATUS_OK ||
        require_silu(object, place, err) != STATUS_OK ||
        require_positive(object, "tokens_per_second", transformers_rate, largest_rate,
                         &vision->tokens_per_second, place, err) != STATUS_OK ||
        read_full_blocks(object, vision, place, err) != STATUS_OK)
        return STATUS_FAILED;
    return check_vision(vision, place, err);
}

static enum status read_token_ids(const json_t *root, struct model_config *config, const char *place,
                                  struct error *err) {
    const struct {
        const char *key;
        long long published;
        int32_t *id;
    } tokens[] = {
        {"image_token_id", 151655, &config->image_token},
        {"video_token_id", 151656, &config->video_token},
        {"vision_start_token_id", 151652, &config->vision_start_token},
        {"vision_end_token_id", 151653, &config->vision_end_token},
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        long long id;
        if (json_get_integer(root, tokens[i].key, 0, INT32_MAX, tokens[i].published, &id, place, err) !=
            STATUS_OK)
            return STATUS_FAILED;
        if (id >= config->vocab)
            return error_set(err, "%s: '%s' %lld is not below 'vocab_size' %lld", place, tokens[i].key, id,
                             (long long)config->vocab);
        *tokens[i].id = (int32_t)id;
    }
    return STATUS_OK;
}

static enum status check_kind(const json_t *root, const char *place, struct error *err) {
    const char *type;
    if (!json_is_object(root)) return error_set(err, "%s: not a JSON object", place);
    if (json_get_string(root, "model_type", NULL, &type, place, err) != STATUS_OK) return STATUS_FAILED;
    if (!type) return error_set(err, "%s: 'model_type' is missing", place);
    if (strcmp(type, "qwen2_5_vl") != 0)
        return error_set(err, "%s: 'model_type' is '%s', only 'qwen2_5_vl' is supported", place, type);
    const json_t *quantization = json_object_get(root, "quantization_config");
    if (quantization && !json_is_null(quantization))
        return error_set(err, "%s: 'quantization_config': quantized checkpoints are not supported", place);
    return STATUS_OK;
}

/* Where transformers looks: text_config of the nested layout (4.52 to 4.57), the top of the flat one and of
 * files of 5.x. Absent in both means untied. */
static enum status read_tied(const json_t *root, const json_t *text, struct model_config *config,
                             const char *place, struct error *err) {
    bool top;
    if (json_get_bool(root, "tie_word_embeddings", false, &top, place, err) != STATUS_OK)
        return STATUS_FAILED;
    return json_get_bool(text, "tie_word_embeddings", top, &config->tied_embeddings, place, err);
}

static enum status read_root(const json_t *root, struct model_config *config, const char *place,
                             struct error *err) {
    const json_t *text, *vision;
    char where[ERROR_MESSAGE_SIZE];
    if (check_kind(root, place, err) != STATUS_OK ||
        get_object(root, "text_config", &text, place, err) != STATUS_OK ||
        get_object(root, "vision_config", &vision, place, err) != STATUS_OK)
        return STATUS_FAILED;
    if (!vision) return error_set(err, "%s: 'vision_config' is missing", place);

    snprintf(where, sizeof where, "%s: text_config", place);
    if (read_language(text ? text : root, config, text ? where : place, err) != STATUS_OK ||
        read_tied(root, text ? text : root, config, place, err) != STATUS_OK ||
        read_token_ids(root, config, place, err) != STATUS_OK)
        return STATUS_FAILED;

    snprintf(where, sizeof where, "%s: vision_config", place);
    if (read_vision(vision, &config->vision, where, err) != STATUS_OK) return STATUS_FAILED;
    if (config->vision.out_hidden != config->hidden)
        return error_set(err, "%s: 'out_hidden_size' is %lld, the language model's 'hidden_size' %lld", where,
                         (long long)config->vision.out_hidden, (long long)config->hidden);
    return STATUS_OK;
}

enum status model_config_read(const char *folder, struct model_config *config, struct error *err) {
    char *path = file_join(folder, "config.json", err);
    if (!path) return STATUS_FAILED;
    enum status status = STATUS_FAILED;
    *config = (struct model_config){0};
    json_t *root = json_read_file(path, CONFIG_FILE_LIMIT, err);
    if (root) status = read_root(root, config, path, err);
    json_decref(root);
    free(path);
    return status;
}

/* ---- generation_config.json -------------------------------------------------------------------------- */

/* A number member of which null means off. */
struct number_key {
    const char *key;
    double low, high;
    double missing, off;
    size_t offset; /* of a double in struct generation_config */
};

static const struct number_key sampling_keys[] = {
    {"temperature", 0, 1e6, 1, 1, offsetof(struct generation_config, temperature)},
    {"top_p", 0, 1, 1, 1, offsetof(struct generation_config, top_p)},
    {"min_p", 0, 1, 0, 0, offsetof(struct generation_config, min_p)},
    {"repetition_penalty", 1e-6, 1e6, 1, 1, offsetof(struct generation_config, repetition_penalty)},
};

static enum status read_sampling(const json_t *root, struct generation_config *config, const char *place,
                                 struct error *err) {
    enum { TRANSFORMERS_TOP_K = 50 };
    long long top_k;
    if (json_get_bool(root, "do_sample", false, &config->do_sample, place, err) != STATUS_OK ||
        json_get_integer(root, "top_k", 0, INT_MAX, TRANSFORMERS_TOP_K, &top_k, place, err) != STATUS_OK)
        return STATUS_FAILED;
    config->top_k = json_is_null(json_object_get(root, "top_k")) ? 0 : top_k;

    for (size_t i = 0; i < sizeof sampling_keys / sizeof *sampling_keys; i++) {
        const struct number_key *entry = &sampling_keys[i];
        bool off = json_is_null(json_object_get(root, entry->key));
        double value;
        if (json_get_number(root, entry->key, off ? entry->off : entry->missing, &value, place, err) !=
            STATUS_OK)
            return STATUS_FAILED;
        if (value < entry->low || value > entry->high)
            return error_set(err, "%s: '%s' is %g, allowed are %g to %g", place, entry->key, value,
                             entry->low, entry->high);
        *(double *)((char *)config + entry->offset) = value;
    }
    return STATUS_OK;
}

static enum status add_stop_token(const json_t *item, struct generation_config *config, const char *place,
                                  struct error *err) {
    json_int_t id = json_integer_value(item);
    if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
        return error_set(err, "%s: 'eos_token_id' must be a token id or a list of them", place);
    if (config->stop_token_count == CONFIG_MAX_STOP_TOKENS)
        return error_set(err, "%s: 'eos_token_id' has more than %d entries", place, CONFIG_MAX_STOP_TOKENS);
    config->stop_tokens[config->stop_token_count++] = (int32_t)id;
    return STATUS_OK;
}

/* eos_token_id as an id or a list; nothing is added when it is absent. */
static enum status read_stop_tokens(const json_t *root, struct generation_config *config, const char *place,
                                    struct error *err) {
    const json_t *tokens = json_object_get(root, "eos_token_id");
    if (!tokens || json_is_null(tokens)) return STATUS_OK;
    if (!json_is_array(tokens)) return add_stop_token(tokens, config, place, err);
    for (size_t i = 0; i < json_array_size(tokens); i++)
        if (add_stop_token(json_array_get(tokens, i), config, place, err) != STATUS_OK) return STATUS_FAILED;
    return STATUS_OK;
}

/* The stop tokens that config.json names, at the top or in text_config, else the published ones. */
static enum status read_fallback_stop_tokens(const char *folder, struct generation_config *config,
                                             struct error *err) {
    static const int32_t published[] = {151645, 151643};
    const json_t *text;
    enum status status = STATUS_FAILED;
    json_t *root = NULL;
    char *path = file_join(folder, "config.json", err);
    if (!path) return STATUS_FAILED;
    root = json_read_file(path, CONFIG_FILE_LIMIT, err);
    if (!root || read_stop_tokens(root, config, path, err) != STATUS_OK ||
        get_object(root, "text_config", &text, path, err) != STATUS_OK ||
        (config->stop_token_count == 0 && text && read_stop_tokens(text, config, path, err) != STATUS_OK))
        goto err;
    if (config->stop_token_count == 0) {
        memcpy(config->stop_tokens, published, sizeof published);
        config->stop_token_count = sizeof published / sizeof *published;
    }
    status = STATUS_OK;
err:
    json_decref(root);
    free(path);
    return status;
}

enum status generation_config_read(const char *folder, struct generation_config *config, struct error *err) {
    *config = (struct generation_config){0};
    enum status status = STATUS_FAILED;
    json_t *root = NULL;
    char *path = file_join(folder, "generation_config.json", err);
    if (!path) return STATUS_FAILED;
    if (access(path, F_OK) == 0) {
        root = json_read_file(path, CONFIG_FILE_LIMIT, err);
        if (root && !json_is_object(root)) error_set(err, "%s: not a JSON object", path);
    } else {
        root = json_object(); /* nothing said: all defaults */
        if (!root) error_set(err, "out of memory for %s", path);
    }
    if (!json_is_object(root) || read_sampling(root, config, path, err) != STATUS_OK ||
        read_stop_tokens(root, config, path, err) != STATUS_OK)
        goto err;
    status = config->stop_token_count ? STATUS_OK : read_fallback_stop_tokens(folder, config, err);
err:
    json_decref(root);
    free(path);
    return status;
}
