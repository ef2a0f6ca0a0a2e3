/* What charts in SVG share: texts, and axes with round ticks. Colours and sizes are those of style sheets. */
#ifndef VS2_BASE_SVG_H
#define VS2_BASE_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* A text of a class with its anchor ("start", "middle", "end") at a place; `upright` stands it on its side,
 * read upwards. */
void svg_append_text(struct text *svg, double x, double y, const char *class, const char *anchor,
                     bool upright, const char *text);

/* A line of a class. */
void svg_append_line(struct text *svg, const char *class, double x1, double y1, double x2, double y2);

struct svg_axis {
    double low, high;  /* values at its ends */
    double step;       /* from tick to tick: 1, 2 or 5 times a power of ten */
    double start, end; /* where low and high are in the picture: to be set by the caller */
};

/* From low to high, with about six ticks; some room around them when they are the same. With high < low (no
 * values at all) it is from 0 to 1. Of whole numbers the step is a whole one. */
struct svg_axis svg_axis_make(double low, double high, bool whole_numbers);

/* The axis widened to whole ticks. */
struct svg_axis svg_axis_round(struct svg_axis axis);

double svg_axis_place(const struct svg_axis *axis, double value);

/* The number of a tick, with as many digits as its neighbours need. */
void svg_axis_label(const struct svg_axis *axis, double value, char *text, size_t size);

#endif
