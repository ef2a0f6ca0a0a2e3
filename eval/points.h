/* The columns that point metrics are computed from: of one dimension, or of the videos as wholes, the truth
 * beside what the model says. */
#ifndef VS2_EVAL_POINTS_H
#define VS2_EVAL_POINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "eval/results.h"

/* Columns: the dimensions, and one more. */
enum { COLUMN_OVERALL = DIMENSIONS, COLUMNS };

/* "v", "t", "p", "overall": the prefix of its metrics. */
const char *column_name(int column);
/* "visual quality", "alignment", "physical", "overall". */
const char *column_heading(int column);

struct points {
    size_t count;  /* scored rows that have this truth */
    size_t *rows;  /* [count]: which of the rows */
    double *truth; /* [count] */
    double *score; /* [count]: as the model gave it; of the whole video the sum of the three */
    /* The score as a level of the truth's scale: float scores are rounded half to even and clamped to 1..5,
     * then mapped where the benchmark has another scale; of the whole video, the mean of the three rounded
     * ones, cut off. NaN where the benchmark has no levels, or the score is none of them. */
    double *level;
    double *memory;
};

const struct benchmark_truth *column_truth(const struct benchmark *benchmark, int column);

/* The benchmark has such a truth on levels. */
bool column_has_levels(const struct benchmark *benchmark, int column);

/* The level that a row has in a column, from three scores (NaN: none). */
double column_level(const struct benchmark *benchmark, int column, const double scores[DIMENSIONS],
                    bool whole);

/* Gathers a column from those rows that are scored and have this truth. points_free ends it. */
enum status points_make(const struct benchmark *benchmark, int column, const struct result_row *const *rows,
                        size_t count, bool whole, struct points *points, struct error *err);
void points_free(struct points *points);

#endif
