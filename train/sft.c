#include "train/sft.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "train/sft_run.h"

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

static double peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024;
}

static double model_flops_share(const struct sft *sft, const struct sft_step *step) {
    return sft->peak.flops > 0 ? step->flops / step->seconds / sft->peak.flops : NAN;
}

static void show_step(struct sft *sft, const struct sft_step *step, double loss, bool logged) {
    const struct progress_field fields[] = {
        {"loss", PROGRESS_NUMBER, loss},
        {"grad", PROGRESS_SHORT, step->norm},
        {"lr", PROGRESS_RATE, step->learning_rate},
        {"tok/s", PROGRESS_SPEED, (double)step->tokens / step->seconds},
        {"ETA", PROGRESS_DURATION, train_log_remaining(sft->log, sft->position.step)},
        {"epoch", PROGRESS_SHORT, sft_at(sft).epoch},
        {"MFU", PROGRESS_PERCENT, model_flops_share(sft, step)},
        {"", PROGRESS_BYTES, peak_memory()},
    };
    progress_show(sft->progress, "step", sft->position.step, sft->total_steps, fields,
                  sizeof fields / sizeof *fields, logged);
}

/* A line of the log: the mean loss of the steps since the last one. */
static enum status log_step(struct sft *sft, const struct sft_step *step, struct error *err) {
    struct sft_position *position = &sft->position;
    double loss = position->window_steps > 0 ? position->window_loss / (double)position->window_steps : NAN;
    const struct log_value values[] = {
        {"loss", loss},
        {"grad_norm", step->norm},
        {"lr", step->learning_rate},
        {"tokens_per_second", (double)step->tokens / step->seconds},
        {"step_seconds", step->seconds},
        {"mfu", model_flops_share(sft, step)},
        {"memory", peak_memory()},
    };
    const struct train_record record = {sft_at(sft), values, sizeof values / sizeof *values};
    position->window_loss = 0;
    position->window_steps = 0;
    enum status status = train_log_record(sft->log, &record, err);
    if (status == STATUS_OK) show_step(sft, step, loss, true);
    return status;
}

static enum status evaluate(struct sft *sft, struct error *err) {
    double loss, start = clock_seconds();
    int64_t sequences;
    enum status status = sft_evaluate(sft, &loss, &sequences, err);
    if (status != STATUS_OK) return status;
    double seconds = clock_seconds() - start;
    int64_t batch = sft->config->per_device_eval_batch_size, batches = (sequences + batch - 1) / batch;
    const struct log_value values[] = {
        {"eval_loss", loss},
        {"eval_runtime", seconds},
        {"eval_samples_per_second", (double)sequences / seconds},
        {"eval_steps_per_second", (double)batches / seconds},
    };
    const struct train_record record = {sft_at(sft), values, sizeof values / sizeof *values};
    progress_message(sft->progress, "step %lld: eval_loss %.4f over %lld sequences",
                     (long long)sft->position.step, loss, (long long)sequences);
    status = train_log_record(sft->log, &record, err);
    if (status == STATUS_OK) status = train_log_publish(sft->log, &record.at, err);
    return status;
}

static bool falls_on(int64_t interval, int64_t step) {
    return interval > 0 && step % interval == 0;
}

/* What follows a step: log, evaluation, checkpoint. */
static enum status after_step(struct sft *sft, const struct sft_step *step, bool stopping,
                              struct error *err) {
    const struct train_config *config = sft->config;
    int64_t number = sft->position.step;
    bool last = number == sft->total_steps;
    enum status status = STATUS_OK;
    if (falls_on(sft->logging_steps, number) || (config->logging_first_step && number == 1))
        status = log_step(sft, step, err);
    else
        show_step(sft, step, step->loss, false);
    if (status == STATUS_OK && falls_on(sft->eval_steps, number)) status = evaluate(sft, err);
    bool saves = falls_on(sft->save_steps, number) || (last && sft->save_steps > 0) || stopping;
    if (status == STATUS_OK && saves) status = sft_save(sft, err);
    return status;
}

static enum status run_steps(struct sft *sft, const sigset_t *before, bool *stopped, struct error *err) {
    while (sft->position.step < sft->total_steps) {
        struct sft_step step;
        enum status status = sft_step(sft, &step, err);
        if (status != STATUS_OK) return status;
        *stopped = stop_asked(before);
        status = after_step(sft, &step, *stopped, err);
        if (status != STATUS_OK || *stopped) return status;
    }
    return STATUS_OK;
}

/* The model in the output folder, the last figures, and what to do next. */
static enum status finish(struct sft *sft, struct error *err) {
    const struct sft_position *position = &sft->position;
    enum status status = checkpoint_wait(sft->writer, err);
    if (status == STATUS_OK && sft->data.eval.group_count > 0 && sft->config->do_eval &&
        !falls_on(sft->eval_steps, position->step))
        status = evaluate(sft, err);
    if (status == STATUS_OK) status = sft_save_final(sft, err);
    const struct train_summary summary = {
        .at = sft_at(sft),
        .train_loss = position->loss_steps > 0 ? position->total_loss / (double)position->loss_steps : NAN,
        .samples = position->samples,
    };
    if (status == STATUS_OK) status = train_log_finish(sft->log, &summary, err);
    if (status != STATUS_OK) return status;
    double seconds = train_log_elapsed(sft->log);
    printf("trained      %lld steps, %.2f epochs, %lld tokens in %.0f s (%.0f tokens/s)\n",
           (long long)position->step, summary.at.epoch, (long long)position->tokens, seconds,
           (double)position->tokens / seconds);
    printf("mean loss    %.4f\n", summary.train_loss);
    if (sft->data.skipped.count > 0)
        printf("skipped      %zu rows, listed in %s/skipped.jsonl\n", sft->data.skipped.count,
               sft->config->output_dir);
    if (position->bad_steps > 0)
        printf("left out     %lld steps whose loss or gradient was no number\n",
               (long long)position->bad_steps);
    printf("memory       %.1f GB at most\n", peak_memory() / 1e9);
    printf("model        %s\n", sft->config->output_dir);
    printf("score with   vs2-score --model %s --video FILE --prompt TEXT\n", sft->config->output_dir);
    return STATUS_OK;
}

static enum status stop(struct sft *sft, struct error *err) {
    enum status status = checkpoint_wait(sft->writer, err);
    if (status != STATUS_OK) return status;
    printf("stopped      at step %lld of %lld; saved in %s/checkpoint-%lld\n", (long long)sft->position.step,
           (long long)sft->total_steps, sft->config->output_dir, (long long)sft->position.step);
    printf("go on with   the same command and resume_from_checkpoint=true\n");
    return STATUS_OK;
}

enum status train_sft_run(const struct train_config *config, struct error *err) {
    struct sft sft;
    sigset_t before;
    bool stopped = false;
    hold_signals(&before); /* before any thread starts: they all inherit it */
    enum status status = sft_open(&sft, config, err);
    if (status == STATUS_OK) {
        progress_message(sft.progress,
                         "%lld rows in %lld sequences, %lld steps; %lld of the parameters are trained",
                         (long long)sft.data.train.row_count, (long long)sft.data.train.group_count,
                         (long long)sft.total_steps, (long long)sft.optimizer.elements);
        status = run_steps(&sft, &before, &stopped, err);
    }
    if (status == STATUS_OK) status = stopped ? stop(&sft, err) : finish(&sft, err);
    sft_close(&sft);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
