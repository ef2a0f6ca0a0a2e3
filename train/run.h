/* A training run: what every stage shares, from opening the model to saving it. A stage brings its data and
 * its gradients; the run brings device, model, optimizer, schedule, log, progress, checkpoints and signals.
 *
 *     struct sft sft = {0};
 *     const struct run_stage stage = {.context = &sft, .open_data = ..., .gradients = ..., ...};
 *     status = train_run(&sft.run, config, &stage, err);
 *
 * A run goes through open_data, the model and the checkpoint to resume from, then steps: the stage's
 * gradients, their norm, clipping, AdamW, log, evaluation, checkpoint. A step whose loss or gradient is no
 * number is left out and counted; ten in a row end the run. SIGINT and SIGTERM end it after the step, with a
 * checkpoint; a second one ends the process as it always does. */
#ifndef VS2_TRAIN_RUN_H
#define VS2_TRAIN_RUN_H

#include "base/progress.h"
#include "model/tokenizer.h"
#include "train/log.h"
#include "train/pass_room.h"
#include "train/run_benchmark.h"
#include "train/run_metrics.h"
#include "train/run_state.h"
#include "train/schedule.h"

struct train_run;

/* What a step was. The stage fills in the first part, in which the run then adds up what all processes did.
 */
struct run_step {
    double loss; /* summed over the micro-batches, as the gradients are; the run makes it their mean */
    int64_t micro_batches; /* that held anything; 0: there was nothing to train on, and no gradient */
    int64_t sequences, tokens, labels;

    int64_t bad_processes, bad_process; /* how many had a loss that is no number, and which when it is one */
    double scale;                       /* of the gradients that were added up, to be their mean */
    double norm, learning_rate;         /* NaN where nothing was trained */
    bool updated;
    double seconds, flops;
};

/* What an evaluation found. */
struct run_evaluation {
    struct log_value *values; /* the first is the one that is told on stderr; names are others' */
    size_t count, capacity;
    int64_t samples, batches;
};
enum status run_evaluation_add(struct run_evaluation *evaluation, const char *name, double value,
                               struct error *err);

/* What a stage brings. Members must be there unless they say what NULL means. */
struct run_stage {
    void *context;
    const char *sample_name;  /* what evaluation counts: "sequences" */
    const char *const *shown; /* metrics for the progress line, after the loss; ends with NULL. NULL: none */

    /* Reads the data, before the model is opened, and calls run_schedule. */
    enum status (*open_data)(void *context, struct error *err);

    /* What needs the model, before a checkpoint is read; NULL: nothing does. */
    enum status (*open)(void *context, struct error *err);

    /* Says with a message what is going to be done. */
    void (*announce)(const void *context);

    /* The stage's own settings that decide what the steps compute, under their keys (run_fingerprint has
     * those of all stages). NULL when out of memory. */
    json_t *(*fingerprint)(const void *context);

    /* Adds the gradients of one optimizer step, and moves run->position.batch and epoch on. */
    enum status (*gradients)(void *context, struct run_step *step, struct error *err);

    /* What a checkpoint keeps of the stage, and back; both NULL: nothing. save returns NULL when out of
     * memory. */
    json_t *(*save)(const void *context);
    enum status (*load)(void *context, const json_t *saved, struct error *err);

    /* Evaluates on what is held out; called only while run->evaluates. */
    enum status (*evaluate)(void *context, struct run_evaluation *evaluation, struct error *err);

    /* Frees what the stage holds, also after a failure to open it; the run is still there. */
    void (*close)(void *context);
};

struct train_run {
    const struct train_config *config;
    const struct run_stage *stage;
    char *folder; /* of the model trained from */
    struct device device;
    struct device host; /* keeps the optimizer's state where offload_optimizer says so; else not open */
    bool overlaps;      /* exchanges go on beside the passes: what overlap_comm comes to on the device */
    struct model model;
    struct tokenizer *tokenizer;
    struct vision_cache *cache; /* NULL: the tower is trained, or nothing is to be kept */
    struct optimizer optimizer;
    struct run_tensors tensors; /* of the optimizer; the stage sets `reference` in open where it has one */
    struct ahead *ahead;        /* on a device with memory of its own: frames of the next pass; or NULL */
    struct pass_runner *runner;
    struct device_peak peak; /* of the leading process's device */
    struct skipped skipped;
    struct skipped news; /* rows that the others do not know of yet */
    struct schedule schedule;
    int64_t batches; /* micro-batches an epoch; or what else the stage counts in position.batch */
    int64_t total_steps, logging_steps, save_steps, eval_steps; /* 0: never */
    bool evaluates;                  /* there is something held out; set by the stage */
    struct visual_options *visual;   /* how videos become tokens; set by the stage, but for `frames` */
    struct run_benchmark *benchmark; /* that the model is scored on as it is trained; NULL: none */
    struct run_position position;
    struct run_metrics metrics; /* the stage adds to them; logged as means, in the order in which they came */

    /* What it writes. */
    int lock; /* of the output folder; -1: not locked */
    struct progress *progress;
    struct train_log *log;
    struct checkpoint_run checkpoints;
    struct checkpoint_writer *writer; /* of all that share the state; else of process 0 */
    bool *trained;
    json_t *fingerprint;
    char *template;     /* of the query, kept with the model for vs2-score; set by the stage, or NULL */
    int64_t saved_step; /* of the last checkpoint of this session */
};

/* Runs to the end, or to the end of the step after a signal, and saves. Log and progress go to stderr, the
 * summary to stdout. */
enum status train_run(struct train_run *run, const struct train_config *config, const struct run_stage *stage,
                      struct error *err);

/* ---- For stages -------------------------------------------------------------------------------------- */

/* Opens the run as far as the data: what --dry-run needs. run_close also after a failure. */
enum status run_open_data(struct train_run *run, const struct train_config *config,
                          const struct run_stage *stage, struct error *err);
void run_close(struct train_run *run);

/* How long the run is, and when it logs, evaluates and saves: micro-batches and optimizer steps of an epoch.
 */
void run_schedule(struct train_run *run, int64_t batches, int64_t epoch_steps);

/* What the configuration freezes, and the type it computes in. */
struct freeze run_freeze(const struct train_config *config);
enum dtype run_dtype(const struct train_config *config);

/* The processes that share the optimizer's state, and the host that keeps it, if run_open_device found that
 * one is to. */
struct optimizer_sharing run_sharing(struct train_run *run);

/* The device, and the host's beside it where the state goes there: a device without memory of its own has it
 * there anyway. */
enum status run_open_device(struct train_run *run, struct error *err);

/* Bytes of each of two rooms for frames that go up to the device ahead of their pass; 0: it computes in host
 * memory. */
size_t run_ahead_bytes(const struct device_info *device);

/* Whether this is the process that writes and speaks: the first. */
bool run_leads(const struct train_run *run);

/* Lists a row that could not be had, and says so; too many are an error, by the end of the step. */
enum status run_skip(struct train_run *run, struct row_place place, const char *reason, struct error *err);

/* Shows how far reading the data is: context is the progress line. */
void run_show_reading(void *progress, int64_t done, int64_t total);

/* ---- Between the files of the run -------------------------------------------------------------------- */

/* run_model.c: device, model, optimizer, and the cache of features. */
enum status run_open_model(struct train_run *run, struct error *err);

/* run_model.c: takes the memory of the largest pass, and of what lies `beside` the reading of a prompt
 * (train/pass_room.h), or says that the device has not as much. */
enum status run_reserve(struct train_run *run, struct pass_size size, size_t beside, struct error *err);

/* run_open.c: whether the processes have the same settings, before anything else; the same data and model,
 * once the data is there; the checkpoint to go on from, the log, and the writer of checkpoints. */
enum status run_compare_settings(const struct train_config *config, struct error *err);
enum status run_compare(struct train_run *run, struct error *err);
enum status run_open_outputs(struct train_run *run, struct error *err);

/* run_processes.c: what several processes do together. Adds up what each did in a step, and the gradients;
 * tells all of the rows that one had to skip; whether any was asked to stop. */
enum status run_join_step(struct train_run *run, struct run_step *step, struct error *err);
enum status run_join_skips(struct train_run *run, struct error *err);
enum status run_join_stop(struct train_run *run, bool *stop, struct error *err);
enum status run_agree(const struct train_run *run, enum status status, struct error *err);

/* run_agree where a stage's passes end, training ones (`backward`) or others: where processes share the
 * model, this one takes part in the passes of those that have some left. */
enum status run_end_passes(struct train_run *run, bool backward, enum status status, struct error *err);

/* run_evaluate.c: what is held out, and the benchmark. */
bool run_evaluates(const struct train_run *run);
enum status run_evaluate(struct train_run *run, struct error *err);

/* run_step.c: one optimizer step; position moves on. */
enum status run_take_step(struct train_run *run, struct run_step *step, struct error *err);

/* run_save.c: the position as the log wants it; a checkpoint of it, and the model in the output folder
 * itself, which all processes save together; and what a checkpoint's state.json says. */
struct train_position run_at(const struct train_run *run);
enum status run_save(struct train_run *run, struct error *err);
enum status run_save_final(struct train_run *run, struct error *err);
enum status run_wait_saved(struct train_run *run, struct error *err); /* the last checkpoint is complete */
enum status run_load_state(struct train_run *run, const json_t *state, struct error *err);

#endif
