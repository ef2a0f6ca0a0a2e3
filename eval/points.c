#include "eval/points.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

const char *column_name(int column) {
    return column == COLUMN_OVERALL ? "overall" : dimension_letter((enum dimension)column);
}

const char *column_heading(int column) {
    static const char *const headings[COLUMNS] = {"visual quality", "alignment", "physical", "overall"};
    return headings[column];
}

const struct benchmark_truth *column_truth(const struct benchmark *benchmark, int column) {
    return column == COLUMN_OVERALL ? &benchmark->overall : &benchmark->truths[column];
}

bool column_has_levels(const struct benchmark *benchmark, int column) {
    return benchmark->accuracy && column_truth(benchmark, column)->fields[0];
}

/* A whole score is taken as it is. */
static double rounded(double score, bool whole) {
    return whole ? score : fmin(5, fmax(1, nearbyint(score)));
}

double column_level(const struct benchmark *benchmark, int column, const double scores[DIMENSIONS],
                    bool whole) {
    if (!column_has_levels(benchmark, column)) return NAN;
    if (column != COLUMN_OVERALL)
        return benchmark_level(&benchmark->truths[column], rounded(scores[column], whole));
    double sum = 0;
    for (int d = 0; d < DIMENSIONS; d++) sum += rounded(scores[d], whole);
    return benchmark_level(&benchmark->overall, trunc(sum / DIMENSIONS));
}

enum status points_make(const struct benchmark *benchmark, int column, const struct result_row *const *rows,
                        size_t count, bool whole, struct points *points, struct error *err) {
    *points =
        (struct points){.rows = memory_new(count, sizeof *points->rows, "a column of scores", err),
                        .memory = memory_new(3 * count, sizeof *points->memory, "a column of scores", err)};
    if (!points->rows || !points->memory) {
        points_free(points);
        return STATUS_FAILED;
    }
    points->truth = points->memory;
    points->score = points->memory + count;
    points->level = points->memory + 2 * count;
    if (!column_truth(benchmark, column)->fields[0]) return STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        const double *model = rows[i]->model;
        const double truth = column == COLUMN_OVERALL ? rows[i]->overall : rows[i]->truths[column];
        if (!result_scored(rows[i]) || isnan(truth)) continue;
        const size_t k = points->count++;
        points->rows[k] = i;
        points->truth[k] = truth;
        points->score[k] = column == COLUMN_OVERALL ? model[0] + model[1] + model[2] : model[column];
        points->level[k] = column_level(benchmark, column, model, whole);
    }
    return STATUS_OK;
}

void points_free(struct points *points) {
    free(points->rows);
    free(points->memory);
    *points = (struct points){0};
}
