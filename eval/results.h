/* Result files (RES.json): an array of rows, or a row a line, in the official form
 *
 *     video_name, prompt, v_score_gt, t_score_gt, p_score_gt, v_score_model, t_score_model, p_score_model,
 * output
 *
 * with whatever else the benchmark's row had, and what our own runs add: the soft scores and the rest of
 * eval/score_json.h. Scores are numbers, or null where there is none. Files of pair benchmarks have no ground
 * truth. */
#ifndef VS2_EVAL_RESULTS_H
#define VS2_EVAL_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_reader.h"
#include "eval/benchmark.h"
#include "eval/video_name.h"

/* Which of a row's scores are the model's. */
enum score_kind {
    SCORE_AS_WRITTEN, /* v_score_model; they are whole scores if all of the file's are */
    SCORE_HARD,       /* v_hard_score where a row has it, else v_score_model: whole scores */
    SCORE_FLOAT,      /* v_normed_score where a row has it, else v_score_model: the published "float" */
};

/* "as-written", "hard", "float", and NULL: the words for them. */
extern const char *const score_kinds[];

struct result_row {
    struct json_slice text;             /* of the row, in the file; valid as long as the results are */
    char *video_name;                   /* as the row has it */
    struct name_part stem;              /* of it: what pairs are matched by */
    double truths[DIMENSIONS], overall; /* ground truth; NaN: none */
    double model[DIMENSIONS];           /* NaN: none */
    double hard[DIMENSIONS];            /* the digit: v_hard_score, or else v_score_model; NaN: none */
    double confidence[DIMENSIONS];      /* NaN: none */
};

struct results {
    char *path;
    struct result_row *rows; /* in the order of the file */
    size_t count, capacity;
    size_t *by_name;                       /* [count]: rows by stem, then by name */
    bool whole;                            /* the scores are whole ones: see enum score_kind */
    bool truth[DIMENSIONS], overall_truth; /* the rows have such a field */
    size_t read_from_text; /* rows without fields of the model's scores, which were read from their output */
    struct file_map map;
};

/* Reads a file. `benchmark` (or NULL) says in which field the truth of the whole video is. A row without any
 * of the three fields of the model's scores is read from its `output` by eval/answer.h. Errors are "FILE: row
 * N: CAUSE" (JSON that is broken: "FILE: byte N: CAUSE"): a row without video_name, or with neither scores
 * nor output, text where a number belongs, a field of ground truth that other rows have, a video twice.
 * results_free ends it. */
enum status results_read(const char *path, const struct benchmark *benchmark, enum score_kind kind,
                         struct results *results, struct error *err);
void results_free(struct results *results);

/* The model's three scores are there. */
bool result_scored(const struct result_row *row);

/* The row of a video, whose name may have folder and ending or not; NULL when there is none. Of several with
 * the same file name, in different folders, the one that is named whole, or the first by name. */
const struct result_row *results_find(const struct results *results, const char *video_name);

/* The whole row, with all its fields; json_decref it. NULL with err set when it is not JSON after all. */
json_t *result_row_json(const struct results *results, const struct result_row *row, struct error *err);

/* The official row of an item: what its own row had (nothing, when that is a pair), then video_name where
 * there was none (without folder and ending), prompt, the ground truth where the benchmark has points,
 * v_score_model and the others (the hard scores; of several samples their means), `output`, and the other
 * members of the score (an object of eval/score_json.h). NULL: out of memory. */
json_t *result_row_new(const struct benchmark *benchmark, const struct benchmark_items *items,
                       const struct benchmark_item *item, const json_t *score);

#endif
