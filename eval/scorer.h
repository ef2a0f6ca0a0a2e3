/* From videos and prompts to scores: frames are decoded ahead on threads while the model works, many videos
 * are generated for at once, and results come in the order of the jobs.
 *
 *     struct scorer *scorer;
 *     enum status status = scorer_open(&settings, &jobs, &scorer, err);
 *     if (status == STATUS_OK) status = scorer_run(scorer, take_result, context, err);
 *     scorer_close(scorer);
 *
 * A video that cannot be read, or whose prompt cannot be, is an error of its result and not of the run.
 */
#ifndef VS2_EVAL_SCORER_H
#define VS2_EVAL_SCORER_H

#include <stdbool.h>
#include <stdint.h>

#include "data/visual.h"
#include "eval/jobs.h"
#include "eval/scores.h"
#include "model/generate.h"

/* How tokens are drawn; NaN and -1: as the checkpoint's generation_config.json says. */
struct sampling_wish {
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
    uint64_t seed;
};

/* How far a run is. */
struct score_progress {
    int64_t jobs, done, failed; /* of all, delivered, and those of them that failed */
    int64_t new_tokens;
    double seconds; /* since scorer_open */
};

struct scorer_settings {
    const char *model;  /* folder, or hub name in the local cache */
    const char *device; /* device_open's kind */
    enum dtype compute; /* DTYPE_I32: bf16 where the device computes it natively, else f32 */
    /* A model and tokenizer in memory, used in place of those of the folder, which gives the rest
     * (generation_config.json, preprocessor_config.json, query_template.txt). `device` and `compute` mean
     * nothing then. Both or neither; they must outlive the scorer. */
    const struct model *loaded;
    const struct tokenizer *tokenizer;
    const char *template_file;    /* of the query, or NULL (data/query.h) */
    const char *query;            /* the template itself, in place of any file; or NULL */
    struct visual_options visual; /* `processor` and `threads` are set by the scorer */
    struct sampling_wish sampling;
    int64_t samples, max_new_tokens;
    bool unordered;         /* results come as they are complete, not in the order of the jobs */
    bool raw_probabilities; /* soft scores from softmax(logits), not from the distribution drawn from */
    void (*progress)(void *context, const struct score_progress *progress); /* after each step, or NULL */
    void *progress_context;
};

/* The published settings: frames of llamafactory's policy, 1,024 new tokens, one sample, seed 42. */
struct scorer_settings scorer_settings_default(void);

struct score_sample {
    struct scores scores;
    char *text; /* special tokens left out; terminated, and may hold zero bytes of its own */
    size_t length;
    int32_t *ids;
    int64_t count;
    enum finish_reason finish;
};

struct score_result {
    int64_t job;
    const char *video, *prompt; /* the job's */
    enum status status;         /* not STATUS_OK: nothing below but `seconds`, and `error` says why */
    struct error error;
    int64_t sample_count;
    struct score_sample *samples;
    int64_t frame_count;
    const int64_t *frames;
    int64_t prompt_tokens;
    const int32_t *prompt_ids;
    double seconds; /* from the start of decoding the video to the last token of its samples */
};

/* Takes one result, which ends when it returns; a failure stops the run. */
typedef enum status score_sink(void *context, const struct score_result *result, struct error *err);

struct scorer;

/* Opens the checkpoint; the first videos are being decoded when it returns. The jobs must outlive it. On
 * failure *scorer is NULL. */
enum status scorer_open(const struct scorer_settings *settings, const struct score_jobs *jobs,
                        struct scorer **scorer, struct error *err);
enum status scorer_run(struct scorer *scorer, score_sink *sink, void *context, struct error *err);
struct score_progress scorer_progress(const struct scorer *scorer);
void scorer_close(struct scorer *scorer); /* NULL is fine */

#endif
