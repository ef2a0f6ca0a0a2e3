/* The report on result files: one HTML file that needs nothing else, neither a network nor a folder beside
 * it.
 *
 * It shows the metrics of the files beside the published figures and each other, charts of their scores, and
 * every video with its prompt, its rationale and what is wrong with its scores, those with the largest errors
 * first. All figures are those of eval/metrics.h and eval/comparison.h.
 *
 * What comes from the rows (names, prompts, rationales) may be anything: it is text in the page and nothing
 * else. The page forbids itself every address but those of its own pictures. */
#ifndef VS2_EVAL_REPORT_H
#define VS2_EVAL_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "eval/benchmark.h"
#include "eval/results.h"

enum { REPORT_FILES_MOST = 6 };

struct report_settings {
    const struct benchmark *benchmark;
    const struct benchmark_pair_list *pairs; /* or NULL */
    uint64_t seed;                           /* of the bootstrap and the permutations */
    const char *videos; /* the folder of the videos, whose frames are shown; NULL: none are */
    int64_t thumbnails; /* videos that have them at most: those with the largest errors */
    void (*progress)(void *context, int64_t done, int64_t total); /* of these videos; or NULL */
    void *progress_context;
};

/* What came of it. */
struct report_summary {
    size_t videos;        /* of all files together, each once */
    size_t pictures;      /* those whose frames are shown */
    size_t unreadable;    /* those whose frames should be and could not be read */
    struct error problem; /* of the first of them */
};

/* Appends the document for 1 to REPORT_FILES_MOST files. A video that cannot be read is no failure. */
enum status report_append(struct text *html, const struct results *files, size_t count,
                          const struct report_settings *settings, struct report_summary *summary,
                          struct error *err);

#endif
