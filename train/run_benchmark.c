#include "train/run_benchmark.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"
#include "eval/scorer.h"
#include "train/communicator.h"
#include "train/run.h"

struct run_benchmark {
    const struct train_run *run;
    const struct benchmark *benchmark;
    struct benchmark_items items; /* of the whole file */
    size_t wanted;                /* the first ones, which are scored */
    struct score_jobs jobs;       /* those of them that are this process's */
    double *scores;               /* [wanted * DIMENSIONS]: 0 where there is none */
};

/* ---- Opening ----------------------------------------------------------------------------------------- */

static enum status list_jobs(struct run_benchmark *benchmark, struct error *err) {
    const struct train_config *config = benchmark->run->config;
    const size_t rank = (size_t)communicator_rank(config->processes),
                 size = (size_t)communicator_size(config->processes);
    for (size_t i = rank; i < benchmark->wanted; i += size)
        if (score_jobs_add_item(&benchmark->jobs, &benchmark->items, i, config->eval_videos, err) !=
            STATUS_OK)
            return STATUS_FAILED;
    return STATUS_OK;
}

enum status run_benchmark_open(const struct train_run *run, struct run_benchmark **opened,
                               struct error *err) {
    const struct train_config *config = run->config;
    *opened = NULL;
    if (!config->eval_benchmark) return STATUS_OK;
    struct run_benchmark *benchmark = memory_new(1, sizeof *benchmark, "a benchmark", err);
    if (!benchmark) return STATUS_FAILED;
    benchmark->run = run;
    benchmark->benchmark = benchmark_find(config->eval_benchmark, err);
    enum status status = benchmark->benchmark ? STATUS_OK : STATUS_USAGE;
    if (status == STATUS_OK)
        status = benchmark_items_read(benchmark->benchmark, config->eval_data, &benchmark->items, err);
    benchmark->wanted = benchmark->items.count;
    if (config->eval_limit > 0 && (size_t)config->eval_limit < benchmark->wanted)
        benchmark->wanted = (size_t)config->eval_limit;
    if (status == STATUS_OK) status = list_jobs(benchmark, err);
    benchmark->scores = memory_new(benchmark->wanted * DIMENSIONS, sizeof(double), "a benchmark", err);
    if (!benchmark->scores) status = STATUS_FAILED;
    *opened = benchmark;
    if (status == STATUS_OK) return STATUS_OK;
    run_benchmark_free(benchmark);
    *opened = NULL;
    return status;
}

void run_benchmark_free(struct run_benchmark *benchmark) {
    if (!benchmark) return;
    score_jobs_free(&benchmark->jobs);
    benchmark_items_free(&benchmark->items);
    free(benchmark->scores);
    free(benchmark);
}

size_t run_benchmark_videos(const struct run_benchmark *benchmark) {
    return benchmark->wanted;
}

/* ---- Scoring ----------------------------------------------------------------------------------------- */

static enum status take_result(void *context, const struct score_result *result, struct error *err) {
    (void)err;
    struct run_benchmark *benchmark = context;
    const struct train_run *run = benchmark->run;
    double *scores = benchmark->scores + benchmark->jobs.list[result->job].stream * (size_t)DIMENSIONS;
    if (result->status != STATUS_OK) {
        progress_message(run->progress, "%s: %s", run->config->eval_benchmark, result->error.message);
        return STATUS_OK;
    }
    const struct score_sample *sample = &result->samples[0];
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct dimension_score *score = &sample->scores.dimensions[d];
        scores[d] = score->has_hard ? score->hard : 0;
    }
    return STATUS_OK;
}

static void show_progress(void *context, const struct score_progress *progress) {
    const struct run_benchmark *benchmark = context;
    progress_show(benchmark->run->progress, benchmark->run->config->eval_benchmark, progress->done,
                  progress->jobs, NULL, 0, false);
}

/* This process's videos. */
static enum status score_own(struct run_benchmark *benchmark, struct error *err) {
    const struct train_run *run = benchmark->run;
    struct scorer_settings settings = scorer_settings_default();
    settings.model = run->folder;
    settings.loaded = &run->model;
    settings.tokenizer = run->tokenizer;
    settings.query = run->template;
    settings.visual = *run->visual;
    settings.max_new_tokens = run->config->eval_max_new_tokens;
    settings.progress = show_progress;
    settings.progress_context = benchmark;
    struct scorer *scorer = NULL;
    for (size_t i = 0; i < benchmark->wanted * DIMENSIONS; i++) benchmark->scores[i] = 0;
    if (benchmark->jobs.count == 0) return STATUS_OK;
    enum status status = scorer_open(&settings, &benchmark->jobs, &scorer, err);
    if (status == STATUS_OK) status = scorer_run(scorer, take_result, benchmark, err);
    scorer_close(scorer);
    return status;
}

/* Tells every process what the others found. */
static enum status join_scores(struct run_benchmark *benchmark, enum status status, struct error *err) {
    enum { MOST = 3 << 20 }; /* numbers that are added up at once */
    struct communicator *processes = benchmark->run->config->processes;
    const size_t count = benchmark->wanted * DIMENSIONS;
    status = communicator_agree(processes, status, err);
    for (size_t first = 0; first < count && status == STATUS_OK; first += MOST) {
        const size_t part = count - first < MOST ? count - first : MOST;
        status = communicator_sum_values(processes, benchmark->scores + first, (int)part, err);
    }
    return status;
}

/* ---- Figures ----------------------------------------------------------------------------------------- */

static void fill_figures(const struct tally *tally, double seconds, struct run_benchmark_figures *figures) {
    struct tally_value found[TALLY_VALUES];
    const size_t count = tally_list(tally, found);
    figures->count = 0;
    figures->values[figures->count++] = (struct log_value){"eval_mean_acc", 100 * tally_accuracy(tally)};
    for (size_t i = 0; i < count; i++) {
        snprintf(figures->names[i], sizeof figures->names[i], "eval_%.31s", found[i].key);
        figures->values[figures->count++] = (struct log_value){figures->names[i], 100 * found[i].value};
    }
    figures->values[figures->count++] = (struct log_value){"eval_scored", (double)tally->scored};
    figures->values[figures->count++] = (struct log_value){"eval_benchmark_runtime", seconds};
}

enum status run_benchmark_score(struct run_benchmark *benchmark, struct run_benchmark_figures *figures,
                                struct error *err) {
    const double start = clock_seconds();
    const char *data = benchmark->run->config->eval_data;
    struct tally tally;
    enum status status = join_scores(benchmark, score_own(benchmark, err), err);
    if (status != STATUS_OK) return status;
    status = tally_open(&tally, benchmark->benchmark, &benchmark->items, data, true, err);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < benchmark->wanted; i++) {
        double scores[DIMENSIONS];
        for (size_t d = 0; d < DIMENSIONS; d++) {
            const double score = benchmark->scores[i * DIMENSIONS + d];
            scores[d] = score > 0 ? score : NAN;
        }
        tally_add(&tally, i, scores);
    }
    fill_figures(&tally, clock_seconds() - start, figures);
    tally_free(&tally);
    return STATUS_OK;
}
