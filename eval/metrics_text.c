/* The figures as a table. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/metrics.h"

enum { TITLE_WIDTH = 32, CELL_WIDTH = 26 };

/* "45.125 [40.1, 50.2]", or "-". */
static void append_cell(const struct metric *metric, struct text *text) {
    char cell[64] = "-";
    const int decimals = metric && metric->unit == METRIC_PERCENT ? 1 : 3;
    const double scale = metric && metric->unit == METRIC_PERCENT ? 100 : 1;
    if (metric && !isnan(metric->value)) {
        int length = snprintf(cell, sizeof cell, "%.3f", metric_shown(metric, metric->value));
        if (!isnan(metric->interval.low) && length > 0)
            snprintf(cell + length, sizeof cell - (size_t)length, " [%.*f, %.*f]", decimals,
                     metric->interval.low * scale, decimals, metric->interval.high * scale);
    }
    text_format(text, "%-*s", CELL_WIDTH, cell);
}

static void end_line(struct text *text) {
    while (text->length && text->data[text->length - 1] == ' ') text->data[--text->length] = '\0';
    text_append_string(text, "\n");
}

static void append_table(const struct metrics *metrics, const struct metric *list, size_t count,
                         struct text *text) {
    bool used[COLUMNS];
    text_format(text, "%-*s", TITLE_WIDTH, "");
    for (int c = 0; c < COLUMNS; c++)
        if ((used[c] = metrics_have_column(metrics, list, count, c)))
            text_format(text, "%-*s", CELL_WIDTH, column_heading(c));
    end_line(text);
    for (size_t i = 0; i < count; i++) {
        bool seen = false, told = false; /* each title is a line, once, when something is told in it */
        for (size_t k = 0; k < count; k++) {
            const bool same = strcmp(list[k].title, list[i].title) == 0;
            seen |= same && k < i;
            told |= same && !isnan(list[k].value);
        }
        if (seen || !told) continue;
        text_format(text, "%-*s", TITLE_WIDTH, list[i].title);
        if (list[i].column < 0) append_cell(&list[i], text);
        for (int c = 0; c < COLUMNS && list[i].column >= 0; c++)
            if (used[c]) append_cell(metrics_find(list, count, list[i].title, c), text);
        end_line(text);
    }
}

static void append_confusion(const struct confusion *confusion, const char *heading, struct text *text) {
    text_format(text, "\n%s: truth down, model across", heading);
    if (confusion->outside) text_format(text, "; %zu on none of the levels", confusion->outside);
    text_append_string(text, "\n     ");
    for (int i = 0; i < confusion->count; i++) text_format(text, "%8d", confusion->levels[i]);
    for (int i = 0; i < confusion->count; i++) {
        text_format(text, "\n%5d", confusion->levels[i]);
        for (int k = 0; k < confusion->count; k++) text_format(text, "%8zu", confusion->cells[i][k]);
    }
    text_append_string(text, "\n");
}

void metrics_append(const struct metrics *metrics, struct text *text) {
    struct metric list[METRICS_MOST];
    const size_t count = metrics_list(metrics, list);
    text_format(text, "%s, %s scores: %zu rows, %zu scored, %zu missing", metrics->benchmark->title,
                metrics->whole ? "hard" : "float", metrics->rows, metrics->scored, metrics->missing);
    if (metrics->read_from_text) text_format(text, "; %zu read from their output", metrics->read_from_text);
    if (metrics->has_pairs)
        text_format(text, "\n%zu pairs, %zu dropped, %zu of them with a video that has no row",
                    metrics->pairs.pairs, metrics->pairs.dropped, metrics->pairs.unknown);
    text_append_string(text, "\nIn percent, with 95% intervals; errors on the scale of the scores.\n\n");
    append_table(metrics, list, count, text);
    for (int c = 0; c < COLUMNS; c++)
        if (metrics->columns[c].confusion.count)
            append_confusion(&metrics->columns[c].confusion, column_heading(c), text);
}
