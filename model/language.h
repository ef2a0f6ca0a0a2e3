/* The language model over packed tokens: the same function computes a prompt, a decoding step, and a training
 * pass. */
#ifndef VS2_MODEL_LANGUAGE_H
#define VS2_MODEL_LANGUAGE_H

#include "model/kv_cache.h"
#include "model/weights.h"
#include "tensor/arena.h"
#include "tensor/ops.h"

/* One pass over `count` tokens. Host arrays are the caller's and must live until the device has done the
 * work. */
struct language_pass {
    int64_t count;
    const int32_t *tokens;    /* [count], inside the vocabulary */
    const int32_t *positions; /* [3, count]: time, height, width (model/positions.h) */
    /* Who sees whom: queries are rows of this pass; keys are rows of the cache, or of this pass without one.
     */
    struct attention_segments segments;

    /* Vision features that replace the embeddings of some tokens, of the compute type; none: no rows. */
    struct tensor features;      /* [features, hidden] */
    const int32_t *feature_rows; /* [features]: their tokens */

    /* Where the keys and values go: a row of the cache for each token; NULL: they serve this pass only. */
    struct kv_cache *cache;
    const int32_t *cache_rows;

    /* The tokens whose final states are wanted, ascending; NULL: all. */
    const int32_t *wanted;
    int64_t wanted_count;

    /* NULL, or a tensor [count, hidden] of the compute type for each layer, that receive the layers' inputs
     * (those without data are skipped). */
    const struct tensor *kept;
};

/* states = the final, normed states of the wanted tokens: [wanted_count or count, hidden] of the compute
 * type. Failures are the device's (tensor/device.h). */
void language_forward(const struct model *model, struct arena *arena, struct tensor states,
                      const struct language_pass *pass);

/* logits = states head^T, for few rows. logits: f32 [rows, vocab]; states: [rows, hidden]. */
void language_logits(const struct model *model, struct tensor logits, struct tensor states);

/* The log-probability of a target token at each of many final states, some rows at a time so that there never
 * is a whole matrix of logits. target: i32 [1, rows], -1: none; logprob, and log_sum and entropy unless they
 * are no tensor: f32 [1, rows] (see logprob_forward). */
void language_logprob(const struct model *model, struct arena *arena, struct tensor states,
                      struct tensor target, struct tensor logprob, struct tensor log_sum,
                      struct tensor entropy);

#endif
