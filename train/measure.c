#include "train/measure.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

static int measuring_threads(const struct train_config *config) {
    int64_t threads = config->preprocessing_num_workers, cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads <= 0 || threads > cores) threads = cores; /* more only wait for each other */
    return threads > 0 ? (int)threads : 1;
}

struct measure *measure_rows(const struct measure_work *work, const struct train_config *config,
                             struct error *err) {
    struct measure *measures =
        memory_new((size_t)work->count, sizeof *measures, "the rows of a data set", err);
    if (!measures) return NULL;
    int64_t done = 0;
    bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(measuring_threads(config))
    for (int64_t i = 0; i < work->count; i++) {
        struct error problem, ignored;
        enum status status = work->measure(work->context, i, &measures[i], &problem);
        if (status != STATUS_OK && !problem.no_memory)
            measures[i].problem = memory_text(problem.message, strlen(problem.message), "a row", &ignored);
#pragma omp critical(measure_rows)
        {
            done++;
            if (status != STATUS_OK && !measures[i].problem) failed = true;
            if (work->progress) work->progress(work->progress_context, done, work->count);
        }
    }
    if (!failed) return measures;
    measures_free(measures, work->count);
    error_no_memory(err, "out of memory for measuring the rows");
    return NULL;
}

void measures_free(struct measure *measures, int64_t count) {
    for (int64_t i = 0; measures && i < count; i++) free(measures[i].problem);
    free(measures);
}
