/* One optimizer step. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "train/communicator.h"
#include "train/run.h"

/* Steps without a number for a loss or a gradient, after which a run gives up; bytes of a few words. */
enum { BAD_STEPS_IN_A_ROW = 10, WORDS = 64 };

/* Which of several processes had the loss that is no number. */
static void tell_whose(const struct train_run *run, const struct run_step *step, char words[WORDS]) {
    int size = communicator_size(run->config->processes);
    words[0] = '\0';
    if (size == 1 || step->bad_processes == 0) return;
    if (step->bad_processes == 1)
        snprintf(words, WORDS, " (that of process %lld)", (long long)step->bad_process);
    else
        snprintf(words, WORDS, " (those of %lld processes of %d)", (long long)step->bad_processes, size);
}

/* The step is left out; too many in a row are an error. */
static enum status leave_out(struct train_run *run, const struct run_step *step, struct error *err) {
    char whose[WORDS];
    tell_whose(run, step, whose);
    optimizer_clear(&run->optimizer);
    run->position.bad_steps++;
    progress_message(run->progress, "step %lld is left out: its loss is %g%s and its gradient norm %g",
                     (long long)run->position.step + 1, step->loss, whose, step->norm);
    if (++run->position.bad_in_a_row < BAD_STEPS_IN_A_ROW) return STATUS_OK;
    error_set(
        err,
        "step %lld: loss%s or gradients were not numbers in %d steps in a row; the last checkpoint is as "
        "it was",
        (long long)run->position.step + 1, whose, BAD_STEPS_IN_A_ROW);
    return run_agree(run, STATUS_FAILED, err); /* they all do */
}

/* The update, unless the loss or the gradient is no number. */
static enum status update(struct train_run *run, struct run_step *step, struct error *err) {
    const struct train_config *config = run->config;
    double start = clock_seconds();
    enum status status = optimizer_norm(&run->optimizer, step->scale, &step->norm, err);
    if (status != STATUS_OK) return status;
    if (!isfinite(step->loss) || !isfinite(step->norm)) return leave_out(run, step, err);
    const struct optimizer_settings settings = {
        .beta1 = config->adam_beta1,
        .beta2 = config->adam_beta2,
        .epsilon = config->adam_epsilon,
        .weight_decay = config->weight_decay,
        .max_grad_norm = config->max_grad_norm,
    };
    optimizer_step(&run->optimizer, &settings, step->learning_rate, step->scale, step->norm);
    step->updated = true;
    run->position.bad_in_a_row = 0;
    status = device_synchronize(&run->device, err);
    if (status != STATUS_OK) return status;
    return run_metrics_add(&run->metrics, "seconds/optimizer", clock_seconds() - start, err);
}

static void count_step(struct train_run *run, const struct run_step *step) {
    struct run_position *position = &run->position;
    position->step++;
    position->updates = run->optimizer.step;
    position->samples += step->sequences;
    position->tokens += step->tokens;
    position->labels += step->labels;
    position->flops += step->flops;
    if (!step->updated) return;
    position->window_loss += step->loss;
    position->total_loss += step->loss;
    position->window_steps++;
    position->loss_steps++;
}

/* Last words, if this process stops. */
static void say_step(const struct train_run *run) {
    char words[WORDS];
    snprintf(words, sizeof words, "step %lld of %lld", (long long)run->position.step + 1,
             (long long)run->total_steps);
    communicator_say(run->config->processes, words);
}

enum status run_take_step(struct train_run *run, struct run_step *step, struct error *err) {
    say_step(run);
    double start = clock_seconds(), flops = pass_statistics(run->runner).flops;
    *step = (struct run_step){.learning_rate = schedule_rate(&run->schedule, run->position.step)};
    enum status status =
        run_end_passes(run, true, run->stage->gradients(run->stage->context, step, err), err);
    step->flops = pass_statistics(run->runner).flops - flops;
    if (status == STATUS_OK) status = run_join_step(run, step, err);
    if (status == STATUS_OK) status = run_join_skips(run, err);
    if (status != STATUS_OK) return status;
    if (step->micro_batches > 0) {
        step->scale = 1.0 / (double)step->micro_batches;
        step->loss *= step->scale;
        status = update(run, step, err);
    } else {
        step->loss = step->norm = NAN;
    }
    if (status != STATUS_OK) return status;
    step->seconds = clock_seconds() - start;
    count_step(run, step);
    return STATUS_OK;
}
