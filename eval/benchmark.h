/* The benchmarks: what their files hold, and how scores from 1 to 5 meet their ground truth. Each is one
 * entry of the table in eval/benchmark.c; nothing else in the project knows a benchmark by name.
 *
 * A benchmark has points (each video has its truth), pairs (of two videos one is better), or both, in files
 * of their own. Names of fields and rules are those of the published evaluation (TIGER-AI-Lab/VideoScore2,
 * eval/), see docs/evaluation.md. */
#ifndef VS2_EVAL_BENCHMARK_H
#define VS2_EVAL_BENCHMARK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/answer.h"

enum { BENCHMARK_NAMES = 3, BENCHMARK_LEVELS = 5 };

/* What a pair says of its two videos: their visual quality, alignment, or the whole. */
enum pair_aspect { PAIR_VISUAL, PAIR_ALIGNMENT, PAIR_OVERALL, PAIR_ASPECTS };

/* "vq", "ta", "overall": the prefix of the pair metrics. */
const char *pair_aspect_name(enum pair_aspect aspect);

enum preference { PREFER_FIRST, PREFER_SECOND, PREFER_SAME, PREFER_NOT_TOLD };

/* Ground truth of a video. */
struct benchmark_truth {
    const char
        *fields[BENCHMARK_NAMES]; /* names of the field, the first that a row has; NULL: no such truth */
    bool mean;                    /* the truth is the mean of all these fields, rounded half to even */
    const int8_t *levels; /* [BENCHMARK_LEVELS]: what a score of 1 to 5 is on the benchmark's scale; NULL: it
                             is on this scale already */
};

/* How the scores of a video become one, to compare the videos of a pair. */
enum pair_rule { PAIR_SUM, PAIR_MEAN };

struct benchmark_pairs {
    const char *videos[2];                 /* fields with the two videos; NULL: the benchmark has no pairs */
    const char *models[2];                 /* fields put before the file's name with a '_', or NULL */
    const char *preferences[PAIR_ASPECTS]; /* fields with the better one; NULL: not told */
    const char *first, *second;            /* words of these fields */
    const char *same[2];                   /* words that mean neither; the second may be NULL */
    enum pair_rule rule;
};

/* What the paper prints (arXiv 2509.22799): an average accuracy, in percent, and of what; 0: nothing. */
struct benchmark_published {
    double accuracy;
    const char *of;
};

struct benchmark {
    const char *name;                   /* "mj-bench-video" */
    const char *also[2];                /* other names: those of the published code */
    const char *title;                  /* "MJ-Bench-Video" */
    const char *video[BENCHMARK_NAMES]; /* fields with the video of a point, the first that a row has */
    const char *prompt[BENCHMARK_NAMES];
    struct benchmark_truth truths[DIMENSIONS];
    struct benchmark_truth overall; /* truth of the whole video */
    bool accuracy;                  /* the truths are levels, so that accuracy means something */
    struct benchmark_pairs pairs;
    struct benchmark_published published;
};

/* The table; *count of them. */
const struct benchmark *benchmarks(size_t *count);

/* The benchmark of a name; NULL with err (a STATUS_USAGE matter) naming the nearest one. */
const struct benchmark *benchmark_find(const char *name, struct error *err);

/* No benchmark by name: rows with v_score_gt, t_score_gt and p_score_gt from 1 to 5, whichever they have. */
const struct benchmark *benchmark_any(void);

bool benchmark_has_points(const struct benchmark *benchmark);
bool benchmark_has_pairs(const struct benchmark *benchmark);

/* A score on the scale of the truth; NaN when it is none of the five levels that can be mapped. */
double benchmark_level(const struct benchmark_truth *truth, double score);

/* ---- The published files ----------------------------------------------------------------------------- */

/* One video that is to be scored. */
struct benchmark_item {
    char *name;                /* without folder and ending: video_name of the result row */
    const char *file;          /* as its file names it; borrowed from row */
    const char *prompt;        /* borrowed from row; "" when there is none */
    double truths[DIMENSIONS]; /* NaN: none */
    json_t *row;               /* the row that it was found in; of a pair: the first with this video */
    size_t number;             /* of that row, from 1 */
};

struct benchmark_items {
    struct benchmark_item *list; /* in the order of the file */
    size_t count, capacity;
    bool pairs;   /* the file holds pairs: their rows are not result rows */
    json_t *rows; /* what the items borrow from */
};

/* Reads a file with points or with pairs (then the items are the videos of the pairs, each once): a JSON
 * array of objects, an object a line, or, where the name ends in .csv, a CSV with a header. Errors are "FILE:
 * row N: CAUSE": a field that is missing, text where a number belongs, a video twice. */
enum status benchmark_items_read(const struct benchmark *benchmark, const char *path,
                                 struct benchmark_items *items, struct error *err);
void benchmark_items_free(struct benchmark_items *items);

/* The item's video under the folder: FOLDER/FILE as the file names it, with ".mp4" if it is written without,
 * or FOLDER/NAME.mp4. free() it; when none of these is there, the last is returned, so that opening it names
 * what was looked for. NULL with err set when out of memory. */
char *benchmark_item_path(const struct benchmark_item *item, const char *folder, struct error *err);

struct benchmark_pair {
    char *videos[2]; /* names without folder and ending */
    enum preference preferences[PAIR_ASPECTS];
    size_t number; /* of the row, from 1 */
};

struct benchmark_pair_list {
    struct benchmark_pair *list;
    size_t count, capacity;
};

/* Reads the pairs of a file, as benchmark_items_read. A word that means no preference is an error. */
enum status benchmark_pairs_read(const struct benchmark *benchmark, const char *path,
                                 struct benchmark_pair_list *pairs, struct error *err);
void benchmark_pairs_free(struct benchmark_pair_list *pairs);

#endif
