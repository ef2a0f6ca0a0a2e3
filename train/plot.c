#include "train/plot.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/file.h"
#include "base/markup.h"
#include "base/svg.h"

/* The picture's parts, in pixels. */
enum {
    WIDTH = 760,
    HEIGHT = 420,
    LEFT = 72,
    RIGHT = 24,
    TOP = 76,
    BOTTOM = 56,
    POINTS_A_PIXEL = 2,  /* of more than that only the extremes are drawn */
    LEGEND_COLUMN = 130, /* from one legend entry to the next */
    LEGEND_STROKE = 22,
};

/* ---- Axes -------------------------------------------------------------------------------------------- */

static bool shown(const struct plot_series *series, size_t i) {
    return isfinite(series->x[i]) && isfinite(series->y[i]);
}

static void find_axes(const struct plot *plot, struct svg_axis *x, struct svg_axis *y) {
    double left = INFINITY, right = -INFINITY, bottom = INFINITY, top = -INFINITY;
    for (size_t s = 0; s < plot->count; s++)
        for (size_t i = 0; i < plot->series[s].count; i++) {
            if (!shown(&plot->series[s], i)) continue;
            left = fmin(left, plot->series[s].x[i]);
            right = fmax(right, plot->series[s].x[i]);
            bottom = fmin(bottom, plot->series[s].y[i]);
            top = fmax(top, plot->series[s].y[i]);
        }
    *x = svg_axis_make(left, right, true);
    x->start = LEFT;
    x->end = WIDTH - RIGHT;
    *y = svg_axis_round(svg_axis_make(bottom, top, false));
    y->start = HEIGHT - BOTTOM;
    y->end = TOP;
}

/* ---- Parts of the document --------------------------------------------------------------------------- */

/* Colours that are told apart by people who see few of them (Okabe and Ito), lighter on dark pages. */
static const char style_sheet[] =
    "<style>\n"
    "text { font-family: system-ui, -apple-system, \"Segoe UI\", \"DejaVu Sans\", sans-serif; fill: #24292f; "
    "}\n"
    ".title { font-size: 17px; font-weight: 600; }\n"
    ".label { font-size: 13px; fill: #57606a; }\n"
    ".tick { font-size: 12px; fill: #57606a; }\n"
    ".page { fill: #ffffff; }\n"
    ".grid { stroke: #e4e8ec; }\n"
    ".axis { stroke: #57606a; }\n"
    ".line { stroke-width: 2; }\n"
    ".faint { stroke-width: 1.25; opacity: 0.4; }\n"
    "path { fill: none; stroke-linejoin: round; stroke-linecap: round; }\n"
    ".c0 { stroke: #0072b2; } .c1 { stroke: #c65400; } .c2 { stroke: #008060; } .c3 { stroke: #a8508a; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "  text { fill: #e6edf3; } .label, .tick { fill: #9da7b1; }\n"
    "  .faint { opacity: 0.55; } .page { fill: #0d1117; } .grid { stroke: #272e37; } .axis { stroke: "
    "#9da7b1; }\n"
    "  .c0 { stroke: #58b4ee; } .c1 { stroke: #f29050; } .c2 { stroke: #3fc79a; } .c3 { stroke: #dd8cc2; }\n"
    "}\n"
    "</style>\n";

static void append_head(struct text *svg, const struct plot *plot) {
    text_format(svg,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                "role=\"img\">\n<title>",
                WIDTH, HEIGHT, WIDTH, HEIGHT);
    markup_append_string(svg, plot->title);
    text_append_string(svg, "</title>\n");
    text_append_string(svg, style_sheet);
    text_format(svg, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    svg_append_text(svg, LEFT, 30, "title", "start", false, plot->title);
    svg_append_text(svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14, "label", "middle", false, plot->x_label);
    svg_append_text(svg, 20, (TOP + HEIGHT - BOTTOM) / 2.0, "label", "middle", true, plot->y_label);
}

static void append_axes(struct text *svg, const struct svg_axis *x, const struct svg_axis *y) {
    enum { TICK_SIZE = 32, TICK_LENGTH = 5 };
    char number[TICK_SIZE];
    const double bottom = HEIGHT - BOTTOM, right = WIDTH - RIGHT;
    const int64_t rows = llround((y->high - y->low) / y->step);
    for (int64_t i = 0; i <= rows; i++) {
        double value = y->low + (double)i * y->step, at = svg_axis_place(y, value);
        svg_append_line(svg, "grid", LEFT, at, right, at);
        svg_axis_label(y, value, number, sizeof number);
        svg_append_text(svg, LEFT - 8, at + 4, "tick", "end", false, number);
    }
    for (double i = ceil(x->low / x->step - 1e-9); i * x->step <= x->high + x->step * 1e-9; i++) {
        double at = svg_axis_place(x, i * x->step);
        svg_append_line(svg, "axis", at, bottom, at, bottom + TICK_LENGTH);
        svg_axis_label(x, i * x->step, number, sizeof number);
        svg_append_text(svg, at, bottom + 20, "tick", "middle", false, number);
    }
    svg_append_line(svg, "axis", LEFT, bottom, right, bottom);
}

static const char *style_class(enum plot_style style) {
    return style == PLOT_LINE ? "line" : "faint";
}

static void append_legend(struct text *svg, const struct plot *plot) {
    const double y = TOP - 24;
    for (size_t s = 0; s < plot->count; s++) {
        const struct plot_series *series = &plot->series[s];
        double x = LEFT + (double)s * LEGEND_COLUMN;
        text_format(svg, "<line class=\"%s c%d\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
                    style_class(series->style), series->color, x, x + LEGEND_STROKE, y, y);
        svg_append_text(svg, x + LEGEND_STROKE + 8, y + 4, "label", "start", false, series->name);
    }
}

/* ---- Curves ------------------------------------------------------------------------------------------ */

/* Of more points than pixels only the lowest and the highest of each column stay: the curve looks the same.
 */
struct column {
    bool used;
    long pixel;
    double x[2], y[2]; /* in the order of the points */
};

static void flush_column(struct text *svg, struct column *column, bool *drawing) {
    if (!column->used) return;
    for (int i = 0; i < 2; i++) {
        if (i == 1 && column->x[1] == column->x[0] && column->y[1] == column->y[0]) break;
        /* A line from the first point to itself makes a single point visible. */
        if (!*drawing) text_format(svg, "M%.1f %.1fL", column->x[i], column->y[i]);
        text_format(svg, "%s%.1f %.1f", *drawing ? " " : "", column->x[i], column->y[i]);
        *drawing = true;
    }
    column->used = false;
}

static void add_to_column(struct column *column, double x, double y) {
    bool first_is_lower = column->y[0] <= column->y[1];
    double low = fmin(column->y[0], column->y[1]), high = fmax(column->y[0], column->y[1]);
    if (y >= low && y <= high) return;
    /* The new point is the last: the one it outdoes leaves, the other becomes the first. */
    int stays = (y > high) == first_is_lower ? 0 : 1;
    column->x[0] = column->x[stays];
    column->y[0] = column->y[stays];
    column->x[1] = x;
    column->y[1] = y;
}

static void append_curve(struct text *svg, const struct plot_series *series, const struct svg_axis *x_axis,
                         const struct svg_axis *y_axis) {
    const bool thin = series->count > (size_t)(WIDTH - LEFT - RIGHT) * POINTS_A_PIXEL;
    struct column column = {0};
    bool drawing = false;
    text_format(svg, "<path class=\"%s c%d\" d=\"", style_class(series->style), series->color);
    for (size_t i = 0; i < series->count; i++) {
        if (!shown(series, i)) {
            flush_column(svg, &column, &drawing);
            drawing = false;
            continue;
        }
        double x = svg_axis_place(x_axis, series->x[i]), y = svg_axis_place(y_axis, series->y[i]);
        if (column.used && thin && lround(x) == column.pixel) {
            add_to_column(&column, x, y);
            continue;
        }
        flush_column(svg, &column, &drawing);
        column = (struct column){.used = true, .pixel = lround(x), .x = {x, x}, .y = {y, y}};
    }
    flush_column(svg, &column, &drawing);
    text_append_string(svg, "\"/>\n");
}

void plot_append(struct text *svg, const struct plot *plot) {
    struct svg_axis x, y;
    find_axes(plot, &x, &y);
    append_head(svg, plot);
    append_axes(svg, &x, &y);
    for (size_t s = 0; s < plot->count; s++) append_curve(svg, &plot->series[s], &x, &y);
    append_legend(svg, plot);
    text_append_string(svg, "</svg>\n");
}

enum status plot_write(const char *path, const struct plot *plot, struct error *err) {
    struct text svg = {0};
    plot_append(&svg, plot);
    enum status status = text_check(&svg, path, err);
    if (status == STATUS_OK) status = file_write(path, svg.data, svg.length, err);
    text_free(&svg);
    return status;
}

/* ---- Smoothing --------------------------------------------------------------------------------------- */

void plot_smooth(const double *values, size_t count, double *smoothed) {
    const double weight = 1.8 * (1 / (1 + exp(-0.05 * (double)count)) - 0.5);
    bool begun = false;
    double last = 0;
    for (size_t i = 0; i < count; i++) {
        smoothed[i] = values[i];
        if (!isfinite(values[i])) continue;
        if (!begun) last = values[i];
        begun = true;
        smoothed[i] = last = last * weight + (1 - weight) * values[i];
    }
}
