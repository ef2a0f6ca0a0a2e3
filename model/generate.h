/* Generation with continuous batching: requests wait in a queue; a step computes the prompts of those that
 * fit, and one token of every sequence that runs; what has finished leaves. The samples of a request share
 * their prompt's keys and values, computed once.
 *
 * What a sequence draws depends on the model, its request and its sample number alone: prompts are computed
 * one by one, and random numbers are keyed by (seed, stream, sample, token number). It does not depend on
 * what else runs, bit for bit as long as no more than matmul_exact_rows sequences run at once
 * (engine_limits). */
#ifndef VS2_MODEL_GENERATE_H
#define VS2_MODEL_GENERATE_H

#include "model/cost.h"
#include "model/positions.h"
#include "model/vision_frames.h"
#include "model/weights.h"
#include "tensor/ops.h"

struct engine;

/* What an engine may use. Zeros are defaults. */
struct engine_limits {
    int64_t sequences;      /* that run at once; 0: matmul_exact_rows */
    int64_t cache_tokens;   /* rows of the key/value cache; 0: what cache_bytes hold */
    int64_t cache_bytes;    /* when cache_tokens is 0; 0: 2 GiB */
    int64_t prompt_tokens;  /* of a prompt computed in one pass; longer ones go in parts. 0: 4096 */
    bool rounded_logits;    /* logits are of the compute type, as a training pass has them; f32 otherwise */
    const int32_t *watched; /* tokens whose log-probabilities are reported at each step; copied */
    int64_t watched_count;
    struct arena *arena; /* whose memory the engine works in, keys and values too, until it is freed; who else
                            uses it gives back by then what was taken since. NULL: memory of its own */
};

/* An engine on a model that must outlive it; NULL with err set when there is no memory. The model's weights
 * may change while the engine is idle. engine_free drops what runs and waits. */
struct engine *engine_create(const struct model *model, const struct engine_limits *limits,
                             struct error *err);
void engine_free(struct engine *engine);

struct generate_request {
    const int32_t *tokens; /* the prompt, pads expanded; copied */
    int64_t count;

    const struct visual_grid *visuals; /* in the order of their pads; copied */
    int64_t visual_count;
    const float *const *patches; /* [visual_count]: host patches of each, as vision_forward takes them; NULL,
                                    all or one, where there are frames or features */
    const struct vision_frames *const *frames; /* [visual_count]: what patches are made of; NULL, all or one,
                                                  where there are patches or features */
    const void *const *features; /* [visual_count]: what the tower made of each before, on the host, of the
                                    compute type; NULL, all or one: the patches are encoded */
    /* Patches, frames and features are borrowed until `encoded` is called, or the request is finished or
     * dropped. */
    void (*encoded)(void *context); /* called when they are no longer needed; may be NULL */
    void *context;

    int64_t samples;       /* sequences to draw from this prompt, at least 1 */
    uint32_t first_sample; /* the number of the first: draws are keyed by it */
    int64_t max_new_tokens;
    const int32_t
        *stop_tokens; /* end a sequence, and are its last token; none: it runs to max_new_tokens. Copied */
    int stop_token_count;
    struct sampling rules; /* every member counts: 1 turns top_p and repetition_penalty off. `sample` and
                              `position` are set by the engine; `stream` tells requests of one seed apart, so
                              it should be the caller's own number of the request */
};

/* Queues a request and gives it a number, counted from 0. It fails when the visuals and pads do not match, or
 * when it could never fit the cache; the engine is then as before. */
enum status engine_submit(struct engine *engine, const struct generate_request *request, uint64_t *id,
                          struct error *err);

enum finish_reason {
    FINISH_STOP,   /* the last token is a stop token */
    FINISH_LENGTH, /* max_new_tokens were drawn */
    FINISH_FAILED, /* the logits were not numbers: the tokens before that are given */
};

struct generate_result {
    uint64_t request;
    int64_t sample;
    enum finish_reason finish;
    int64_t prompt_tokens;
    int64_t count;   /* new tokens */
    int32_t *tokens; /* [count] */
    float *logprobs; /* [count]: of each token (see sample_tokens) */
    int64_t watched_count;
    float
        *watched_raw; /* [count, watched_count]: log-probabilities of the watched tokens in softmax(logits) */
    float *watched_final; /* and in the distribution drawn from (see sample_tokens) */
};

void generate_result_free(struct generate_result *result);

/* A growing list of results. */
struct generate_results {
    struct generate_result *items;
    size_t count, capacity;
};

void generate_results_free(struct generate_results *results);

/* Whether nothing waits or runs. */
bool engine_idle(const struct engine *engine);

/* One step; what finished in it is appended to the results, in the order of requests and samples where they
 * finish together. After a failure the engine can only be freed. */
enum status engine_step(struct engine *engine, struct generate_results *results, struct error *err);

/* Steps until the engine is idle. */
enum status engine_run(struct engine *engine, struct generate_results *results, struct error *err);

/* What the engine has done since it was made. */
struct engine_statistics {
    int64_t prompt_tokens, new_tokens, patches;
    int64_t decode_steps, decode_tokens; /* passes that decode, and the tokens they computed */
    double vision_seconds, prompt_seconds, decode_seconds; /* sampling is part of the latter two */
    struct cost vision, prompt, decode;                    /* work counted (model/cost.h) */
    int64_t cache_bytes, activation_bytes; /* the cache; the most that activations took at once */
};

struct engine_statistics engine_statistics(const struct engine *engine);

#endif
