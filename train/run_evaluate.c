/* Evaluation while training. */
#include "base/clock.h"
#include "train/run.h"

enum { TIMES = 3, MOST_VALUES = RUN_EVALUATION_VALUES + TIMES + RUN_BENCHMARK_VALUES };

bool run_evaluates(const struct train_run *run) {
    return run->evaluates || run->benchmark;
}

/* The stage's figures, on what is held out. */
static enum status evaluate_stage(struct train_run *run, struct log_value *values, size_t *count,
                                  struct error *err) {
    struct run_evaluation evaluation = {0};
    double start = clock_seconds();
    enum status status = run->stage->evaluate(run->stage->context, &evaluation, err);
    if (status == STATUS_OK) status = run_join_skips(run, err);
    if (status != STATUS_OK) return status;
    double seconds = clock_seconds() - start;
    const struct log_value times[TIMES] = {
        {"eval_runtime", seconds},
        {"eval_samples_per_second", (double)evaluation.samples / seconds},
        {"eval_steps_per_second", (double)evaluation.batches / seconds},
    };
    for (size_t i = 0; i < evaluation.count; i++) values[(*count)++] = evaluation.values[i];
    for (size_t i = 0; i < TIMES; i++) values[(*count)++] = times[i];
    progress_message(run->progress, "step %lld: %s %.4f over %lld %s", (long long)run->position.step,
                     values[0].name, values[0].value, (long long)evaluation.samples, run->stage->sample_name);
    return STATUS_OK;
}

/* By generating, with the whole model. */
static enum status score_benchmark(struct train_run *run, struct run_benchmark_figures *figures,
                                   struct error *err) {
    enum status status = optimizer_gather_weights(&run->optimizer, err);
    if (status == STATUS_OK) status = run_benchmark_score(run->benchmark, figures, err);
    optimizer_drop_weights(&run->optimizer);
    return status;
}

enum status run_evaluate(struct train_run *run, struct error *err) {
    struct log_value values[MOST_VALUES];
    struct run_benchmark_figures figures;
    size_t count = 0;
    enum status status = run->evaluates ? evaluate_stage(run, values, &count, err) : STATUS_OK;
    if (status == STATUS_OK && run->benchmark) {
        status = score_benchmark(run, &figures, err);
        for (size_t i = 0; i < figures.count && status == STATUS_OK; i++) values[count++] = figures.values[i];
        if (status == STATUS_OK)
            progress_message(run->progress, "step %lld: %s: accuracy %.1f%% over %zu videos",
                             (long long)run->position.step, run->config->eval_benchmark,
                             figures.values[0].value, run_benchmark_videos(run->benchmark));
    }
    if (status != STATUS_OK || !run_leads(run)) return status;
    const struct train_record record = {run_at(run), values, count};
    status = train_log_record(run->log, &record, err);
    if (status == STATUS_OK) status = train_log_publish(run->log, &record.at, err);
    return status;
}
