#include "grpo/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/order.h"
#include "grpo/question.h"
#include "model/chat.h"

/* Cuts the tokens from the left, down to the limit. */
static enum status cut(const struct prompt_settings *settings, struct token_list *tokens, struct error *err) {
    int64_t surplus = (int64_t)tokens->count - settings->max_length;
    if (surplus <= 0) return STATUS_OK;
    int32_t start = tokenizer_find(settings->tokenizer, "<|vision_start|>");
    int64_t visual = 0;
    while (visual < (int64_t)tokens->count && tokens->ids[visual] != start) visual++;
    if (surplus > visual)
        return error_set(err, "max_prompt_length %lld cuts into the video of a prompt of %zu tokens",
                         (long long)settings->max_length, tokens->count);
    memmove(tokens->ids, tokens->ids + surplus, (size_t)settings->max_length * sizeof *tokens->ids);
    tokens->count = (size_t)settings->max_length;
    return STATUS_OK;
}

/* The tokens of the prompt, whose visual has so many pads. */
static enum status encode(const struct prompt_settings *settings, const struct grpo_row *row, int64_t pads,
                          struct token_list *tokens, struct error *err) {
    char *text = question_write(settings->template, row, err);
    if (!text) return STATUS_FAILED;
    const struct chat_message message = {
        .role = CHAT_USER, .text = text, .length = strlen(text), .visuals_first = true};
    bool image = row->medium == MEDIUM_IMAGE;
    const struct chat_visuals visuals = {
        .image_pads = &pads, .image_count = image, .video_pads = &pads, .video_count = !image};
    enum status status = chat_encode(settings->tokenizer, &message, 1, &visuals, tokens, NULL, err);
    free(text);
    return status == STATUS_OK ? cut(settings, tokens, err) : status;
}

enum status grpo_prompt_measure(const struct prompt_settings *settings, const struct grpo_rows *rows,
                                int64_t index, struct measure *measure, struct error *err) {
    struct grpo_row row;
    enum status status = grpo_rows_read(rows, index, &row, err);
    if (status != STATUS_OK) return status;
    struct token_list tokens = {0};
    struct visual visual = {0};
    char *path = grpo_rows_media(rows, &row, err);
    status =
        path ? sample_measure_visual(NULL, path, row.medium == MEDIUM_IMAGE, &settings->visual, &visual, err)
             : STATUS_FAILED;
    if (status == STATUS_OK) status = encode(settings, &row, visual.tokens, &tokens, err);
    measure->tokens = (int64_t)tokens.count;
    measure->patches = visual.rows;
    free(path);
    visual_free(&visual);
    token_list_free(&tokens);
    grpo_row_free(&row);
    return status;
}

/* The video's patches or features. Measured first: what the cache has need not be decoded. A file whose
 * header miscounts its frames is taken as it decodes, and its features are not kept. */
static enum status make_visual(const struct prompt_settings *settings, const char *path,
                               struct grpo_prompt *prompt, struct error *err) {
    const struct visual_options *options = &settings->visual;
    const struct visual_source source = {settings->model, settings->cache, options};
    bool image = prompt->row.medium == MEDIUM_IMAGE, mismatch = false;
    enum status status = sample_measure_visual(NULL, path, image, options, &prompt->visual, err);
    if (status == STATUS_OK)
        status = visual_make_ready(&source, path, image, &prompt->visual, &prompt->ready, &mismatch, err);
    if (status == STATUS_OK && settings->decode && !prompt->visual.patches && !prompt->visual.frames) {
        visual_free(&prompt->visual);
        status = sample_decode(NULL, path, image, options, &prompt->visual, err);
    }
    if (mismatch) ready_visual_free(&prompt->ready);
    return status;
}

static void point(struct grpo_prompt *prompt, bool unit_grid_time) {
    const struct visual *visual = &prompt->visual;
    prompt->grid = prompt->training_grid = (struct visual_grid){.t = visual->grid[0],
                                                                .h = visual->grid[1],
                                                                .w = visual->grid[2],
                                                                .second_per_grid = visual->second_per_grid};
    if (unit_grid_time) prompt->training_grid.second_per_grid = 1;
    prompt->patches[0] = visual->patches;
    prompt->frames[0] = visual->frames;
    prompt->keys[0] = prompt->ready.key;
    prompt->features[0] = prompt->ready.found.data;
}

struct grpo_prompt *grpo_prompt_new(const struct prompt_settings *settings, const struct grpo_rows *rows,
                                    int64_t index, struct error *err) {
    struct grpo_prompt *prompt = memory_new(1, sizeof *prompt, "a prompt", err);
    if (!prompt) return NULL;
    prompt->index = index;
    char *path = NULL;
    enum status status = grpo_rows_read(rows, index, &prompt->row, err);
    if (status == STATUS_OK && !(path = grpo_rows_media(rows, &prompt->row, err))) status = STATUS_FAILED;
    if (status == STATUS_OK) status = make_visual(settings, path, prompt, err);
    if (status == STATUS_OK)
        status = encode(settings, &prompt->row, prompt->visual.tokens, &prompt->tokens, err);
    free(path);
    if (status == STATUS_OK) {
        point(prompt, settings->unit_grid_time);
        return prompt;
    }
    grpo_prompt_free(prompt);
    return NULL;
}

void grpo_prompt_free(struct grpo_prompt *prompt) {
    if (!prompt) return;
    ready_visual_free(&prompt->ready);
    visual_free(&prompt->visual);
    token_list_free(&prompt->tokens);
    grpo_row_free(&prompt->row);
    free(prompt);
}

size_t grpo_prompt_bytes(const struct grpo_prompt *prompt) {
    return sizeof *prompt + visual_bytes(&prompt->visual) + prompt->tokens.count * sizeof(int32_t);
}

struct pass_visuals grpo_prompt_visuals(const struct grpo_prompt *prompt, bool training) {
    return (struct pass_visuals){
        .count = 1,
        .grids = training ? &prompt->training_grid : &prompt->grid,
        .patches = prompt->patches,
        .frames = prompt->frames,
        .keys = prompt->keys,
        .features = prompt->features,
    };
}

/* A row of patches has the columns [channel][frame of its temporal group][pixel]; the rows of a group have
 * the same places in each group. */
static void copy_frame(const struct visual *visual, const struct patch_config *config, int64_t from,
                       int64_t to, float *patches) {
    const int64_t pixels = config->patch * config->patch, channels = 3;
    const int64_t rows = visual->grid[1] * visual->grid[2];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t channel = 0; channel < channels; channel++) {
            const float *source = visual->patches + (from / config->temporal * rows + row) * visual->columns +
                                  (channel * config->temporal + from % config->temporal) * pixels;
            float *place = patches + (to / config->temporal * rows + row) * visual->columns +
                           (channel * config->temporal + to % config->temporal) * pixels;
            memcpy(place, source, (size_t)pixels * sizeof *place);
        }
}

static enum status shuffle_patches(const struct visual *visual, const struct patch_config *config,
                                   struct shuffled_video *shuffled, struct error *err) {
    size_t cells = (size_t)(visual->rows * visual->columns);
    shuffled->patches = memory_new(cells, sizeof *shuffled->patches, "shuffled frames", err);
    if (!shuffled->patches) return STATUS_FAILED;
    for (int64_t f = 0; f < visual->grid[0] * config->temporal; f++)
        copy_frame(visual, config, shuffled->order[f], f, shuffled->patches);
    return STATUS_OK;
}

enum status grpo_prompt_shuffle_frames(const struct grpo_prompt *prompt, const struct patch_config *config,
                                       uint64_t seed, struct shuffled_video *shuffled, struct error *err) {
    const struct visual *visual = &prompt->visual;
    int64_t count = visual->grid[0] * config->temporal;
    *shuffled = (struct shuffled_video){0};
    shuffled->order = memory_new((size_t)count, sizeof *shuffled->order, "shuffled frames", err);
    if (!shuffled->order || order_shuffle(seed, ORDER_CHOICE, 0, count, shuffled->order, err) != STATUS_OK)
        return STATUS_FAILED;
    if (!visual->frames) return shuffle_patches(visual, config, shuffled, err);
    shuffled->frames = memory_new(1, sizeof *shuffled->frames, "shuffled frames", err);
    if (!shuffled->frames) return STATUS_FAILED;
    *shuffled->frames = *visual->frames;
    shuffled->frames->order = shuffled->order;
    return STATUS_OK;
}

void shuffled_video_free(struct shuffled_video *shuffled) {
    free(shuffled->patches);
    free(shuffled->frames);
    free(shuffled->order);
    *shuffled = (struct shuffled_video){0};
}
