/* The host's side of generation: prompts that wait, and sequences that grow from them. */
#ifndef VS2_MODEL_SEQUENCE_H
#define VS2_MODEL_SEQUENCE_H

#include "model/generate.h"

/* A request, copied, with what its tokens imply. */
struct prompt {
    uint64_t id;
    struct generate_request request; /* its arrays are the copies below */
    int32_t *tokens, *stop_tokens;
    struct visual_grid *visuals;
    const float **patches;
    const struct vision_frames **frames;
    const void **features;
    int32_t *positions;    /* [3, count] */
    int32_t *feature_rows; /* [features] */
    int64_t feature_count;
    int32_t next_position;
    int64_t cache_first; /* its rows of the cache; -1: none yet */
    int64_t users;       /* who need it: the queue, and its sequences */
    bool encoded;        /* the patches were given back */
};

/* A prompt with one user. NULL with err set when it cannot be: no memory, or visuals and pads that do not
 * match. */
struct prompt *prompt_new(const struct model_config *config, const struct generate_request *request,
                          struct error *err);

/* Takes one user from the prompt, and frees it after the last. */
void prompt_release(struct prompt *prompt);

/* Tells the request's owner, once, that the patches are no longer needed. */
void prompt_release_patches(struct prompt *prompt);

/* Rows of the cache that one sequence needs beside the prompt: its last token is never fed back. */
int64_t prompt_own_rows(const struct prompt *prompt);

/* One sample of a prompt. */
struct sequence {
    struct prompt *prompt;
    int64_t own_first; /* its rows of the cache; -1: none */
    uint32_t
        *seen; /* [(vocab + 31) / 32]: tokens of prompt and completion; NULL without a repetition penalty */
    bool finished;
    struct generate_result result; /* arrays of max_new_tokens */
};

/* What a step draws for one sequence. */
struct draw {
    int32_t token;
    float logprob;
    const float *watched_raw, *watched_final; /* [watched_count] */
};

struct sequence *sequence_new(struct prompt *prompt, int64_t sample, int64_t watched_count, int64_t vocab,
                              struct error *err);
void sequence_free(struct sequence *sequence);

/* How the next token is drawn. */
struct sampling sequence_rules(const struct sequence *sequence);

/* Appends a token and says whether the sequence has finished. */
void sequence_append(struct sequence *sequence, const struct draw *draw);

#endif
