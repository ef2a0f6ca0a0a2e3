/* One optimizer step. */
#include <math.h>

#include "base/clock.h"
#include "train/run.h"

enum { BAD_STEPS_IN_A_ROW = 10 }; /* without a number for a loss or a gradient, after which a run gives up */

/* The step is left out; too many in a row are an error. */
static enum status leave_out(struct train_run *run, const struct run_step *step, struct error *err) {
    optimizer_clear(&run->optimizer);
    run->position.bad_steps++;
    progress_message(run->progress, "step %lld is left out: its loss is %g and its gradient norm %g",
                     (long long)run->position.step + 1, step->loss, step->norm);
    if (++run->position.bad_in_a_row < BAD_STEPS_IN_A_ROW) return STATUS_OK;
    return error_set(
        err,
        "step %lld: loss or gradients were not numbers in %d steps in a row; the last checkpoint "
        "is as it was",
        (long long)run->position.step + 1, BAD_STEPS_IN_A_ROW);
}

/* The update, unless the loss or the gradient is no number. */
static enum status update(struct train_run *run, struct run_step *step, struct error *err) {
    const struct train_config *config = run->config;
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
    return device_synchronize(&run->device, err);
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

enum status run_take_step(struct train_run *run, struct run_step *step, struct error *err) {
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
