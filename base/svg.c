#include "base/svg.h"

#include <math.h>
#include <stdio.h>

#include "base/markup.h"

enum { TICK_TARGET = 6 }; /* about as many ticks an axis */

void svg_append_text(struct text *svg, double x, double y, const char *class, const char *anchor,
                     bool upright, const char *text) {
    text_format(svg, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\"", x, y, class, anchor);
    if (upright) text_format(svg, " transform=\"rotate(-90 %.1f %.1f)\"", x, y);
    text_append_string(svg, ">");
    markup_append_string(svg, text);
    text_append_string(svg, "</text>\n");
}

void svg_append_line(struct text *svg, const char *class, double x1, double y1, double x2, double y2) {
    text_format(svg, "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, x2,
                y1, y2);
}

/* 1, 2 or 5 times a power of ten, so that the span has about TICK_TARGET ticks. */
static double tick_step(double span) {
    double raw = span / TICK_TARGET, power = pow(10, floor(log10(raw)));
    double leading = raw / power;
    return power * (leading < 1.5 ? 1 : leading < 3 ? 2 : leading < 7 ? 5 : 10);
}

struct svg_axis svg_axis_make(double low, double high, bool whole_numbers) {
    if (!(low <= high)) low = 0, high = 1; /* no value at all */
    if (high - low < 1e-9 * fmax(fabs(low), fabs(high)) || high == low) {
        double margin = whole_numbers ? 1 : low == 0 ? 1 : fabs(low) * 0.1;
        low -= margin;
        high += margin;
    }
    struct svg_axis axis = {.low = low, .high = high, .step = tick_step(high - low)};
    if (whole_numbers) axis.step = fmax(1, axis.step);
    return axis;
}

struct svg_axis svg_axis_round(struct svg_axis axis) {
    axis.low = floor(axis.low / axis.step + 1e-9) * axis.step;
    axis.high = ceil(axis.high / axis.step - 1e-9) * axis.step;
    return axis;
}

double svg_axis_place(const struct svg_axis *axis, double value) {
    return axis->start + (value - axis->low) / (axis->high - axis->low) * (axis->end - axis->start);
}

void svg_axis_label(const struct svg_axis *axis, double value, char *text, size_t size) {
    const double largest_plain = 1e6, smallest_plain = 1e-4;
    if (fabs(value) < axis->step * 1e-6) value = 0; /* a sum that misses 0 by a rounding */
    int decimals = (int)fmax(0, -floor(log10(axis->step) + 1e-9));
    if (fabs(value) >= largest_plain || axis->step < smallest_plain)
        snprintf(text, size, "%.3g", value);
    else
        snprintf(text, size, "%.*f", decimals, value);
}
