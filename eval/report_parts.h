/* The parts of the report, and what they are drawn from. Private to eval/report*.c. */
#ifndef VS2_EVAL_REPORT_PARTS_H
#define VS2_EVAL_REPORT_PARTS_H

#include "eval/comparison.h"
#include "eval/metrics.h"
#include "eval/report.h"

struct report {
    const struct report_settings *settings;
    const struct results *files;
    size_t count;
    struct metrics *metrics;        /* [count] */
    struct comparison *comparisons; /* [count]: each file beside the first; [0] is empty */
};

/* What a file is called in tables and charts: "A", "B", ...; one alone is "model". */
const char *report_file_name(const struct report *report, size_t file);

/* The element with that name in the colour of the file. */
void report_append_file(struct text *html, const struct report *report, size_t file);

/* A column has figures or points in one of the files. */
bool report_has_column(const struct report *report, int column);

void report_append_tables(struct text *html, const struct report *report);
enum status report_append_charts(struct text *html, const struct report *report, struct error *err);

/* The list of videos: controls, and the data from which eval/report.js makes it. */
enum status report_append_videos(struct text *html, const struct report *report,
                                 struct report_summary *summary, struct error *err);

#endif
