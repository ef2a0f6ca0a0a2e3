/* The data of GRPO: problems with solutions that can be checked, as Video-R1 and VideoScore2 publish them.
 *
 *     {"problem_id": 1, "problem": TEXT, "data_type": "video", "problem_type": "video eval", "options": [],
 *      "solution": "<answer>visual quality: 4; ...</answer>", "path": "./vs2_videos/a.mp4", "data_source":
 * ""}
 *
 * A file is a JSON array of such objects, or one after another (JSONL). Its text is kept as it is, and rows
 * are parsed again where they are read; every row is checked once when the file is opened. Open rows do not
 * change: all functions but the last may be called by several threads at once.
 */
#ifndef VS2_GRPO_ROWS_H
#define VS2_GRPO_ROWS_H

#include <stdint.h>

#include "base/json.h"
#include "grpo/problem.h"

enum row_medium { MEDIUM_VIDEO, MEDIUM_IMAGE };

struct grpo_row {
    const char *id;      /* a number as its digits; a row without one: its number in the file */
    const char *problem; /* what is asked */
    enum row_medium medium;
    const struct problem_kind *kind;
    const char **options; /* of a multiple choice */
    size_t option_count;
    const char *solution;    /* as the row has it */
    struct solution truth;   /* what it says; borrows from `solution` */
    const char *path;        /* as the row has it */
    const char *data_source; /* "" when there is none */
    int64_t number;          /* in the file, from 1 */
    json_t *json;            /* owns the texts */
    char *owned_id;          /* where `id` is not the JSON's own */
};

struct grpo_rows;

/* Reads and checks the file; media_folder (media_dir) is what paths are relative to, NULL: the file's own
 * folder. "PATH: line L, byte B: CAUSE" where it is no JSON. Rows that cannot be trained are no error, even
 * when all are so; that memory is short is one. */
enum status grpo_rows_open(const char *path, const char *media_folder, struct grpo_rows **rows,
                           struct error *err);
void grpo_rows_close(struct grpo_rows *rows);

/* How many rows can be trained. They are numbered from 0. */
int64_t grpo_rows_count(const struct grpo_rows *rows);

/* Reads row `index`; grpo_row_free frees it. It fails only when memory is short. */
enum status grpo_rows_read(const struct grpo_rows *rows, int64_t index, struct grpo_row *row,
                           struct error *err);
void grpo_row_free(struct grpo_row *row);

/* The row of that problem_id, the first of several; -1: there is none that can be trained. */
int64_t grpo_rows_find(const struct grpo_rows *rows, const char *problem_id);

/* The path of a row's video or image, as file_find finds it under the media folder. free() it. */
char *grpo_rows_media(const struct grpo_rows *rows, const struct grpo_row *row, struct error *err);

/* Rows that cannot be trained, in the order of the file: their numbers from 1, and why. */
struct grpo_skip {
    int64_t number;
    const char *reason;
};
int64_t grpo_rows_skip_count(const struct grpo_rows *rows);
const struct grpo_skip *grpo_rows_skip(const struct grpo_rows *rows, int64_t index);

#endif
