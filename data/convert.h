/* From raw annotation rows to the rows that SFT and GRPO learn from.
 *
 * A raw row is {"video_name", "video_url", "prompt", "visual_score", "visual_cmt_raw", "t2v_score",
 * "t2v_cmt_raw", "phy_score", "phy_cmt_raw", "thinking"}; of these video_name, prompt and the scores (whole
 * numbers from 1 to 5) are needed, and thinking for SFT. Files are JSON arrays or JSON lines. */
#ifndef VS2_DATA_CONVERT_H
#define VS2_DATA_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* A query with the three dimensions and the form of the answer, between the published words before and after
 * the prompt. */
extern const char convert_template[];

struct convert_options {
    const char *input;
    const char *sft, *grpo;  /* files to write; NULL: not wanted */
    const char *template;    /* as query_fill takes it; a <video> at its beginning is not doubled */
    const char *sft_videos;  /* put before the name of each video: "videos/" */
    const char *grpo_videos; /* "./vs2_videos/" */
    bool skip_broken;        /* leave out rows that are wrong, rather than fail at the first */
    void (*skipped)(void *context, int64_t row, const char *reason); /* told of each; may be NULL */
    void *context;
};

/* Writes the files, each whole or not at all; *rows and *left_out are counted. */
enum status convert_raw(const struct convert_options *options, int64_t *rows, int64_t *left_out,
                        struct error *err);

/* Adds a data set of SFT rows to FOLDER/dataset_info.json, or replaces it; the others stay. */
enum status convert_register(const char *folder, const char *name, const char *file_name, struct error *err);

#endif
