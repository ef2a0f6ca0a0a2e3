/* Histograms as lines of text and as SVG. */
#include <stdio.h>
#include <string.h>

#include "base/svg.h"
#include "data/statistics.h"

static int64_t largest(const struct histogram *histogram) {
    int64_t most = 1;
    for (int i = 0; i < histogram->bins; i++)
        if (histogram->counts[i] > most) most = histogram->counts[i];
    return most;
}

/* ---- Text ---- */

/* A bar of that many eighths of a character. */
static void append_bar(struct text *text, int64_t eighths) {
    static const char *const blocks[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    for (; eighths >= 8; eighths -= 8) text_append_string(text, "█");
    text_append_string(text, blocks[eighths]);
}

static void append_summary(struct text *text, const struct histogram_panel *panel) {
    const struct statistics_summary *summary = &panel->summary;
    text_format(text, "%zu values, mean %.4g, median %.4g, 95%% at most %.4g, from %.4g to %.4g",
                panel->count, summary->mean, summary->median, summary->high, summary->least, summary->most);
}

void histogram_append_text(struct text *text, const struct histogram_panel *panel, int columns) {
    enum { LABEL = 16, COUNT = 10, LEAST_BAR = 10 };
    const struct histogram *histogram = &panel->histogram;
    int64_t room = columns > LABEL + COUNT + LEAST_BAR ? columns - LABEL - COUNT : LEAST_BAR;
    text_format(text, "%s: ", panel->title);
    if (panel->count == 0) {
        text_append_string(text, "none\n");
        return;
    }
    append_summary(text, panel);
    text_append_string(text, "\n");
    for (int i = 0; i < histogram->bins; i++) {
        char label[64];
        histogram_label(histogram, i, label, sizeof label);
        text_format(text, "%*s ", LABEL - 1, label);
        append_bar(text,
                   (int64_t)((double)histogram->counts[i] * 8 * (double)room / (double)largest(histogram)));
        text_format(text, " %lld\n", (long long)histogram->counts[i]);
    }
}

/* ---- SVG ---- */

/* Parts of the picture, in pixels. */
enum {
    PANEL_WIDTH = 420,
    PANEL_HEIGHT = 272,
    LEFT = 24,
    RIGHT = 16,
    TOP = 68,
    BOTTOM = 44,
    PLOT_WIDTH = PANEL_WIDTH - LEFT - RIGHT,
    PLOT_HEIGHT = PANEL_HEIGHT - TOP - BOTTOM,
    COLUMNS = 2,
    MOST_LABELS = 8,
};

static const char style_sheet[] =
    "<style>\n"
    "text { font-family: system-ui, sans-serif; fill: #24292f; font-size: 11px; }\n"
    ".title { font-size: 15px; font-weight: 600; } .quiet { fill: #57606a; }\n"
    ".page { fill: #ffffff; } .bar { fill: #0072b2; } .axis { stroke: #57606a; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "  text { fill: #e6edf3; } .quiet { fill: #9da7b1; } .page { fill: #0d1117; } .bar { fill: #58b4ee; }\n"
    "  .axis { stroke: #9da7b1; }\n"
    "}\n"
    "</style>\n";

static void append_bars(struct text *svg, const struct histogram *histogram, double left, double bottom) {
    double width = (double)PLOT_WIDTH / histogram->bins;
    int every = (histogram->bins + MOST_LABELS - 1) / MOST_LABELS;
    for (int i = 0; i < histogram->bins; i++) {
        double height = PLOT_HEIGHT * (double)histogram->counts[i] / (double)largest(histogram);
        double x = left + i * width, middle = x + width / 2;
        text_format(svg, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                    x + 1, bottom - height, width - 2, height);
        if (histogram->bins <= MOST_LABELS)
            text_format(svg,
                        "<text class=\"quiet\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%lld</text>\n",
                        middle, bottom - height - 4, (long long)histogram->counts[i]);
        if (i % every == 0)
            text_format(svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%g</text>\n",
                        histogram->whole ? middle : x, bottom + 16, histogram->whole ? "middle" : "start",
                        histogram->low + i * histogram->width);
    }
}

static void append_panel(struct text *svg, const struct histogram_panel *panel, double x, double y) {
    double left = x + LEFT, bottom = y + TOP + PLOT_HEIGHT;
    svg_append_text(svg, left, y + 24, "title", "start", false, panel->title);
    text_format(svg, "<text class=\"quiet\" x=\"%.1f\" y=\"%.1f\">", left, y + 40);
    if (panel->count > 0)
        append_summary(svg, panel);
    else
        text_append_string(svg, "none");
    text_append_string(svg, "</text>\n");
    if (panel->count > 0) append_bars(svg, &panel->histogram, left, bottom);
    svg_append_line(svg, "axis", left, bottom, left + PLOT_WIDTH, bottom);
}

void histograms_append_svg(struct text *svg, const struct histogram_panel *panels, size_t count) {
    size_t rows = (count + COLUMNS - 1) / COLUMNS;
    int width = COLUMNS * PANEL_WIDTH, height = (int)rows * PANEL_HEIGHT;
    text_format(svg,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
                "role=\"img\">\n%s<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n",
                width, height, width, height, style_sheet, width, height);
    for (size_t i = 0; i < count; i++) {
        size_t x = i % COLUMNS * PANEL_WIDTH, y = i / COLUMNS * PANEL_HEIGHT;
        append_panel(svg, &panels[i], (double)x, (double)y);
    }
    text_append_string(svg, "</svg>\n");
}
