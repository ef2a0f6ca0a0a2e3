#include "model/positions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Patches of one pass at most: row numbers stay far inside 32 bits. */
enum { MAX_PATCHES = 1 << 28 };

/* Time positions of a visual at most, so that f32 holds them. */
enum { MAX_TIME = 1 << 24 };

int64_t grid_features(const struct vision_config *config, const struct visual_grid *grid) {
    return grid->t * (grid->h / config->merge) * (grid->w / config->merge);
}

enum status grid_check(const struct vision_config *config, const struct visual_grid *grid,
                       struct error *err) {
    bool fits = grid->t > 0 && grid->h > 0 && grid->w > 0 && grid->t <= MAX_PATCHES &&
                grid->h <= MAX_PATCHES && grid->w <= MAX_PATCHES / grid->h &&
                grid->t <= MAX_PATCHES / (grid->h * grid->w);
    if (!fits || grid->h % config->merge || grid->w % config->merge)
        return error_set(
            err, "a visual of %lld x %lld x %lld patches does not fit the model (sides in steps of %lld)",
            (long long)grid->t, (long long)grid->h, (long long)grid->w, (long long)config->merge);
    if (!isfinite(grid->second_per_grid) || grid->second_per_grid < 0)
        return error_set(err, "a visual has %g seconds a temporal patch", grid->second_per_grid);
    return STATUS_OK;
}

/* ---- Language positions ------------------------------------------------------------------------------ */

/* Writes the positions of one visual whose first pad is token `at`, `first` being the position before it plus
 * one, and returns the largest position written. */
static int64_t place_visual(const struct model_config *config, const struct visual_grid *grid, bool video,
                            int64_t at, int64_t first, struct sequence_positions *positions) {
    const struct vision_config *vision = &config->vision;
    int64_t rows = grid->h / vision->merge, cols = grid->w / vision->merge, largest = first;
    /* The reference casts the seconds to an integer, and multiplies and truncates in f32. */
    double seconds = video ? trunc(grid->second_per_grid) : 0;
    for (int64_t t = 0; t < grid->t; t++) {
        int64_t time = first + (int64_t)((float)((double)t * seconds) * (float)vision->tokens_per_second);
        for (int64_t i = 0; i < rows * cols; i++, at++) {
            positions->axis[0][at] = (int32_t)time;
            positions->axis[1][at] = (int32_t)(first + i / cols);
            positions->axis[2][at] = (int32_t)(first + i % cols);
        }
        if (time > largest) largest = time;
    }
    int64_t side = first + (rows > cols ? rows : cols) - 1;
    return side > largest ? side : largest;
}

/* A visual's pads: one run of its own kind of token, long enough. */
static enum status check_pads(const struct model_config *config, const int32_t *tokens, int64_t count,
                              int64_t at, const struct visual_grid *grid, int64_t number, struct error *err) {
    if (grid_check(&config->vision, grid, err)) return STATUS_FAILED;
    int64_t wanted = grid_features(&config->vision, grid), found = 0;
    while (at + found < count && found < wanted && tokens[at + found] == tokens[at]) found++;
    if (found < wanted)
        return error_set(err, "visual %lld has %lld features but %lld pad tokens at token %lld",
                         (long long)number, (long long)wanted, (long long)found, (long long)at);
    if (!((double)grid->t * grid->second_per_grid * (config->vision.tokens_per_second + 1) < MAX_TIME))
        return error_set(err, "visual %lld lasts too long: %g seconds a temporal patch", (long long)number,
                         grid->second_per_grid);
    return STATUS_OK;
}

enum status positions_of_sequence(const struct model_config *config, const int32_t *tokens, int64_t count,
                                  const struct visual_grid *visuals, int64_t visual_count,
                                  struct sequence_positions *positions, struct error *err) {
    int64_t next = 0, visual = 0, features = 0;
    if (count > MAX_PATCHES)
        return error_set(err, "%lld tokens are more than one sequence may have", (long long)count);
    for (int64_t i = 0; i < count;) {
        int32_t token = tokens[i];
        if (token < 0 || token >= config->vocab)
            return error_set(err, "token %lld is %d, outside the vocabulary of %lld", (long long)i,
                             (int)token, (long long)config->vocab);
        if (token != config->image_token && token != config->video_token) {
            for (int axis = 0; axis < 3; axis++) positions->axis[axis][i] = (int32_t)next;
            next++, i++;
            continue;
        }
        if (visual == visual_count)
            return error_set(err, "token %lld is a visual's pad, but only %lld visuals are given",
                             (long long)i, (long long)visual_count);
        const struct visual_grid *grid = &visuals[visual];
        if (check_pads(config, tokens, count, i, grid, visual, err)) return STATUS_FAILED;
        next = place_visual(config, grid, token == config->video_token, i, next, positions) + 1;
        if (next > INT32_MAX - count)
            return error_set(err, "the positions of %lld tokens overflow", (long long)count);
        for (int64_t end = i + grid_features(&config->vision, grid); i < end; i++, features++)
            if (positions->feature_rows) positions->feature_rows[features] = (int32_t)i;
        visual++;
    }
    if (visual < visual_count)
        return error_set(err, "%lld visuals are given, but only %lld have pad tokens",
                         (long long)visual_count, (long long)visual);
    positions->features = features;
    positions->next = (int32_t)next;
    return STATUS_OK;
}

/* ---- Vision layout ----------------------------------------------------------------------------------- */

static int64_t minimum(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Appends one feature's merge * merge patches to the tower's rows. `feature` is its row and column in the
 * frame whose first feature is `frame_first`; the input has a feature's patches in one run. */
static void place_feature(const struct vision_config *config, const struct visual_grid *grid,
                          int64_t frame_first, int64_t row, int64_t col, struct vision_plan *plan) {
    int64_t merge = config->merge, unit = merge * merge;
    int64_t feature = frame_first + row * (grid->w / merge) + col;
    int64_t at = plan->features++;
    plan->feature_order[feature] = (int32_t)at;
    for (int64_t i = 0; i < unit; i++) {
        plan->patch_order[at * unit + i] = (int32_t)(feature * unit + i);
        plan->positions[at * unit + i] = (int32_t)(row * merge + i / merge);
        plan->positions[plan->patches + at * unit + i] = (int32_t)(col * merge + i % merge);
    }
}

static void add_segment(struct attention_segment *segments, int64_t *count, int64_t first, int64_t rows) {
    segments[(*count)++] =
        (struct attention_segment){.query = first, .queries = rows, .key = first, .keys = rows};
}

/* Appends one temporal patch, window by window; those at the right and lower edge are smaller. */
static void place_frame(const struct vision_config *config, const struct visual_grid *grid,
                        int64_t frame_first, struct vision_plan *plan) {
    int64_t unit = config->merge * config->merge, side = config->window / config->merge / config->patch;
    int64_t rows = grid->h / config->merge, cols = grid->w / config->merge;
    for (int64_t top = 0; top < rows; top += side)
        for (int64_t left = 0; left < cols; left += side) {
            int64_t first = plan->features;
            for (int64_t row = top; row < minimum(top + side, rows); row++)
                for (int64_t col = left; col < minimum(left + side, cols); col++)
                    place_feature(config, grid, frame_first, row, col, plan);
            add_segment(plan->windows, &plan->window_count, first * unit, (plan->features - first) * unit);
        }
    add_segment(plan->frames, &plan->frame_count, frame_first * unit, rows * cols * unit);
}

/* Sums up the visuals and allocates the plan's tables. Every window holds at least one feature. */
static enum status allocate_plan(const struct vision_config *config, const struct visual_grid *grids,
                                 int64_t count, struct vision_plan *plan, struct error *err) {
    int64_t features = 0, frames = 0, unit = config->merge * config->merge;
    for (int64_t i = 0; i < count; i++) {
        if (grid_check(config, &grids[i], err)) return STATUS_FAILED;
        features += grid_features(config, &grids[i]);
        frames += grids[i].t;
        if (features * unit > MAX_PATCHES)
            return error_set(err, "%lld visuals have more than %d patches in one pass", (long long)count,
                             MAX_PATCHES);
    }
    const char *what = "the layout of the vision tower";
    plan->patches = features * unit;
    if (!(plan->patch_order = memory_new((size_t)plan->patches, sizeof *plan->patch_order, what, err)) ||
        !(plan->positions = memory_new(2 * (size_t)plan->patches, sizeof *plan->positions, what, err)) ||
        !(plan->feature_order = memory_new((size_t)features, sizeof *plan->feature_order, what, err)) ||
        !(plan->windows = memory_new((size_t)features, sizeof *plan->windows, what, err)) ||
        !(plan->frames = memory_new((size_t)frames, sizeof *plan->frames, what, err)))
        return STATUS_FAILED;
    return STATUS_OK;
}

enum status vision_plan_make(const struct vision_config *config, const struct visual_grid *grids,
                             int64_t count, struct vision_plan *plan, struct error *err) {
    *plan = (struct vision_plan){0};
    if (allocate_plan(config, grids, count, plan, err)) {
        vision_plan_free(plan);
        return STATUS_FAILED;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t t = 0; t < grids[i].t; t++) place_frame(config, &grids[i], plan->features, plan);
    return STATUS_OK;
}

void vision_plan_free(struct vision_plan *plan) {
    free(plan->patch_order);
    free(plan->positions);
    free(plan->feature_order);
    free(plan->windows);
    free(plan->frames);
    *plan = (struct vision_plan){0};
}

struct attention_segments vision_segments(const struct vision_config *config, const struct vision_plan *plan,
                                          int64_t block) {
    for (int64_t i = 0; i < config->full_block_count; i++)
        if (config->full_blocks[i] == block)
            return (struct attention_segments){plan->frames, plan->frame_count};
    return (struct attention_segments){plan->windows, plan->window_count};
}
