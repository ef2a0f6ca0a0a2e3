/* Numbers gathered over a data set, what sums them up, and their histogram. */
#ifndef VS2_DATA_STATISTICS_H
#define VS2_DATA_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* A growing list of finite numbers; end with statistics_free. */
struct statistics {
    double *values;
    size_t count, capacity;
};

enum status statistics_add(struct statistics *statistics, double value, struct error *err);
void statistics_free(struct statistics *statistics);

struct statistics_summary {
    double mean, least, median, high, most; /* high: 95 of 100 values are at most that */
};

/* Sorts the values. All 0 when there are none. */
struct statistics_summary statistics_sum_up(struct statistics *statistics);

enum { HISTOGRAM_BINS = 24 }; /* at most */

struct histogram {
    double low, width;              /* bin i is [low + i * width, low + (i + 1) * width) */
    bool whole;                     /* of whole numbers, a bin a number: bin i holds low + i */
    int bins;                       /* 0 when there are no values */
    int64_t counts[HISTOGRAM_BINS]; /* the last bin includes its end */
};

/* Bins of 1, 2 or 5 times a power of ten, about ten of them; a bin a number where all are whole and lie
 * within HISTOGRAM_BINS of each other. */
struct histogram histogram_make(const struct statistics *statistics);

/* The label of a bin: "4", or "100-200" where it is wider. */
void histogram_label(const struct histogram *histogram, int bin, char *label, size_t size);

/* A histogram with its title, for drawing. */
struct histogram_panel {
    const char *title;
    struct histogram histogram;
    struct statistics_summary summary;
    size_t count;
};

/* Appends the panel as lines of at most `columns` characters: a bar a bin, with its count. */
void histogram_append_text(struct text *text, const struct histogram_panel *panel, int columns);

/* Appends an SVG document of the panels, two beside each other, readable on light and dark pages. */
void histograms_append_svg(struct text *svg, const struct histogram_panel *panels, size_t count);

#endif
