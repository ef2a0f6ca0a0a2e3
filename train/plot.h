/* Line charts as SVG, readable on light and dark pages (prefers-color-scheme), without scripts or fonts of
 * their own. */
#ifndef VS2_TRAIN_PLOT_H
#define VS2_TRAIN_PLOT_H

#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

enum plot_style {
    PLOT_LINE,  /* a line in full strength */
    PLOT_FAINT, /* a pale line: raw values behind their smoothed curve */
};

enum { PLOT_COLORS = 4 };

/* Points in the order of x. Where y is not finite the line has a gap. */
struct plot_series {
    const char *name; /* in the legend */
    enum plot_style style;
    int color; /* 0 to PLOT_COLORS - 1 */
    const double *x, *y;
    size_t count;
};

struct plot {
    const char *title, *x_label, *y_label;
    const struct plot_series *series;
    size_t count;
};

/* Appends the SVG document; text_check tells whether memory lasted. A plot without a finite point shows empty
 * axes from 0 to 1. */
void plot_append(struct text *svg, const struct plot *plot);

/* The same as a file, whole or not at all. */
enum status plot_write(const char *path, const struct plot *plot, struct error *err);

/* Exponential smoothing with a weight that grows with the number of values along a sigmoid, as
 * LLaMA-Factory's curves: w = 1.8 (1 / (1 + exp(-0.05 count)) - 0.5), s[i] = w s[i-1] + (1 - w) v[i], s[-1] =
 * v[0]. Values that are not finite pass through and leave the average as it was. */
void plot_smooth(const double *values, size_t count, double *smoothed);

#endif
