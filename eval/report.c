/* The document as a whole. */
#include "eval/report.h"

#include <stdlib.h>

#include "base/markup.h"
#include "base/memory.h"
#include "eval/report_assets.h"
#include "eval/report_parts.h"

/* ---- What is shared ---------------------------------------------------------------------------------- */

const char *report_file_name(const struct report *report, size_t file) {
    static const char *const letters[REPORT_FILES_MOST] = {"A", "B", "C", "D", "E", "F"};
    return report->count == 1 ? "model" : letters[file];
}

void report_append_file(struct text *html, const struct report *report, size_t file) {
    text_format(html, "<span class=\"file f%zu\">%s</span>", file, report_file_name(report, file));
}

bool report_has_column(const struct report *report, int column) {
    for (size_t f = 0; f < report->count; f++) {
        struct metric list[METRICS_MOST];
        const size_t count = metrics_list(&report->metrics[f], list);
        if (metrics_have_column(&report->metrics[f], list, count, column)) return true;
    }
    return false;
}

/* ---- Head and foot ----------------------------------------------------------------------------------- */

/* Nothing is loaded from anywhere, whatever a row says. */
static const char policy[] =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
    "'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n";

static void append_head(struct text *html, const char *title) {
    text_append_string(html, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    text_append_string(html, policy);
    text_append_string(html, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                             "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
    markup_append_string(html, title);
    text_append_string(html, " - vs2 report</title>\n<style>\n");
    text_append_string(html, report_css);
    text_append_string(html, "</style>\n</head>\n<body>\n");
}

/* A line for each file: its name here, its path, and how much of it counts. */
static void append_files(struct text *html, const struct report *report) {
    text_append_string(html, "<ul class=\"files\">\n");
    for (size_t f = 0; f < report->count; f++) {
        const struct metrics *metrics = &report->metrics[f];
        text_append_string(html, "<li>");
        report_append_file(html, report, f);
        text_append_string(html, " <bdi class=\"path\">");
        markup_append_string(html, report->files[f].path);
        text_format(html, "</bdi> <span class=\"quiet\">%zu rows, %zu scored", metrics->rows,
                    metrics->scored);
        if (metrics->missing) text_format(html, ", %zu without all three scores, left out", metrics->missing);
        if (metrics->read_from_text) text_format(html, ", %zu read from their text", metrics->read_from_text);
        if (metrics->has_pairs)
            text_format(html, "; %zu pairs, %zu dropped", metrics->pairs.pairs, metrics->pairs.dropped);
        text_format(html, "; %s scores</span></li>\n", metrics->whole ? "hard" : "float");
    }
    text_append_string(html, "</ul>\n");
}

static void append_intro(struct text *html, const struct report *report, const char *title) {
    text_append_string(html, "<header>\n<h1>");
    markup_append_string(html, title);
    text_append_string(html, "</h1>\n");
    append_files(html, report);
    text_append_string(html, "<nav aria-label=\"Sections\"><a href=\"#metrics\">Metrics</a> <a "
                             "href=\"#charts\">Charts</a> <a href=\"#videos\">Videos</a></nav>\n"
                             "</header>\n<main>\n");
}

static void append_foot(struct text *html) {
    text_append_string(html, "</main>\n<footer class=\"quiet\">Made by vs2-eval report " VS2_VERSION
                             ". Every figure is defined in docs/evaluation.md.</footer>\n<script>\n");
    text_append_string(html, report_js);
    text_append_string(html, "</script>\n</body>\n</html>\n");
}

/* ---- The whole --------------------------------------------------------------------------------------- */

static enum status measure(struct report *report, struct error *err) {
    const struct report_settings *settings = report->settings;
    enum status status = STATUS_OK;
    report->metrics = memory_new(report->count, sizeof *report->metrics, "the report", err);
    report->comparisons = memory_new(report->count, sizeof *report->comparisons, "the report", err);
    if (!report->metrics || !report->comparisons) return STATUS_FAILED;
    for (size_t f = 0; f < report->count && status == STATUS_OK; f++) {
        status = metrics_make(&report->files[f], settings->benchmark, settings->pairs, settings->seed,
                              &report->metrics[f], err);
        if (f && status == STATUS_OK)
            status = comparison_make(&report->files[0], &report->files[f], settings->benchmark,
                                     settings->pairs, settings->seed, &report->comparisons[f], err);
    }
    return status;
}

enum status report_append(struct text *html, const struct results *files, size_t count,
                          const struct report_settings *settings, struct report_summary *summary,
                          struct error *err) {
    struct report report = {.settings = settings, .files = files, .count = count};
    const char *title =
        settings->benchmark == benchmark_any() ? "Scores of videos" : settings->benchmark->title;
    *summary = (struct report_summary){0};
    enum status status = measure(&report, err);
    if (status == STATUS_OK) {
        append_head(html, title);
        append_intro(html, &report, title);
        report_append_tables(html, &report);
        status = report_append_charts(html, &report, err);
    }
    if (status == STATUS_OK) status = report_append_videos(html, &report, summary, err);
    if (status == STATUS_OK) {
        append_foot(html);
        status = text_check(html, "the report", err);
    }
    free(report.metrics);
    free(report.comparisons);
    return status;
}
