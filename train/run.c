#include "train/run.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/communicator.h"

/* ---- Signals ----------------------------------------------------------------------------------------- */

/* SIGINT and SIGTERM wait while a run goes on, and are asked for between steps; the second one ends the
 * process as it always does. */
static void hold_signals(sigset_t *before) {
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stops, before);
}

/* Whether a stop was asked for; the signals are let through from then on. */
static bool stop_asked(const sigset_t *before) {
    sigset_t stops;
    const struct timespec at_once = {0};
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    if (sigtimedwait(&stops, NULL, &at_once) < 0) return false;
    pthread_sigmask(SIG_SETMASK, before, NULL);
    return true;
}

/* ---- What is told of a step -------------------------------------------------------------------------- */

static double peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024;
}

static double model_flops_share(const struct train_run *run, const struct run_step *step) {
    double peak = device_peak_flops(&run->peak, run->model.compute);
    return peak > 0 ? step->flops / step->seconds / peak : NAN;
}

static void show_step(struct train_run *run, const struct run_step *step, double loss, bool logged) {
    enum { MOST = 16 };
    if (!run_leads(run)) return;
    const char *const *shown = run->stage->shown;
    struct progress_field fields[MOST] = {{"loss", PROGRESS_NUMBER, loss}};
    size_t count = 1;
    for (; shown && *shown && count < MOST / 2; shown++)
        fields[count++] =
            (struct progress_field){*shown, PROGRESS_NUMBER, run_metrics_last(&run->metrics, *shown)};
    const struct progress_field rest[] = {
        {"grad", PROGRESS_SHORT, step->norm},
        {"lr", PROGRESS_RATE, step->learning_rate},
        {"tok/s", PROGRESS_SPEED, (double)step->tokens / step->seconds},
        {"ETA", PROGRESS_DURATION, train_log_remaining(run->log, run->position.step)},
        {"epoch", PROGRESS_SHORT, run_at(run).epoch},
        {"MFU", PROGRESS_PERCENT, model_flops_share(run, step)},
        {"", PROGRESS_BYTES, peak_memory()},
    };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) fields[count++] = rest[i];
    progress_show(run->progress, "step", run->position.step, run->total_steps, fields, count, logged);
}

/* A line of the log: the mean loss, and the stage's figures, of the steps since the last one. */
static enum status log_step(struct train_run *run, const struct run_step *step, struct error *err) {
    struct run_position *position = &run->position;
    double loss = position->window_steps > 0 ? position->window_loss / (double)position->window_steps : NAN;
    const struct log_value first[] = {{"loss", loss}, {"grad_norm", step->norm}, {"lr", step->learning_rate}};
    const struct log_value last[] = {
        {"tokens_per_second", (double)step->tokens / step->seconds},
        {"step_seconds", step->seconds},
        {"mfu", model_flops_share(run, step)},
        {"memory", peak_memory()},
    };
    enum { FIRST = sizeof first / sizeof *first, LAST = sizeof last / sizeof *last };
    size_t count = 0;
    struct log_value *values =
        memory_new(FIRST + run->metrics.count + LAST, sizeof *values, "a line of the log", err);
    if (!values) return STATUS_FAILED;
    for (size_t i = 0; i < FIRST; i++) values[count++] = first[i];
    for (size_t i = 0; i < run->metrics.count; i++)
        values[count++] =
            (struct log_value){run->metrics.items[i].name, run_metric_mean(&run->metrics.items[i])};
    for (size_t i = 0; i < LAST; i++) values[count++] = last[i];
    const struct train_record record = {run_at(run), values, count};
    position->window_loss = 0;
    position->window_steps = 0;
    run_metrics_clear(&run->metrics);
    enum status status = run_leads(run) ? train_log_record(run->log, &record, err) : STATUS_OK;
    free(values);
    if (status == STATUS_OK) show_step(run, step, loss, true);
    return status;
}

/* ---- The steps --------------------------------------------------------------------------------------- */

static bool falls_on(int64_t interval, int64_t step) {
    return interval > 0 && step % interval == 0;
}

/* What follows a step: log, evaluation, checkpoint. */
static enum status after_step(struct train_run *run, const struct run_step *step, bool stopping,
                              struct error *err) {
    const struct train_config *config = run->config;
    int64_t number = run->position.step;
    bool last = number == run->total_steps;
    enum status status = STATUS_OK;
    if (falls_on(run->logging_steps, number) || (config->logging_first_step && number == 1))
        status = log_step(run, step, err);
    else
        show_step(run, step, step->loss, false);
    status = run_agree(run, status, err);
    if (status == STATUS_OK && run_evaluates(run) && falls_on(run->eval_steps, number))
        status = run_agree(run, run_evaluate(run, err), err);
    if (status == STATUS_OK && run->writer) status = checkpoint_poll(run->writer, err);
    bool saves = falls_on(run->save_steps, number) || (last && run->save_steps > 0) || stopping;
    if (saves) status = run_agree(run, status, err); /* the writer may be process 0's alone */
    if (status == STATUS_OK && saves) status = run_save(run, err);
    return run_agree(run, status, err);
}

static enum status take_steps(struct train_run *run, const sigset_t *before, bool *stopped,
                              struct error *err) {
    enum status status = STATUS_OK;
    if (run->position.step == 0 && run_evaluates(run) && run->config->eval_on_start)
        status = run_agree(run, run_evaluate(run, err), err);
    while (status == STATUS_OK && run->position.step < run->total_steps) {
        struct run_step step;
        status = run_take_step(run, &step, err);
        if (status != STATUS_OK) return status;
        *stopped = stop_asked(before);
        status = run_join_stop(run, stopped, err);
        if (status != STATUS_OK) return status;
        status = after_step(run, &step, *stopped, err);
        if (status != STATUS_OK || *stopped) return status;
    }
    return status;
}

/* ---- The end ----------------------------------------------------------------------------------------- */

static void print_summary(const struct train_run *run, const struct train_summary *summary) {
    const struct run_position *position = &run->position;
    double seconds = train_log_elapsed(run->log);
    printf("trained      %lld steps, %.2f epochs, %lld tokens in %.0f s (%.0f tokens/s)\n",
           (long long)position->step, summary->at.epoch, (long long)position->tokens, seconds,
           (double)position->tokens / seconds);
    printf("mean loss    %.4f\n", summary->train_loss);
    if (run->skipped.count > 0)
        printf("skipped      %zu rows, listed in %s/skipped.jsonl\n", run->skipped.count,
               run->config->output_dir);
    if (position->bad_steps > 0)
        printf("left out     %lld steps whose loss or gradient was no number\n",
               (long long)position->bad_steps);
    printf("memory       %.1f GB at most\n", peak_memory() / 1e9);
    printf("model        %s\n", run->config->output_dir);
    printf("score with   vs2-score --model %s --video FILE --prompt TEXT\n", run->config->output_dir);
}

/* The model in the output folder, the last figures, and what to do next. */
static enum status finish(struct train_run *run, struct error *err) {
    const struct run_position *position = &run->position;
    enum status status = run_wait_saved(run, err);
    if (status == STATUS_OK && run_evaluates(run) && run->config->do_eval &&
        !falls_on(run->eval_steps, position->step))
        status = run_agree(run, run_evaluate(run, err), err);
    if (status == STATUS_OK) status = run_save_final(run, err);
    if (!run_leads(run)) return run_agree(run, status, err);
    const struct train_summary summary = {
        .at = run_at(run),
        .train_loss = position->loss_steps > 0 ? position->total_loss / (double)position->loss_steps : NAN,
        .samples = position->samples,
    };
    if (status == STATUS_OK) status = train_log_finish(run->log, &summary, err);
    if (status == STATUS_OK) print_summary(run, &summary);
    return run_agree(run, status, err);
}

static enum status stop(struct train_run *run, struct error *err) {
    enum status status = run_wait_saved(run, err);
    if (status != STATUS_OK || !run_leads(run)) return status;
    printf("stopped      at step %lld of %lld; saved in %s/checkpoint-%lld\n", (long long)run->position.step,
           (long long)run->total_steps, run->config->output_dir, (long long)run->position.step);
    printf("go on with   the same command and resume_from_checkpoint=true\n");
    return STATUS_OK;
}

static enum status open_run(struct train_run *run, const struct train_config *config,
                            const struct run_stage *stage, struct error *err) {
    enum status status = run_agree(run, run_open_data(run, config, stage, err), err);
    if (status == STATUS_OK) status = run_compare(run, err);
    if (status == STATUS_OK) status = run_open_model(run, err);
    if (status == STATUS_OK && stage->open) status = stage->open(stage->context, err);
    status = run_agree(run, status, err);
    if (status == STATUS_OK) status = run_open_outputs(run, err);
    status = run_agree(run, status, err);
    if (status == STATUS_OK) stage->announce(stage->context);
    return status;
}

/* What to do about a device that is full, behind what was asked of it. */
static void explain_full(const struct train_run *run, struct error *err) {
    const struct train_config *config = run->config;
    const bool grpo = config->stage == TRAIN_STAGE_GRPO;
    const struct error cause = *err;
    error_set(
        err,
        "%s; lower %s%s%s%s, or share the state among more processes (zero_stage): --dry-run tells what "
        "fits",
        cause.message,
        grpo ? "num_generations, max_completion_length or pass_tokens"
             : "per_device_train_batch_size or cutoff_len",
        config->gradient_checkpointing ? ", set activation_memory=0" : ", set gradient_checkpointing=true",
        config->offload_optimizer ? "" : ", offload_optimizer=true",
        grpo && config->grpo.beta > 0 ? ", beta=0 (no reference model)" : "");
}

/* A failure that all agreed on leaves the last checkpoint, which all have written, its name. Of another one
 * the others know nothing, and may wait for this process: it tells of it and ends them all, before anything
 * is closed that would wait for them. */
static void end_failed(struct train_run *run, enum status status, const struct error *err) {
    struct communicator *processes = run->config->processes;
    struct error ignored; /* the other failure is the one to tell */
    const bool agreed = communicator_agreed(processes);
    (void)fflush(stdout);
    if (!agreed) fprintf(stderr, "%s: error: %s\n", program_invocation_short_name, err->message);
    if (run->writer && (agreed || !run->checkpoints.processes)) (void)checkpoint_wait(run->writer, &ignored);
    if (!agreed) communicator_close(processes, status);
    /* What is queued for the others' GPUs will not be done. */
    if (run->device.collective) device_fail(&run->device, "%s", err->message);
}

enum status train_run(struct train_run *run, const struct train_config *config, const struct run_stage *stage,
                      struct error *err) {
    sigset_t before;
    bool stopped = false;
    enum status status = run_compare_settings(config, err);
    if (status != STATUS_OK) return status;
    hold_signals(&before); /* before any thread starts: they all inherit it */
    status = open_run(run, config, stage, err);
    if (status == STATUS_OK) status = take_steps(run, &before, &stopped, err);
    if (status == STATUS_OK) status = stopped ? stop(run, err) : finish(run, err);
    if (status != STATUS_OK && run->device.full && device_describe(&run->device).own_memory)
        explain_full(run, err);
    if (status != STATUS_OK) end_failed(run, status, err);
    run_close(run);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
