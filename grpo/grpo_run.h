/* What the files of the GRPO run share. */
#ifndef VS2_GRPO_GRPO_RUN_H
#define VS2_GRPO_GRPO_RUN_H

#include "grpo/generation.h"
#include "grpo/loss.h"
#include "grpo/problems.h"
#include "grpo/prompt_stream.h"
#include "grpo/recorded.h"
#include "grpo/reference.h"
#include "grpo/reward.h"
#include "grpo/rollout.h"
#include "model/config.h"

/* Seconds of a step's parts, those of a generation in the step that begins it. */
struct grpo_seconds {
    double prompts, rollout, rewards, old_logprob, reference, policy;
};

struct grpo {
    struct train_run run;
    struct prompt_settings prompts;
    struct problems problems;
    struct rewards rewards;
    struct generation_config generation_config; /* of the model trained from: its stop tokens */
    struct loss_settings loss;
    enum scale_rewards scale;
    char **eval_names;          /* [rewards.count]: "eval_rewards/NAME" */
    bool reads_old;             /* a generation lasts longer than a step: its weights are not a step's own */
    struct reference reference; /* closed at beta 0 */
    struct rollout *rollout;    /* NULL where rollouts are recorded */
    struct recorded *recorded;  /* or NULL */

    /* An epoch: the rows in their order, and at which of them its steps begin, each training on new ones:
     * num_iterations repeats them. */
    int64_t *rows;   /* [starts[steps]] */
    int64_t *starts; /* [steps + 1] */
    int64_t steps;
    int64_t generation_steps; /* of a generation, but for the last of an epoch */

    struct prompt_stream *stream;  /* of the epoch that is running; NULL: not begun */
    struct generation *generation; /* that steps train on now; NULL: the next step begins one */
    int64_t flat_steps;            /* in a row, in which no group had rewards that differ */
    struct grpo_seconds seconds;
    bool cleaned; /* completions of an earlier run are gone */
};

/* Where a step stands. */
struct grpo_position {
    int64_t first;     /* the first step of its generation, as starts counts */
    int64_t steps;     /* of it */
    int64_t step;      /* which of them this is */
    int64_t iteration; /* the how manieth time */
};
struct grpo_position grpo_position(const struct grpo *grpo);

/* Whether slot `slot` of step `step` is this process's to do: micro-batches go round. */
bool grpo_owns(const struct grpo *grpo, const int64_t *starts, int64_t step, int64_t slot);

/* Groups that something is done with, in the order of their slots. */
struct grpo_list {
    struct grpo_group **groups;
    int64_t count;
};
enum status grpo_list_own(const struct grpo *grpo, const struct generation *generation,
                          struct grpo_list *list, struct error *err); /* all of this process */
void grpo_list_free(struct grpo_list *list);

/* How groups are read: at the temperature that they are drawn with. */
struct pass_reading grpo_reading(const struct grpo *grpo);

/* grpo.c: the largest pass of a step, with so many completions of each prompt. */
struct pass_size grpo_largest_pass(const struct grpo *grpo, int64_t completions);

/* ---- grpo.c: the stage's table, its context being the struct grpo ------------------------------------ */

struct run_stage grpo_stage(struct grpo *grpo);

/* ---- grpo_state.c: what a checkpoint keeps, and what a run that goes on must share --------------------- */

json_t *grpo_fingerprint(const void *context);
json_t *grpo_save(const void *context);
enum status grpo_load(void *context, const json_t *saved, struct error *err);

/* ---- grpo_draw.c: completions and rewards ------------------------------------------------------------ */

/* Takes the group's prompt from a stream. One that cannot be had, unless it is for lack of memory, is listed
 * as skipped, and the group has no row then. */
enum status grpo_take_prompt(struct grpo *grpo, const struct problem_set *set, struct prompt_stream *stream,
                             struct grpo_group *group, struct error *err);

/* Makes the prompts of groups, which have none, on threads, and takes them. */
enum status grpo_fetch(struct grpo *grpo, const struct problem_set *set, const struct grpo_list *list,
                       struct error *err);

/* How far a stream may be ahead, of which `wanted` prompts are taken at once. */
struct prefetch_limits grpo_limits(const struct grpo *grpo, int64_t wanted);

/* Draws completions for those of the groups that have a prompt, `samples` each, and rewards them. Draws are
 * keyed by `step`. */
enum status grpo_draw(struct grpo *grpo, struct rollout *rollout, uint64_t step, int64_t samples,
                      const struct grpo_list *list, struct error *err);

/* Settings of rollouts at a temperature. */
struct rollout_settings grpo_rollout_settings(const struct grpo *grpo, double temperature);

/* ---- grpo_generate.c: the generation that the next step begins ---------------------------------------- */

enum status grpo_generate(struct grpo *grpo, const struct grpo_position *at, struct error *err);

/* ---- grpo_processes.c: what processes tell each other; all of them call these ------------------------ */

/* Makes groups [count], each the own one of one process, known to all, but for the prompts. */
enum status grpo_join_groups(struct grpo *grpo, struct grpo_group *groups, const bool *own, int64_t count,
                             struct error *err);
enum status grpo_join_generation(struct grpo *grpo, struct error *err);

/* Adds up what was computed in a step, and gives all the sums of log-probabilities of its completions. */
enum status grpo_join_sums(struct grpo *grpo, struct loss_sums *sums, struct error *err);
enum status grpo_join_logprob_sums(struct grpo *grpo, const struct grpo_position *at, struct error *err);

/* ---- grpo_step.c, grpo_evaluate.c: members of the table ----------------------------------------------- */

enum status grpo_gradients(void *context, struct run_step *step, struct error *err);
enum status grpo_evaluate(void *context, struct run_evaluation *evaluation, struct error *err);

/* ---- grpo_metrics.c: what is logged of a step --------------------------------------------------------- */

enum status grpo_add_metrics(struct grpo *grpo, const struct loss_sums *sums, struct error *err);

#endif
