/* A problem as the model is asked it: the tokens of the prompt and what the vision tower takes of its video
 * or image.
 *
 * The conversation is a system turn, the user's turn (the video, then the question's text) and the beginning
 * of the answer. Of a prompt longer than max_prompt_length the right end is kept, as published; where that
 * would cut into the video the row cannot be used. */
#ifndef VS2_GRPO_PROMPT_H
#define VS2_GRPO_PROMPT_H

#include "grpo/rows.h"
#include "train/measure.h"
#include "train/pass.h"
#include "train/visual_ready.h"

/* How prompts are made. */
struct prompt_settings {
    const struct tokenizer *tokenizer;
    const char *template; /* of the question; NULL: the published one */
    int64_t max_length;
    struct visual_options visual;
    bool unit_grid_time; /* second_per_grid: unit; of training passes, see grpo_prompt_visuals */

    /* For grpo_prompt_new. */
    const struct model *model;
    struct vision_cache *cache; /* or NULL */
    bool decode; /* frames are wanted although the cache has the features: they are to be shuffled */
};

struct grpo_prompt {
    int64_t index; /* of the row, as grpo_rows_read counts */
    struct grpo_row row;
    struct token_list tokens;
    struct visual visual;
    struct ready_visual ready;
    struct visual_grid grid, training_grid;
    const float *patches[1]; /* what pass_visuals points to */
    const struct vision_frames *frames[1];
    const char *keys[1];
    const void *features[1];
};

/* Finds out how many tokens the prompt of a row has, without decoding its video. Fails when the row cannot be
 * used: its file cannot be read, or max_prompt_length cuts into the video. */
enum status grpo_prompt_measure(const struct prompt_settings *settings, const struct grpo_rows *rows,
                                int64_t index, struct measure *measure, struct error *err);

/* Makes the prompt of a row; NULL with err set, and for the same reasons. Several threads may do so at once.
 */
struct grpo_prompt *grpo_prompt_new(const struct prompt_settings *settings, const struct grpo_rows *rows,
                                    int64_t index, struct error *err);
void grpo_prompt_free(struct grpo_prompt *prompt); /* NULL is fine */

/* Bytes that it holds. */
size_t grpo_prompt_bytes(const struct grpo_prompt *prompt);

/* The video or image, pointing into the prompt; `training`: with the time positions of training passes. */
struct pass_visuals grpo_prompt_visuals(const struct grpo_prompt *prompt, bool training);

/* A video with its frames in another order, in the form that the prompt has it in. */
struct shuffled_video {
    float *patches;               /* its own; NULL: the device cuts the frames */
    struct vision_frames *frames; /* the prompt's, which must outlive them, in `order` */
    int64_t *order;
};

/* Puts the frames of the prompt's video in a random order, a function of the seed alone. The prompt must have
 * patches or frames (prompt_settings.decode). shuffled_video_free frees it, also after a failure, which is
 * one of memory. */
enum status grpo_prompt_shuffle_frames(const struct grpo_prompt *prompt, const struct patch_config *config,
                                       uint64_t seed, struct shuffled_video *shuffled, struct error *err);
void shuffled_video_free(struct shuffled_video *shuffled);

#endif
