/* The tables of figures. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/markup.h"
#include "eval/report_parts.h"

/* The figures of all files. */
struct figures {
    struct metric lists[REPORT_FILES_MOST][METRICS_MOST];
    size_t count;
    int columns[COLUMNS]; /* those that are shown */
    int column_count;
};

static struct figures make_figures(const struct report *report) {
    struct figures figures = {0};
    for (size_t f = 0; f < report->count; f++)
        figures.count = metrics_list(&report->metrics[f], figures.lists[f]);
    for (int c = 0; c < COLUMNS; c++)
        if (report_has_column(report, c)) figures.columns[figures.column_count++] = c;
    return figures;
}

/* ---- Beside the published figures -------------------------------------------------------------------- */

/* The mean over the dimensions or aspects that have the figure; NaN: none has. */
static double average(const struct metric *list, size_t count, const char *title, int columns) {
    double sum = 0;
    int told = 0;
    for (int c = 0; c < columns; c++) {
        const struct metric *metric = metrics_find(list, count, title, c);
        if (!metric || isnan(metric->value)) continue;
        sum += metric->value;
        told++;
    }
    return told ? sum / told : NAN;
}

static void append_average(struct text *html, const struct report *report, const struct figures *figures,
                           const char *heading, const char *title, int columns) {
    text_format(html, "<tr><th scope=\"row\">%s</th><td>%.2f</td>", heading,
                report->settings->benchmark->published.accuracy);
    for (size_t f = 0; f < report->count; f++) {
        const double value = average(figures->lists[f], figures->count, title, columns);
        text_format(html, isnan(value) ? "<td>-</td>" : "<td>%.2f</td>", 100 * value);
    }
    text_append_string(html, "</tr>\n");
}

static void append_published(struct text *html, const struct report *report, const struct figures *figures) {
    const struct benchmark *benchmark = report->settings->benchmark;
    const struct benchmark_published *published = &benchmark->published;
    if (!published->accuracy || !(benchmark->accuracy || report->settings->pairs)) return;
    text_append_string(html,
                       "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Beside the "
                       "published figures\"><table><caption>Beside the published VideoScore2, in percent"
                       "</caption>\n<thead><tr><th scope=\"col\">average</th><th scope=\"col\">published"
                       "</th>");
    for (size_t f = 0; f < report->count; f++) {
        text_append_string(html, "<th scope=\"col\">");
        report_append_file(html, report, f);
        text_append_string(html, "</th>");
    }
    text_append_string(html, "</tr></thead>\n<tbody>\n");
    if (benchmark->accuracy) append_average(html, report, figures, "accuracy", "accuracy", DIMENSIONS);
    if (report->settings->pairs) {
        append_average(html, report, figures, "accuracy on pairs, with ties", "pairs, with ties", COLUMNS);
        append_average(html, report, figures, "accuracy on pairs, without ties", "pairs, without ties",
                       COLUMNS);
    }
    text_format(html,
                "</tbody></table></div>\n<p class=\"quiet\">The published %.2f is the average accuracy on %s"
                " (arXiv 2509.22799).</p>\n",
                published->accuracy, published->of);
}

/* ---- All figures ------------------------------------------------------------------------------------- */

/* "+3.10 better, p = 0.012": than A, on the videos that both files have scored. */
static void append_difference(struct text *html, const struct comparison *comparison, const char *key) {
    for (size_t i = 0; i < comparison->count; i++) {
        const struct difference *d = &comparison->list[i];
        if (strcmp(d->key, key) != 0 || isnan(d->p)) continue;
        const char *better = difference_better(d);
        const bool known = *better == 'A' || *better == 'B';
        const double change = (d->b - d->a) * (d->unit == METRIC_PERCENT ? 100 : 1);
        text_format(html, " <small class=\"%s\">%+.2f%s</small> <small>p %s",
                    known ? *better == 'B' ? "better" : "worse" : "same", change,
                    known ? *better == 'B' ? " better" : " worse" : "", d->p < 0.0001 ? "&lt; 0.0001" : "= ");
        if (d->p >= 0.0001) text_format(html, "%.4f", d->p);
        text_append_string(html, "</small>");
    }
}

static void append_figure(struct text *html, const struct report *report, size_t file,
                          const struct metric *metric, int span) {
    const double scale = metric && metric->unit == METRIC_PERCENT ? 100 : 1;
    const int decimals = metric && metric->unit == METRIC_PERCENT ? 1 : 2;
    text_append_string(html, "<td");
    if (span > 1) text_format(html, " colspan=\"%d\"", span);
    text_append_string(html, ">");
    if (metric && !isnan(metric->value)) {
        text_format(html, "<b>%.2f</b>", metric_shown(metric, metric->value));
        if (!isnan(metric->interval.low))
            text_format(html, " <small>[%.*f,&nbsp;%.*f]</small>", decimals, metric->interval.low * scale,
                        decimals, metric->interval.high * scale);
        append_difference(html, &report->comparisons[file], metric->key);
    } else {
        text_append_string(html, "-");
    }
    text_append_string(html, "</td>");
}

/* A line a file of the figures with one title. */
static void append_lines(struct text *html, const struct report *report, const struct figures *figures,
                         size_t first) {
    const struct metric *metric = &figures->lists[0][first];
    const char *hint = metric->less_is_better ? " <small>(less is better)</small>" : "";
    text_append_string(html, "<tbody>\n");
    if (report->count > 1)
        text_format(html, "<tr><th scope=\"rowgroup\" colspan=\"%d\">%s%s</th></tr>\n",
                    1 + figures->column_count, metric->title, hint);
    for (size_t f = 0; f < report->count; f++) {
        text_append_string(html, "<tr><th scope=\"row\">");
        if (report->count > 1)
            report_append_file(html, report, f);
        else
            text_format(html, "%s%s", metric->title, hint);
        text_append_string(html, "</th>");
        if (metric->column < 0)
            append_figure(html, report, f, &figures->lists[f][first], figures->column_count);
        for (int c = 0; c < figures->column_count && metric->column >= 0; c++)
            append_figure(html, report, f,
                          metrics_find(figures->lists[f], figures->count, metric->title, figures->columns[c]),
                          1);
        text_append_string(html, "</tr>\n");
    }
    text_append_string(html, "</tbody>\n");
}

/* The i-th figure is the first of its title, and one of those is told. */
static bool begins_lines(const struct report *report, const struct figures *figures, size_t i) {
    bool told = false;
    for (size_t k = 0; k < figures->count; k++) {
        if (strcmp(figures->lists[0][k].title, figures->lists[0][i].title) != 0) continue;
        if (k < i) return false;
        for (size_t f = 0; f < report->count; f++) told |= !isnan(figures->lists[f][k].value);
    }
    return told;
}

static void append_figures(struct text *html, const struct report *report, const struct figures *figures) {
    text_append_string(html,
                       "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"All figures\">"
                       "<table class=\"figures\"><caption>In percent, with 95% intervals; errors on the "
                       "scale of the scores</caption>\n<thead><tr><th scope=\"col\">figure</th>");
    for (int c = 0; c < figures->column_count; c++)
        text_format(html, "<th scope=\"col\">%s</th>", column_heading(figures->columns[c]));
    text_append_string(html, "</tr></thead>\n");
    for (size_t i = 0; i < figures->count; i++)
        if (begins_lines(report, figures, i)) append_lines(html, report, figures, i);
    text_append_string(html, "</table></div>\n");
}

void report_append_tables(struct text *html, const struct report *report) {
    const struct figures figures = make_figures(report);
    text_append_string(html, "<section id=\"metrics\" aria-labelledby=\"metrics-title\">\n<h2 "
                             "id=\"metrics-title\">Metrics</h2>\n");
    append_published(html, report, &figures);
    if (figures.column_count)
        append_figures(html, report, &figures);
    else
        text_append_string(html, "<p>There is no ground truth, and no pairs were given: no figures.</p>\n");
    if (report->count > 1)
        text_append_string(html,
                           "<p class=\"quiet\">Under a figure: the difference from A on what both files "
                           "have scored, and how likely one as great would be by chance, either way "
                           "(paired permutation test). Better and worse are said at p &lt; 0.05; among "
                           "many figures some are there by chance.</p>\n");
    text_append_string(html, "</section>\n");
}
