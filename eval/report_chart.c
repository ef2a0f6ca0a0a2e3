#include "eval/report_chart.h"

#include <math.h>

#include "base/markup.h"

static const char *const colors[REPORT_FILES_MOST] = {"f0", "f1", "f2", "f3", "f4", "f5"};

const char *chart_color(size_t file) {
    return colors[file];
}

/* Whose marks are in which colour. */
static void append_legend(struct text *html, const struct report *report, const struct chart *chart) {
    if (chart->truth) text_append_string(html, " <span class=\"file truth\">truth</span>");
    if (report->count == 1 && !chart->truth) return;
    for (size_t f = 0; f < report->count; f++) {
        if (chart->file != CHART_ALL_FILES && (size_t)chart->file != f) continue;
        text_append_string(html, " ");
        report_append_file(html, report, f);
    }
}

static void append_ticks(struct text *html, const struct chart *chart) {
    enum { LABEL_SIZE = 32 };
    char label[LABEL_SIZE];
    for (double i = ceil(chart->y.low / chart->y.step - 1e-9);
         chart->y_ticks && i * chart->y.step <= chart->y.high + 1e-9; i++) {
        const double value = i * chart->y.step, at = svg_axis_place(&chart->y, value);
        svg_append_line(html, "grid", CHART_LEFT, at, CHART_RIGHT, at);
        svg_axis_label(&chart->y, value, label, sizeof label);
        svg_append_text(html, CHART_LEFT - 6, at + 4, "tick", "end", false, label);
    }
    for (double i = ceil(chart->x.low / chart->x.step - 1e-9);
         chart->x_ticks && i * chart->x.step <= chart->x.high + 1e-9; i++) {
        const double value = i * chart->x.step, at = svg_axis_place(&chart->x, value);
        svg_append_line(html, "axis", at, CHART_BOTTOM, at, CHART_BOTTOM + 4);
        svg_axis_label(&chart->x, value, label, sizeof label);
        svg_append_text(html, at, CHART_BOTTOM + 16, "tick", "middle", false, label);
    }
    svg_append_line(html, "axis", CHART_LEFT, CHART_BOTTOM, CHART_RIGHT, CHART_BOTTOM);
}

void chart_begin(struct text *html, const struct report *report, struct chart *chart,
                 const char *description) {
    chart->x.start = CHART_LEFT;
    chart->x.end = CHART_RIGHT;
    chart->y.start = CHART_BOTTOM;
    chart->y.end = CHART_TOP;
    text_format(html, "<figure><figcaption>%s", chart->title);
    append_legend(html, report, chart);
    text_format(html, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\"><title>", CHART_WIDTH,
                CHART_HEIGHT);
    markup_append_string(html, chart->title);
    text_append_string(html, "</title><desc>");
    markup_append_string(html, description ? description : "");
    text_append_string(html, "</desc>\n");
    append_ticks(html, chart);
    svg_append_text(html, (CHART_LEFT + CHART_RIGHT) / 2.0, CHART_HEIGHT - 6, "label", "middle", false,
                    chart->x_label);
    svg_append_text(html, 12, (CHART_TOP + CHART_BOTTOM) / 2.0, "label", "middle", true, chart->y_label);
}

void chart_end(struct text *html) {
    text_append_string(html, "</svg></figure>\n");
}

void chart_append_bar(struct text *html, const char *color, double x, double width, double top) {
    text_format(html, "<rect class=\"bar %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                color, x, top, width, CHART_BOTTOM - top);
}

void chart_append_dot(struct text *html, const char *color, double x, double y, double radius) {
    text_format(html, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", color, x, y, radius);
}

void chart_append_curve(struct text *html, const char *color, const double *x, const double *y,
                        size_t count) {
    text_format(html, "<polyline class=\"curve %s\" points=\"", color);
    for (size_t i = 0; i < count; i++) text_format(html, "%s%.1f,%.1f", i ? " " : "", x[i], y[i]);
    text_append_string(html, "\"/>\n");
}

void chart_append_diagonal(struct text *html, const struct chart *chart) {
    const double low = fmax(chart->x.low, chart->y.low), high = fmin(chart->x.high, chart->y.high);
    svg_append_line(html, "diagonal", svg_axis_place(&chart->x, low), svg_axis_place(&chart->y, low),
                    svg_axis_place(&chart->x, high), svg_axis_place(&chart->y, high));
}
