/* What the report's charts have in common: a figure with its caption, an SVG with title and description,
 * axes, and marks in the colours of the files. Private to eval/report*.c. */
#ifndef VS2_EVAL_REPORT_CHART_H
#define VS2_EVAL_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/svg.h"
#include "base/text.h"
#include "eval/report_parts.h"

/* The picture and the part of it that is between the axes, in its own units, about pixels. */
enum {
    CHART_WIDTH = 340,
    CHART_HEIGHT = 250,
    CHART_LEFT = 46,
    CHART_RIGHT = CHART_WIDTH - 10,
    CHART_TOP = 12,
    CHART_BOTTOM = CHART_HEIGHT - 40,
};

enum { CHART_ALL_FILES = -1 };

struct chart {
    const char *title;
    int file;   /* whose it is, or CHART_ALL_FILES */
    bool truth; /* it shows the truth, too */
    const char *x_label, *y_label;
    struct svg_axis x, y;
    bool x_ticks, y_ticks; /* else the caller labels the axis */
};

/* Sets where the axes begin and end in the picture, and appends the figure up to its axes. The description is
 * for those who do not see it. */
void chart_begin(struct text *html, const struct report *report, struct chart *chart,
                 const char *description);
void chart_end(struct text *html);

/* The class that gives a mark the colour of a file, "f0" to "f5". */
const char *chart_color(size_t file);

void chart_append_bar(struct text *html, const char *color, double x, double width, double top);
void chart_append_dot(struct text *html, const char *color, double x, double y, double radius);

/* A line through points in the picture. */
void chart_append_curve(struct text *html, const char *color, const double *x, const double *y, size_t count);

/* From corner to corner of what both axes share: where both are equal. */
void chart_append_diagonal(struct text *html, const struct chart *chart);

#endif
