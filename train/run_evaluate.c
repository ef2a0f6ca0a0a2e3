/* Evaluation while training. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/run.h"

bool run_evaluates(const struct train_run *run) {
    return run->evaluates || run->benchmark;
}

enum status run_evaluation_add(struct run_evaluation *evaluation, const char *name, double value,
                               struct error *err) {
    enum status status = memory_grow(&evaluation->values, &evaluation->capacity, evaluation->count + 1,
                                     sizeof *evaluation->values, "an evaluation", err);
    if (status == STATUS_OK) evaluation->values[evaluation->count++] = (struct log_value){name, value};
    return status;
}

/* The stage's figures, on what is held out. */
static enum status evaluate_stage(struct train_run *run, struct run_evaluation *evaluation,
                                  struct error *err) {
    double start = clock_seconds();
    enum status status = run_agree(run, run->stage->evaluate(run->stage->context, evaluation, err), err);
    if (status == STATUS_OK) status = run_join_skips(run, err);
    double seconds = clock_seconds() - start;
    const struct log_value times[] = {
        {"eval_runtime", seconds},
        {"eval_samples_per_second", (double)evaluation->samples / seconds},
        {"eval_steps_per_second", (double)evaluation->batches / seconds},
    };
    for (size_t i = 0; status == STATUS_OK && i < sizeof times / sizeof *times; i++)
        status = run_evaluation_add(evaluation, times[i].name, times[i].value, err);
    status = run_agree(run, status, err);
    if (status == STATUS_OK)
        progress_message(run->progress, "step %lld: %s %.4f over %lld %s", (long long)run->position.step,
                         evaluation->values[0].name, evaluation->values[0].value,
                         (long long)evaluation->samples, run->stage->sample_name);
    return status;
}

/* By generating, with the whole model. */
static enum status score_benchmark(struct train_run *run, struct run_benchmark_figures *figures,
                                   struct error *err) {
    enum status status = optimizer_gather_weights(&run->optimizer, pass_runner_arena(run->runner), err);
    if (status == STATUS_OK) status = run_benchmark_score(run->benchmark, figures, err);
    optimizer_drop_weights(&run->optimizer);
    return status;
}

/* The benchmark's, whose names `figures` holds. */
static enum status evaluate_benchmark(struct train_run *run, struct run_benchmark_figures *figures,
                                      struct run_evaluation *evaluation, struct error *err) {
    enum status status = score_benchmark(run, figures, err);
    for (size_t i = 0; status == STATUS_OK && i < figures->count; i++)
        status = run_evaluation_add(evaluation, figures->values[i].name, figures->values[i].value, err);
    if (status == STATUS_OK)
        progress_message(run->progress, "step %lld: %s: accuracy %.1f%% over %zu videos",
                         (long long)run->position.step, run->config->eval_benchmark, figures->values[0].value,
                         run_benchmark_videos(run->benchmark));
    return status;
}

enum status run_evaluate(struct train_run *run, struct error *err) {
    struct run_evaluation evaluation = {0};
    struct run_benchmark_figures figures = {0};
    enum status status = run->evaluates ? evaluate_stage(run, &evaluation, err) : STATUS_OK;
    if (status == STATUS_OK && run->benchmark) status = evaluate_benchmark(run, &figures, &evaluation, err);
    if (status == STATUS_OK && run_leads(run)) {
        const struct train_record record = {run_at(run), evaluation.values, evaluation.count};
        status = train_log_record(run->log, &record, err);
        if (status == STATUS_OK) status = train_log_publish(run->log, &record.at, err);
    }
    free(evaluation.values);
    return status;
}
