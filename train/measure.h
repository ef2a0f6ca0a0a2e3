/* Measuring the rows of a data set before a run: which can be used, and how long they are. */
#ifndef VS2_TRAIN_MEASURE_H
#define VS2_TRAIN_MEASURE_H

#include "train/config.h"

/* What is known of a row once it is measured. */
struct measure {
    int64_t tokens;  /* at least 1 when the row can be used */
    int64_t labels;  /* tokens with a loss, where that is known before */
    int64_t patches; /* of its videos and images */
    char *problem;   /* why it cannot be used; NULL: it can */
};

struct measure_work {
    /* Fills in tokens and labels; a failure is the row's problem. Called by several threads at once. */
    enum status (*measure)(const void *context, int64_t row, struct measure *measure, struct error *problem);
    const void *context;
    int64_t count; /* rows */
    /* Called now and then by one thread at a time, or NULL. */
    void (*progress)(void *context, int64_t done, int64_t total);
    void *progress_context;
};

/* Measures all rows on preprocessing_num_workers threads; NULL with err set when memory is short. */
struct measure *measure_rows(const struct measure_work *work, const struct train_config *config,
                             struct error *err);
void measures_free(struct measure *measures, int64_t count); /* NULL is fine */

#endif
