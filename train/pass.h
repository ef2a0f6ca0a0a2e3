/* Training passes: token sequences packed side by side, forward, loss and backward.
 *
 * A pass is over samples (supervised: fixed weights of log-probabilities) or over groups (a prompt and its
 * completions, each of which sees the prompt and itself: the prompt is computed once for all of them). What
 * stands side by side does not see each other. A pass adds to the gradients; what is trained is what has a
 * gradient (model/language.h). Features of a frozen vision tower come from a cache where there is one.
 *
 *     struct pass_runner *runner = pass_runner_new(&settings, err);
 *     status = pass_groups_read(runner, groups, count, how, old_logprobs, NULL, err);
 *     status = pass_groups_train(runner, groups, count, how, &loss, err);
 */
#ifndef VS2_TRAIN_PASS_H
#define VS2_TRAIN_PASS_H

#include "model/language.h"
#include "model/positions.h"
#include "model/vision_frames.h"
#include "tensor/ahead.h"
#include "train/units.h"
#include "train/vision_cache.h"

/* Videos and images of a sequence, in the order of their pads; all arrays are the caller's. */
struct pass_visuals {
    int64_t count;
    const struct visual_grid *grids;
    const float *const *patches; /* NULL where features or frames are given */
    const char *const *keys;     /* of the vision cache; NULL: not to be kept */
    const void *const *features; /* of a frozen tower, of the compute type; NULL, all or one: not there */
    const struct vision_frames *const *frames; /* what patches are made of; NULL, all or one: not there */
};

struct pass_runner;

/* NULL: the visual has patches or features. */
static inline const struct vision_frames *pass_visual_frames(const struct pass_visuals *visuals,
                                                             int64_t number) {
    return visuals->frames ? visuals->frames[number] : NULL;
}

struct pass_settings {
    const struct model *model;
    const struct model *gradients; /* NULL: a model that is only read, as a reference model is */
    struct vision_cache *cache;    /* or NULL */
    struct ahead *ahead; /* what pass_announce sends ahead with; NULL: everything goes up as it is needed */
    struct units *units; /* NULL, or those of a model that processes share (train/units.h) */
    bool recompute;      /* gradient checkpointing */
    int64_t activation_bytes;   /* with recompute: of activations that may be kept all the same */
    struct pass_runner *lender; /* whose memory passes work in, which must outlive this runner; the two never
                                   run at once. NULL: in memory of its own */
    bool timed;                 /* wait for the device at the end of each part, to measure it */
};

/* The activation_bytes that is given, or when none is (below 0) a twelfth of what trained parameters take
 * with moments and gradients, were they not shared by processes: keeping activations saves up to a fifth of a
 * step, and costs little beside these, or beside what sharing them saves. */
int64_t pass_activation_bytes(int64_t given, int64_t trained_bytes);

/* NULL with err set when out of memory; the settings are copied. */
struct pass_runner *pass_runner_new(const struct pass_settings *settings, struct error *err);
void pass_runner_free(struct pass_runner *runner);

/* The memory that its passes work in, for others to use between them. */
struct arena *pass_runner_arena(struct pass_runner *runner);

/* What the training pass after the next one is to look at: its frames go up to the device while the next one
 * computes, as many as there is room for. What `visuals` points to must stay until it has run; announced for
 * nothing, it is dropped by the passes that come instead. */
void pass_announce(struct pass_runner *runner, const struct pass_visuals *visuals);

/* ---- Samples ----------------------------------------------------------------------------------------- */

/* A sample as the model takes it; all arrays are the caller's until the pass is done. */
struct pass_sample {
    int64_t count;
    const int32_t *tokens;
    const int32_t *labels; /* [count]: what is to be said at this place, or -1; the first is never used */
    struct pass_visuals visuals;
    double weight; /* the loss is the sum over samples of weight * (- sum of logprobs) */
};

/* Labels of a sample that carry a loss. */
int64_t pass_labels(const int32_t *labels, int64_t count);

/* Runs a pass; `logprob_sums` [count] receives each sample's sum of log-probabilities of its labels. With
 * `backward` false nothing is added to the gradients. Waits for the device. A sample whose pads and visuals
 * do not match, or without labels, is an error. */
enum status pass_run(struct pass_runner *runner, const struct pass_sample *samples, int64_t count,
                     bool backward, double *logprob_sums, struct error *err);

/* ---- Groups ------------------------------------------------------------------------------------------ */

/* What was said after a prompt. May be empty. */
struct pass_completion {
    const int32_t *tokens;
    int64_t count;
};

/* A prompt and its completions; all arrays are the caller's until the pass is done. */
struct pass_group {
    const int32_t *tokens; /* of the prompt: at least one */
    int64_t count;
    struct pass_visuals visuals; /* of the prompt */
    const struct pass_completion *completions;
    int64_t completion_count;
};

/* Tokens of all completions of the groups: how many values a pass over them has. Values lie in the order of
 * groups, completions, tokens. */
int64_t pass_group_values(const struct pass_group *groups, int64_t count);

/* Tokens that a group adds to a pass: of its prompt and of its completions, without the last of each, which
 * nothing follows. `apart`: see pass_reading. None, when all completions are empty. */
int64_t pass_group_tokens(const struct pass_group *group, bool apart);

/* How groups are read. */
struct pass_reading {
    double temperature; /* above 0: probabilities are softmax(logits / temperature) */
    bool apart; /* every completion gets a prompt of its own, visuals included: the same values and gradients,
                   at G times the prompt's price. For tests and benchmarks */
};

/* Computes the log-probability of each completion token, and its distribution's entropy (-sum p log p, in
 * nats) unless `entropy` is NULL: host arrays [pass_group_values]. Nothing is trained. Waits for the device.
 * A prompt whose pads and visuals do not match, or a token outside the vocabulary, is an error. */
enum status pass_groups_read(struct pass_runner *runner, const struct pass_group *groups, int64_t count,
                             struct pass_reading how, float *logprob, float *entropy, struct error *err);

/* A loss that is a function of all values of a pass. */
struct pass_loss {
    /* Sets d_logprob[i], the derivative of the loss by logprob[i], and d_entropy[i] by entropy[i]; host
     * arrays [pass_group_values], zeros before. A failure ends the pass before anything is added to the
     * gradients. */
    enum status (*derive)(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *err);
    void *context;
    bool reads_entropy;   /* otherwise entropy is NULL */
    bool derives_entropy; /* otherwise d_entropy is NULL; takes reads_entropy */
};

/* Forward, loss, and backward. The head's logits are computed twice, some rows at a time: once for the values
 * that the loss wants to see, and once for their gradients; no more than 192 MiB of them exist at once. That
 * costs 2 * values * hidden * vocabulary operations. Does not call the loss when there are no values. */
enum status pass_groups_train(struct pass_runner *runner, const struct pass_group *groups, int64_t count,
                              struct pass_reading how, const struct pass_loss *loss, struct error *err);

/* ---- What was done ----------------------------------------------------------------------------------- */

/* Seconds spent, by part. On devices that queue their work a part's seconds are those of queueing unless
 * `pass_settings.timed`. */
struct pass_seconds {
    double vision, forward, head, loss, backward, vision_backward;
};

/* What the runner has done since it was made. */
struct pass_statistics {
    struct pass_seconds seconds;
    int64_t tokens, labels, patches;
    double flops;           /* forward and backward, recomputation not counted */
    size_t activation_peak; /* bytes, of all who work in this memory */
};
struct pass_statistics pass_statistics(const struct pass_runner *runner);

#endif
