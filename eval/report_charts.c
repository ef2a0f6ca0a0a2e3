/* The charts of each column: how its scores are distributed, confused, scattered and calibrated. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/statistics.h"
#include "eval/report_chart.h"

static const double whole = 100; /* percent */

static struct svg_axis percent_axis(void) {
    return (struct svg_axis){.low = 0, .high = whole, .step = 20};
}

/* ---- Distributions ----------------------------------------------------------------------------------- */

/* Shares of the videos in bins, of the truth and of each file. */
struct distribution {
    int bins;
    char labels[HISTOGRAM_BINS][24];
    size_t series; /* of them; [0] is the truth where it is shown */
    bool truth;
    double counts[1 + REPORT_FILES_MOST][HISTOGRAM_BINS];
};

static double total(const double *counts, int bins) {
    double sum = 0;
    for (int i = 0; i < bins; i++) sum += counts[i];
    return sum;
}

static double share(const struct distribution *distribution, size_t series, int bin) {
    const double sum = total(distribution->counts[series], distribution->bins);
    return sum > 0 ? whole * distribution->counts[series][bin] / sum : 0;
}

/* "truth", "A", ... */
static const char *series_name(const struct report *report, const struct distribution *distribution,
                               size_t series) {
    if (distribution->truth && series == 0) return "truth";
    return report_file_name(report, series - distribution->truth);
}

static const char *series_color(const struct distribution *distribution, size_t series) {
    return distribution->truth && series == 0 ? "truth" : chart_color(series - distribution->truth);
}

static void describe_distribution(const struct report *report, const struct distribution *distribution,
                                  struct text *description) {
    for (size_t s = 0; s < distribution->series; s++) {
        text_format(description, "%s%s:", s ? "; " : "", series_name(report, distribution, s));
        for (int i = 0; i < distribution->bins; i++)
            text_format(description, " %s: %.1f%%", distribution->labels[i], share(distribution, s, i));
    }
}

static void append_distribution(struct text *html, const struct report *report, const char *title,
                                const struct distribution *distribution) {
    enum { MOST_LABELS = 8 };
    struct text description = {0};
    double most = 0;
    for (size_t s = 0; s < distribution->series; s++)
        for (int i = 0; i < distribution->bins; i++) most = fmax(most, share(distribution, s, i));
    if (most == 0) return;
    struct chart chart = {.title = title,
                          .file = CHART_ALL_FILES,
                          .truth = distribution->truth,
                          .x_label = "score",
                          .y_label = "% of the videos",
                          .x = {.low = 0, .high = distribution->bins, .step = 1},
                          .y = svg_axis_round(svg_axis_make(0, most, true)),
                          .y_ticks = true};
    describe_distribution(report, distribution, &description);
    chart_begin(html, report, &chart, description.data);
    const double slot = (chart.x.end - chart.x.start) / distribution->bins;
    const double width = slot * 0.84 / (double)distribution->series;
    const int every = (distribution->bins + MOST_LABELS - 1) / MOST_LABELS;
    for (int i = 0; i < distribution->bins; i++) {
        const double left = svg_axis_place(&chart.x, i);
        for (size_t s = 0; s < distribution->series; s++)
            chart_append_bar(html, series_color(distribution, s), left + slot * 0.08 + (double)s * width,
                             width, svg_axis_place(&chart.y, share(distribution, s, i)));
        if (i % every == 0)
            svg_append_text(html, left + slot / 2, CHART_BOTTOM + 16, "tick", "middle", false,
                            distribution->labels[i]);
    }
    chart_end(html);
    html->failed |= description.failed;
    text_free(&description);
}

/* The levels of a column: those of its truth, or 1 to 5. */
static void find_levels(const struct report *report, int column, struct confusion *levels) {
    *levels = (struct confusion){.levels = {1, 2, 3, 4, 5}, .count = BENCHMARK_LEVELS};
    for (size_t f = 0; f < report->count; f++)
        if (report->metrics[f].columns[column].confusion.count)
            *levels = report->metrics[f].columns[column].confusion;
}

/* Counts a value at the nearest level. */
static void count_at_level(const struct confusion *levels, double value, double *counts) {
    int nearest = 0;
    if (isnan(value)) return;
    for (int i = 1; i < levels->count; i++)
        if (fabs(value - levels->levels[i]) < fabs(value - levels->levels[nearest])) nearest = i;
    counts[nearest]++;
}

static double truth_of(const struct result_row *row, int column) {
    return column == COLUMN_OVERALL ? row->overall : row->truths[column];
}

/* The scores of the files, beside the truth where that is on the same levels. */
static void append_scores(struct text *html, const struct report *report, int column) {
    const struct benchmark *benchmark = report->settings->benchmark;
    const bool has_levels = column_has_levels(benchmark, column);
    struct distribution distribution = {.truth = has_levels && report_has_column(report, column)};
    struct confusion levels;
    if (column == COLUMN_OVERALL && !has_levels) return; /* a sum, which no level is like */
    find_levels(report, column, &levels);
    distribution.bins = levels.count;
    distribution.series = report->count + distribution.truth;
    for (int i = 0; i < levels.count; i++)
        snprintf(distribution.labels[i], sizeof distribution.labels[i], "%d", levels.levels[i]);
    for (size_t f = 0; f < report->count; f++)
        for (size_t i = 0; i < report->files[f].count; i++) {
            const struct result_row *row = &report->files[f].rows[i];
            if (!result_scored(row)) continue;
            count_at_level(&levels,
                           has_levels ? column_level(benchmark, column, row->model, report->files[f].whole)
                                      : row->model[column],
                           distribution.counts[f + distribution.truth]);
            if (distribution.truth && f == 0)
                count_at_level(&levels, truth_of(row, column), distribution.counts[0]);
        }
    append_distribution(html, report, "Distribution of scores", &distribution);
}

/* A truth that is on a scale of its own. */
static enum status append_own_truth(struct text *html, const struct report *report, int column,
                                    struct error *err) {
    struct statistics values = {0};
    struct distribution distribution = {.truth = true, .series = 1};
    enum status status = STATUS_OK;
    if (column_has_levels(report->settings->benchmark, column)) return STATUS_OK;
    for (size_t i = 0; i < report->files[0].count && status == STATUS_OK; i++) {
        const double truth = truth_of(&report->files[0].rows[i], column);
        if (column_truth(report->settings->benchmark, column)->fields[0] && !isnan(truth))
            status = statistics_add(&values, truth, err);
    }
    if (status == STATUS_OK) {
        const struct histogram histogram = histogram_make(&values);
        distribution.bins = histogram.bins;
        for (int i = 0; i < histogram.bins; i++) {
            histogram_label(&histogram, i, distribution.labels[i], sizeof distribution.labels[i]);
            distribution.counts[0][i] = (double)histogram.counts[i];
        }
        append_distribution(html, report, "Distribution of the truth", &distribution);
    }
    statistics_free(&values);
    return status;
}

/* ---- Confusion --------------------------------------------------------------------------------------- */

static void describe_confusion(const struct confusion *confusion, struct text *description) {
    for (int i = 0; i < confusion->count; i++) {
        text_format(description, "%sof truth %d:", i ? "; " : "", confusion->levels[i]);
        for (int k = 0; k < confusion->count; k++)
            text_format(description, " %zu as %d%s", confusion->cells[i][k], confusion->levels[k],
                        k + 1 < confusion->count ? "," : "");
    }
    if (confusion->outside) text_format(description, "; %zu on none of the levels", confusion->outside);
}

/* One square, the darker the larger its part of the row. */
static void append_cell(struct text *html, double left, double top, double width, double height, size_t count,
                        double part) {
    char number[32];
    const double dark = 0.55; /* from there on the number is in the other colour */
    text_format(html,
                "<rect class=\"cell\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                "fill-opacity=\"%.2f\"/>\n",
                left, top, width, height, part);
    snprintf(number, sizeof number, "%zu", count);
    svg_append_text(html, left + width / 2, top + height / 2 + 4, part > dark ? "count on" : "count",
                    "middle", false, number);
}

static void append_confusion(struct text *html, const struct report *report, size_t file, int column) {
    const struct confusion *confusion = &report->metrics[file].columns[column].confusion;
    struct text description = {0};
    if (!confusion->count) return;
    const double width = (double)(CHART_RIGHT - CHART_LEFT) / confusion->count;
    const double height = (double)(CHART_BOTTOM - CHART_TOP) / confusion->count;
    struct chart chart = {.title = "Truth and score (counts)",
                          .file = (int)file,
                          .x_label = "score of the model",
                          .y_label = "truth",
                          .x = {.low = 0, .high = confusion->count, .step = 1},
                          .y = {.low = 0, .high = confusion->count, .step = 1}};
    describe_confusion(confusion, &description);
    chart_begin(html, report, &chart, description.data);
    for (int i = 0; i < confusion->count; i++) {
        char level[16];
        size_t sum = 0;
        const double top = CHART_TOP + i * height, left = CHART_LEFT + i * width;
        for (int k = 0; k < confusion->count; k++) sum += confusion->cells[i][k];
        for (int k = 0; k < confusion->count; k++)
            append_cell(html, CHART_LEFT + k * width, top, width, height, confusion->cells[i][k],
                        sum ? (double)confusion->cells[i][k] / (double)sum : 0);
        snprintf(level, sizeof level, "%d", confusion->levels[i]);
        svg_append_text(html, CHART_LEFT - 6, top + height / 2 + 4, "tick", "end", false, level);
        svg_append_text(html, left + width / 2, CHART_BOTTOM + 16, "tick", "middle", false, level);
    }
    chart_end(html);
    html->failed |= description.failed;
    text_free(&description);
}

/* ---- Scatter ----------------------------------------------------------------------------------------- */

/* Points that fall on nearly the same place of the picture are one dot, whose area tells how many. */
enum {
    PLACE = 5,
    PLACES_ACROSS = CHART_WIDTH / PLACE + 1,
    PLACES = PLACES_ACROSS * (CHART_HEIGHT / PLACE + 1)
};

struct place {
    double x, y; /* sums */
    size_t count;
};

static void append_places(struct text *html, const char *color, const struct place *places) {
    const double least = 2.5, room = 9;
    size_t most = 1;
    for (int i = 0; i < PLACES; i++)
        if (places[i].count > most) most = places[i].count;
    for (int i = 0; i < PLACES; i++) {
        const double n = (double)places[i].count;
        if (!places[i].count) continue;
        chart_append_dot(html, color, places[i].x / n, places[i].y / n,
                         most == 1 ? least : least + room * sqrt(n / (double)most));
    }
}

/* An axis around the values, with room for the dots at its ends. */
static struct svg_axis axis_around(const double *values, size_t count) {
    double low = INFINITY, high = -INFINITY;
    bool whole_numbers = true;
    for (size_t i = 0; i < count; i++) {
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
        whole_numbers &= values[i] == floor(values[i]);
    }
    struct svg_axis axis = svg_axis_make(low, high, whole_numbers);
    const double margin = 0.08 * (axis.high - axis.low);
    axis.low -= margin;
    axis.high += margin;
    return axis;
}

static enum status draw_points(struct text *html, const struct report *report, size_t file,
                               const struct points *points, bool same_scale, struct error *err) {
    struct place *places = memory_new(PLACES, sizeof *places, "a chart", err);
    struct text description = {0};
    if (!places) return STATUS_FAILED;
    const struct svg_axis grades = {.low = 0, .high = 5.5, .step = 1}; /* normed scores may be under 1 */
    struct chart chart = {.title = "Truth and score (every video)",
                          .file = (int)file,
                          .x_label = "truth",
                          .y_label = "score of the model",
                          .x = same_scale ? grades : axis_around(points->truth, points->count),
                          .y = same_scale ? grades : axis_around(points->score, points->count),
                          .x_ticks = true,
                          .y_ticks = true};
    text_format(&description, "%zu videos; the larger a dot, the more of them", points->count);
    chart_begin(html, report, &chart, description.data);
    if (same_scale) chart_append_diagonal(html, &chart);
    for (size_t i = 0; i < points->count; i++) {
        const double x = fmin(CHART_RIGHT, fmax(CHART_LEFT, svg_axis_place(&chart.x, points->truth[i])));
        const double y = fmin(CHART_BOTTOM, fmax(CHART_TOP, svg_axis_place(&chart.y, points->score[i])));
        struct place *place = &places[(int)(y / PLACE) * PLACES_ACROSS + (int)(x / PLACE)];
        place->x += x;
        place->y += y;
        place->count++;
    }
    append_places(html, chart_color(file), places);
    chart_end(html);
    html->failed |= description.failed;
    text_free(&description);
    free(places);
    return STATUS_OK;
}

static enum status append_scatter(struct text *html, const struct report *report, size_t file, int column,
                                  struct error *err) {
    const struct benchmark *benchmark = report->settings->benchmark;
    const struct results *results = &report->files[file];
    struct points points;
    const struct result_row **rows = memory_new(results->count, sizeof *rows, "results", err);
    if (!rows) return STATUS_FAILED;
    for (size_t i = 0; i < results->count; i++) rows[i] = &results->rows[i];
    enum status status = points_make(benchmark, column, rows, results->count, results->whole, &points, err);
    if (status == STATUS_OK && points.count)
        status = draw_points(html, report, file, &points,
                             column_has_levels(benchmark, column) && !column_truth(benchmark, column)->levels,
                             err);
    points_free(&points);
    free(rows);
    return status;
}

/* ---- Confidence -------------------------------------------------------------------------------------- */

static bool has_confidence(const struct report *report, int column) {
    for (size_t f = 0; f < report->count; f++)
        if (report->metrics[f].columns[column].calibration.count) return true;
    return false;
}

/* The bins of one file that hold scores, as a line of dots whose areas tell how many. */
static void append_bins(struct text *html, const struct chart *chart, size_t file,
                        const struct calibration *calibration) {
    const double least = 2, room = 6;
    double x[CALIBRATION_BINS], y[CALIBRATION_BINS];
    size_t count = 0;
    for (int i = 0; i < CALIBRATION_BINS; i++) {
        const struct calibration_bin *bin = &calibration->bins[i];
        if (!bin->count) continue;
        x[count] = svg_axis_place(&chart->x, whole * bin->confidence);
        y[count] = svg_axis_place(&chart->y, whole * bin->accuracy);
        chart_append_dot(html, chart_color(file), x[count], y[count],
                         least + room * sqrt((double)bin->count / (double)calibration->count));
        count++;
    }
    chart_append_curve(html, chart_color(file), x, y, count);
}

static void append_calibration(struct text *html, const struct report *report, int column) {
    struct text description = {0};
    struct chart chart = {.title = "Calibration of the confidence",
                          .file = CHART_ALL_FILES,
                          .x_label = "confidence, %",
                          .y_label = "right, %",
                          .x = percent_axis(),
                          .y = percent_axis(),
                          .x_ticks = true,
                          .y_ticks = true};
    for (size_t f = 0; f < report->count; f++) {
        const struct calibration *calibration = &report->metrics[f].columns[column].calibration;
        text_format(&description, "%s:", report_file_name(report, f));
        for (int i = 0; i < CALIBRATION_BINS; i++)
            if (calibration->bins[i].count)
                text_format(&description, " of %zu with confidence %.0f%%, %.0f%% are right;",
                            calibration->bins[i].count, whole * calibration->bins[i].confidence,
                            whole * calibration->bins[i].accuracy);
        text_append_string(&description, " ");
    }
    chart_begin(html, report, &chart, description.data);
    chart_append_diagonal(html, &chart);
    for (size_t f = 0; f < report->count; f++)
        if (report->metrics[f].columns[column].calibration.count)
            append_bins(html, &chart, f, &report->metrics[f].columns[column].calibration);
    chart_end(html);
    html->failed |= description.failed;
    text_free(&description);
}

static void append_risk(struct text *html, const struct report *report, int column) {
    struct text description = {0};
    double most = 1;
    for (size_t f = 0; f < report->count; f++) {
        const struct calibration *calibration = &report->metrics[f].columns[column].calibration;
        if (!calibration->count) continue;
        for (int i = 0; i < COVERAGE_STEPS; i++) most = fmax(most, whole * calibration->risk[i]);
        text_format(&description, "%s: wrong among the most confident half %.0f%%, among all %.0f%%. ",
                    report_file_name(report, f), whole * calibration->risk[COVERAGE_STEPS / 2 - 1],
                    whole * calibration->risk[COVERAGE_STEPS - 1]);
    }
    struct chart chart = {.title = "Risk against coverage",
                          .file = CHART_ALL_FILES,
                          .x_label = "the most confident, % of the scores",
                          .y_label = "wrong among them, %",
                          .x = percent_axis(),
                          .y = svg_axis_round(svg_axis_make(0, most, true)),
                          .x_ticks = true,
                          .y_ticks = true};
    chart_begin(html, report, &chart, description.data);
    for (size_t f = 0; f < report->count; f++) {
        const struct calibration *calibration = &report->metrics[f].columns[column].calibration;
        double x[COVERAGE_STEPS], y[COVERAGE_STEPS];
        for (int i = 0; i < COVERAGE_STEPS; i++) {
            x[i] = svg_axis_place(&chart.x, whole * (i + 1) / COVERAGE_STEPS);
            y[i] = svg_axis_place(&chart.y, whole * calibration->risk[i]);
        }
        if (calibration->count) chart_append_curve(html, chart_color(f), x, y, COVERAGE_STEPS);
    }
    chart_end(html);
    html->failed |= description.failed;
    text_free(&description);
}

/* ---- All of them ------------------------------------------------------------------------------------- */

static enum status append_column(struct text *html, const struct report *report, int column,
                                 struct error *err) {
    text_format(html, "<h3>%s</h3>\n<div class=\"charts\">\n", column_heading(column));
    append_scores(html, report, column);
    enum status status = append_own_truth(html, report, column, err);
    for (size_t f = 0; f < report->count; f++) append_confusion(html, report, f, column);
    for (size_t f = 0; f < report->count && status == STATUS_OK; f++)
        status = append_scatter(html, report, f, column, err);
    if (has_confidence(report, column)) {
        append_calibration(html, report, column);
        append_risk(html, report, column);
    }
    text_append_string(html, "</div>\n");
    return status;
}

enum status report_append_charts(struct text *html, const struct report *report, struct error *err) {
    enum status status = STATUS_OK;
    text_append_string(html, "<section id=\"charts\" aria-labelledby=\"charts-title\">\n<h2 "
                             "id=\"charts-title\">Charts</h2>\n");
    for (int c = 0; c < COLUMNS && status == STATUS_OK; c++)
        if (c < COLUMN_OVERALL || column_truth(report->settings->benchmark, c)->fields[0])
            status = append_column(html, report, c, err);
    text_append_string(html, "</section>\n");
    return status;
}
