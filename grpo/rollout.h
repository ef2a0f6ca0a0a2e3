/* Rollouts: G completions of each prompt, drawn from the model as it is now, without a copy of it.
 *
 * A prompt is computed once for all its completions: visuals, keys and values. Prompts are started as others
 * finish; what has ended leaves. What is drawn is a function of the weights, the prompt, and (seed, step,
 * problem, sample, token number) alone: it depends neither on the other prompts nor on how many run at once,
 * so a run that was killed draws the same again. (More than matmul_exact_rows sequences at once are refused:
 * beyond that, products round by the number of their rows.)
 *
 *     struct rollout *rollout = rollout_new(&settings, err);
 *     for each step: status = rollout_run(rollout, step, prompts, count, &completions, err);
 */
#ifndef VS2_GRPO_ROLLOUT_H
#define VS2_GRPO_ROLLOUT_H

#include "model/generate.h"
#include "train/pass.h"

struct rollout_settings {
    const struct model *model;  /* its weights may change between runs */
    struct vision_cache *cache; /* of a frozen tower: features are looked up there, and kept for training;
                                   NULL: the tower is trained, or nothing is kept */
    /* How tokens are drawn. */
    double temperature;        /* at least 0; 0: greedy, all completions of a prompt are one */
    double top_p;              /* 0 to 1; 1: off */
    int64_t top_k;             /* at least 0; 0: off */
    double min_p;              /* 0 to 1; 0: off */
    double repetition_penalty; /* above 0; 1: off */
    uint64_t seed;

    int64_t max_new_tokens;     /* of a completion, at least 1 */
    const int32_t *stop_tokens; /* each ends a completion, and is its last token; copied */
    int stop_token_count;

    int64_t sequences;     /* that run at once, up to matmul_exact_rows; 0: so many */
    int64_t cache_bytes;   /* of keys and values; 0: 2 GiB. Taken when the first prompt comes */
    int64_t prompt_tokens; /* of a prompt computed in one pass; longer ones go in parts. 0: 4096 */

    struct pass_runner *lender; /* whose memory runs work in, until rollout_rest; its passes wait until then.
                                   NULL: in memory of their own, which is given back then */
};

struct rollout_prompt {
    const int32_t *tokens; /* pads expanded */
    int64_t count;
    struct pass_visuals
        visuals;           /* patches may be the frames in another order: those have keys of their own */
    uint32_t problem;      /* the row's number in the data set */
    int64_t samples;       /* completions wanted: G */
    uint32_t first_sample; /* the number of the first of them: draws from the same problem in the same step
                              differ by their sample number */
};

struct rollout_completion {
    int32_t *tokens; /* [count] */
    float *logprobs; /* [count]: of each token in softmax(logits / temperature), before top-k, top-p, min-p
                        and repetition penalty: what a training pass at that temperature computes. (Greedy: in
                        softmax(logits).) */
    int64_t count;
    enum finish_reason finish; /* FINISH_LENGTH: truncated; FINISH_FAILED: the logits were not numbers, and
                                  the tokens are those before */
};

/* The completions of a run, prompt after prompt in their order, samples in theirs. */
struct rollout_completions {
    struct rollout_completion *items;
    int64_t count;
};
void rollout_completions_free(struct rollout_completions *completions);

struct rollout;

/* NULL with err set: out of memory, or a setting out of its range (a usage error). The settings are copied.
 */
struct rollout *rollout_new(const struct rollout_settings *settings, struct error *err);
void rollout_free(struct rollout *rollout); /* NULL is fine */

/* Draws all completions. A prompt whose pads and visuals do not match, or that does not fit the cache with
 * one completion, is an error, and so is a lack of memory; nothing is drawn then. */
enum status rollout_run(struct rollout *rollout, uint64_t step, const struct rollout_prompt *prompts,
                        int64_t count, struct rollout_completions *completions, struct error *err);

/* Bytes of keys and values that a run takes for `count` prompts of up to `longest` tokens and as many samples
 * each. */
int64_t rollout_cache_bytes(const struct rollout *rollout, int64_t longest, int64_t samples, int64_t count);

/* Gives the memory of keys, values and activations back until the next run: for machines where training
 * needs it. */
void rollout_rest(struct rollout *rollout);

/* What was done since rollout_new. */
struct engine_statistics rollout_statistics(const struct rollout *rollout);

#endif
