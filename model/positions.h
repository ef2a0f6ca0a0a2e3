/* Positions of the language model's tokens (mRoPE: time, height, width), and the layout of the vision
 * tower's rows. Host integers only; the formulas are those of transformers 4.57.6, modeling_qwen2_5_vl.py. */
#ifndef VS2_MODEL_POSITIONS_H
#define VS2_MODEL_POSITIONS_H

#include "model/config.h"
#include "tensor/ops.h"

/* One video or image as the vision tower sees it: t temporal patches of h x w patches. The features are
 * t * (h / merge) * (w / merge) rows, as many as its pad tokens. */
struct visual_grid {
    int64_t t, h, w;
    double second_per_grid; /* seconds from one temporal patch to the next; not used for images */
};

/* Rows of features of a grid. */
int64_t grid_features(const struct vision_config *config, const struct visual_grid *grid);

/* Checks a grid: positive, sides divisible by merge, products within what 32-bit row numbers hold. */
enum status grid_check(const struct vision_config *config, const struct visual_grid *grid, struct error *err);

/* What the language model needs to know of one sequence beside its tokens. */
struct sequence_positions {
    int32_t *axis[3];      /* where to write `count` positions each: time, height, width */
    int32_t *feature_rows; /* where to write the token index of each feature, in order; NULL: not wanted */
    int64_t features;      /* out: how many there are */
    int32_t next;          /* out: the position of the token that follows, on all three axes */
};

/* Positions of one sequence that begins at position 0 (get_rope_index). The visuals come in the order of
 * their pad tokens; each must find its exact number of image or video pad tokens in one run. A video's time
 * step is second_per_grid truncated to whole seconds, times tokens_per_second: so transformers 4.57.6 has it.
 * A token outside the vocabulary, and pads and visuals that do not match, are errors. */
enum status positions_of_sequence(const struct model_config *config, const int32_t *tokens, int64_t count,
                                  const struct visual_grid *visuals, int64_t visual_count,
                                  struct sequence_positions *positions, struct error *err);

/* How the rows of several visuals lie in the vision tower: window after window (get_window_index), in groups
 * of merge * merge patches that become one feature. */
struct vision_plan {
    int64_t patches, features;
    int32_t *patch_order;   /* [patches]: which row of the input patches each row of the tower is */
    int32_t *positions;     /* [2, patches]: height and width of each row of the tower, in patches */
    int32_t *feature_order; /* [features]: which row of the merger's output each feature is */
    struct attention_segment *windows, *frames; /* for windowed and for full attention */
    int64_t window_count, frame_count;
};

/* Makes the plan of visuals packed one after another; vision_plan_free frees it. */
enum status vision_plan_make(const struct vision_config *config, const struct visual_grid *grids,
                             int64_t count, struct vision_plan *plan, struct error *err);
void vision_plan_free(struct vision_plan *plan);

/* Who sees whom in a block of the tower: whole frames in the blocks of full_blocks, windows in the others. */
struct attention_segments vision_segments(const struct vision_config *config, const struct vision_plan *plan,
                                          int64_t block);

#endif
