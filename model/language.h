/* The language model over packed tokens: the same function computes a prompt, a decoding step, and a training
 * pass. */
#ifndef VS2_MODEL_LANGUAGE_H
#define VS2_MODEL_LANGUAGE_H

#include "model/kv_cache.h"
#include "model/tape.h"
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

    /* NULL, or where the pass keeps what language_backward needs; not with a cache. */
    struct language_tape *tape;
};

/* states = the final, normed states of the wanted tokens: [wanted_count or count, hidden] of the compute
 * type. Failures are the device's (tensor/device.h). */
void language_forward(const struct model *model, struct arena *arena, struct tensor states,
                      const struct language_pass *pass);

/* logits = states head^T, for few rows. logits: float [rows, vocab]; states: [rows, hidden]. */
void language_logits(const struct model *model, struct tensor logits, struct tensor states);

/* The log-probability of a target token at each of many final states, some rows at a time so that there never
 * is a whole matrix of logits. target: i32 [1, rows], -1: none; logprob, and log_sum and entropy unless they
 * are no tensor: f32 [1, rows], of softmax(scale * logits) (see logprob_forward). */
void language_logprob(const struct model *model, struct arena *arena, struct tensor states,
                      struct tensor target, struct tensor logprob, struct tensor log_sum,
                      struct tensor entropy, float scale);

/* ---- Training ----------------------------------------------------------------------------------------
 *
 * Gradients are a second struct model of the same configuration whose tensors are f32 and hold the gradients
 * of the parameters of the same place. Passes add to them. A tensor without data is a frozen parameter:
 * nothing is computed for it. Tied embeddings have one gradient, language.embedding; language.head is ignored
 * then. */

/* What a training pass keeps; its tensors lie in an arena. */
struct language_tape {
    struct block_tape *layers;  /* [config.layers] */
    struct tensor cosine, sine; /* f32 [count, head_dim / 2] */
    struct tensor output;       /* [wanted or count, hidden]: the stream after the last layer, of its type */
};

/* The layers below which there is nothing to train, for tape_depth.frozen. `features`: whether the gradients
 * of the vision features are wanted. */
int64_t language_frozen_layers(const struct model *gradients, bool features);

/* Bytes that language_tape_make takes from the arena, for a pass of `count` tokens, `wanted` of them. */
size_t language_tape_bytes(const struct model *model, int64_t count, int64_t wanted, struct tape_depth depth);

/* The depth that saves most work of those whose tape takes at most `bytes`; when none is so small, the
 * smallest. */
struct tape_depth language_tape_depth(const struct model *model, int64_t count, int64_t wanted,
                                      int64_t frozen, size_t bytes);

/* Makes the tape of one pass, which has then to be run once, and backward once at most. The tensors go with
 * the arena's mark; language_tape_free frees the rest. */
enum status language_tape_make(struct language_tape *tape, const struct model *model, struct arena *arena,
                               int64_t count, int64_t wanted, struct tape_depth depth, struct error *err);
void language_tape_free(struct language_tape *tape);

/* A loss that is a function of log-probabilities of target tokens at the final states, and maybe of
 * entropies, with its derivative by each of them (cross-entropy: -1 / labels): some rows at a time, so that
 * there never is a whole matrix of logits. */
struct language_loss {
    struct tensor states;    /* [rows, hidden], as language_forward made them */
    struct tensor target;    /* i32 [1, rows], -1: none */
    struct tensor d_logprob; /* f32 [1, rows] */
    struct tensor d_entropy; /* f32 [1, rows], or no tensor */
    float scale;             /* of the logits: 1 / temperature */
    bool known;              /* log_sum, and entropy with d_entropy, are given, as language_logprob made them;
                                logprob is not set */
    /* results */
    struct tensor d_states;         /* [rows, hidden], may be states; or no tensor: not wanted */
    struct tensor logprob;          /* f32 [1, rows] */
    struct tensor log_sum, entropy; /* f32 [1, rows], or no tensor (see logprob_forward) */
};

/* Fills in the results, and adds to the gradient of the head unless it is frozen. The logits are those of
 * language_logprob. */
void language_loss(const struct model *model, const struct model *gradients, struct arena *arena,
                   const struct language_loss *loss);

/* The backward pass of language_forward with pass->tape, which it uses up. d_states: [wanted or count,
 * hidden] of the compute type. d_features: [features, hidden] of the compute type, set to the gradients of
 * the vision features; or no tensor: not wanted. */
void language_backward(const struct model *model, const struct model *gradients, struct arena *arena,
                       struct tensor d_states, struct tensor d_features, const struct language_pass *pass);

#endif
