/* A Qwen2.5-VL checkpoint's config.json, flat (language keys at the top) or nested (text_config), and its
 * generation_config.json. Every size is checked against sane limits and against the others here, so that
 * the code that uses them need not. */
#ifndef VS2_MODEL_CONFIG_H
#define VS2_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
    CONFIG_MAX_FULL_BLOCKS = 256, /* vision blocks with full attention */
    CONFIG_MAX_STOP_TOKENS = 16,
};

struct vision_config {
    int64_t depth, hidden, heads, intermediate, out_hidden;
    int64_t in_channels, patch, temporal_patch, merge; /* 3, 14, 2, 2 as published */
    int64_t window;                                    /* pixels a side, 112 as published */
    int64_t full_blocks[CONFIG_MAX_FULL_BLOCKS];       /* fullatt_block_indexes, ascending */
    int64_t full_block_count;
    double tokens_per_second;
};

struct model_config {
    int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
    double rms_epsilon, rope_theta;
    int64_t mrope_section[3]; /* halves of a head for time, height, width; they sum to head_dim / 2 */
    bool tied_embeddings;
    struct vision_config vision;
    int32_t image_token, video_token, vision_start_token, vision_end_token;
};

/* Sampling defaults; what the file does not say has Hugging Face's default. */
struct generation_config {
    bool do_sample;
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
    int32_t stop_tokens[CONFIG_MAX_STOP_TOKENS]; /* eos_token_id, one or a list */
    int stop_token_count;
};

/* Reads FOLDER/config.json. */
enum status model_config_read(const char *folder, struct model_config *config, struct error *err);

/* Reads FOLDER/generation_config.json; when there is none, the defaults with config.json's eos_token_id, or
 * the published 151645 and 151643 where that too is absent. */
enum status generation_config_read(const char *folder, struct generation_config *config, struct error *err);

#endif
