/* The measurements of vs2-bench: a command each, in its own file. */
#ifndef VS2_CLI_BENCH_H
#define VS2_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "cli/options.h"
#include "data/visual.h"
#include "model/positions.h"
#include "model/tokenizer.h"

int bench_video(int argc, char **argv);
int bench_rollout(int argc, char **argv);
int bench_kernels(int argc, char **argv);
int bench_sft(int argc, char **argv);
int bench_grpo(int argc, char **argv);
int bench_plan(int argc, char **argv);

/* How SFT chooses and sizes frames: --fps, --max-frames and --max-pixels. The table is for OPTION_TABLE; its
 * settings are a struct bench_frames, which begins as bench_frames_default. */
struct bench_frames {
    double fps;
    int64_t max_frames, max_pixels;
};

extern const struct option_spec bench_frame_options[];
struct bench_frames bench_frames_default(void);
struct visual_options bench_visual_options(const struct bench_frames *frames);

/* One row of a --data file. */
struct bench_row {
    char *video;  /* path, under the media folder unless absolute */
    char *prompt; /* "prompt" or "problem"; empty when there is none */
};

struct bench_rows {
    struct bench_row *rows;
    size_t count, capacity;
};

/* Reads a JSON array of objects, or an object a line. The video is "videos": ["PATH", ...] (the first),
 * "video", "path" or "video_name". `media_dir` may be NULL. */
enum status bench_rows_read(const char *path, const char *media_dir, struct bench_rows *rows,
                            struct error *err);
void bench_rows_free(struct bench_rows *rows);

/* A row decoded and encoded: the video, then the prompt, as a user's turn. */
struct bench_item {
    struct visual visual;
    struct visual_grid grid;
    const float *patches;
    struct token_list tokens;
};

/* *seconds grows by those of decoding. bench_item_free also after a failure. */
enum status bench_item_read(const struct bench_row *row, const struct visual_options *options,
                            const struct tokenizer *tokenizer, struct bench_item *item, double *seconds,
                            struct error *err);
void bench_item_free(struct bench_item *item);

/* The largest resident memory of this process so far, in bytes. */
size_t bench_peak_memory(void);

#endif
