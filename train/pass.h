/* One training pass: several samples packed side by side, forward, loss and backward.
 *
 * The samples of a pass do not see each other. A pass adds to the gradients; what is trained is what has a
 * gradient (model/language.h). Features of a frozen vision tower come from a cache where there is one. */
#ifndef VS2_TRAIN_PASS_H
#define VS2_TRAIN_PASS_H

#include "model/language.h"
#include "model/positions.h"
#include "train/vision_cache.h"

/* A sample as the model takes it; all arrays are the caller's until the pass is done. */
struct pass_sample {
    int64_t count;
    const int32_t *tokens;
    const int32_t *labels; /* [count]: what is to be said at this place, or -1; the first is never used */
    const struct visual_grid *visuals;
    int64_t visual_count;
    const float *const *patches; /* [visual_count]; NULL where features are given */
    const char *const *keys;     /* [visual_count]: of the vision cache; NULL: not to be kept */
    const void *const *features; /* [visual_count]: found in the cache, of the compute type; or NULL */
    double weight;               /* the loss is the sum over samples of weight * (- sum of logprobs) */
};

/* Labels of a sample that carry a loss. */
int64_t pass_labels(const int32_t *labels, int64_t count);

/* Seconds spent, by part. On devices that queue their work a part's seconds are those of queueing unless
 * `pass_settings.timed`. */
struct pass_seconds {
    double vision, forward, head, backward, vision_backward;
};

struct pass_settings {
    const struct model *model;
    const struct model *gradients;
    struct vision_cache *cache; /* or NULL */
    bool recompute;             /* gradient checkpointing */
    int64_t activation_bytes;   /* with recompute: of activations that may be kept all the same */
    bool timed;                 /* wait for the device at the end of each part, to measure it */
};

struct pass_runner;

/* NULL with err set when out of memory; the settings are copied. */
struct pass_runner *pass_runner_new(const struct pass_settings *settings, struct error *err);
void pass_runner_free(struct pass_runner *runner);

/* Runs a pass; `logprob_sums` [count] receives each sample's sum of log-probabilities of its labels. With
 * `backward` false nothing is added to the gradients. Waits for the device. A sample whose pads and visuals
 * do not match, or without labels, is an error. */
enum status pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                     bool backward, double *logprob_sums, struct error *err);

/* What the runner has done since it was made. */
struct pass_statistics {
    struct pass_seconds seconds;
    int64_t tokens, labels, patches;
    double flops;           /* forward and backward, recomputation not counted */
    size_t activation_peak; /* bytes */
};
struct pass_statistics pass_statistics(const struct pass_runner *runner);

#endif
