#include "data/device_frames.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/resize_float.h"
#include "data/resize_weights.h"

_Static_assert(VISION_FRAME_PASSES >= 2 * FRAME_MAX_STEPS, "every step has two halves");

/* The tables become the pass's own; both halves of a weight are joined. */
static enum status fixed_pass(enum resize_kind kind, int64_t from, int64_t to, struct frame_pass *pass,
                              struct error *err) {
    struct resize_weights table;
    if (resize_weights_new(kind, from, to, &table, err)) return STATUS_FAILED;
    int64_t cells = to * table.taps;
    int32_t *weights = memory_new((size_t)cells, sizeof *weights, "resize weights", err);
    if (!weights) {
        resize_weights_free(&table);
        return STATUS_FAILED;
    }
    for (int64_t i = 0; i < cells; i++)
        weights[i] = table.low[i] + (table.high ? table.high[i] * (1 << RESIZE_HIGH_SHIFT) : 0);
    *pass = (struct frame_pass){.outputs = to,
                                .taps = table.taps,
                                .starts = table.starts,
                                .counts = table.counts,
                                .weights = weights,
                                .weight_type = DTYPE_I32,
                                .precision = table.precision};
    table.starts = table.counts = NULL;
    resize_weights_free(&table);
    return STATUS_OK;
}

static enum status float_pass(int64_t from, int64_t to, struct frame_pass *pass, struct error *err) {
    struct resize_float_weights table;
    if (resize_float_weights_new(from, to, &table, err)) return STATUS_FAILED;
    *pass = (struct frame_pass){.outputs = to,
                                .taps = table.taps,
                                .starts = table.starts,
                                .counts = table.counts,
                                .weights = table.values,
                                .weight_type = DTYPE_F32};
    return STATUS_OK;
}

/* The halves of one step, in its order. In fixed point an axis that stays has none. */
static enum status add_step(struct vision_frames *frames, enum resize_kind kind, struct size from,
                            struct size to, struct error *err) {
    bool columns_first = resize_columns_first(kind, from, to);
    for (int half = 0; half < 2; half++) {
        bool down = (half == 0) == columns_first;
        int64_t inputs = down ? from.height : from.width, outputs = down ? to.height : to.width;
        if (kind != RESIZE_FLOAT && inputs == outputs) continue;
        struct frame_pass *pass = &frames->passes[frames->pass_count];
        if (kind == RESIZE_FLOAT ? float_pass(inputs, outputs, pass, err)
                                 : fixed_pass(kind, inputs, outputs, pass, err))
            return STATUS_FAILED;
        pass->down = down;
        frames->pass_count++;
    }
    return STATUS_OK;
}

struct vision_frames *device_frames_new(const struct frame_steps *steps, int64_t count,
                                        const struct patch_config *config, struct error *err) {
    struct vision_frames *frames = memory_new(1, sizeof *frames, "frames", err);
    if (!frames) return NULL;
    struct size from = steps->from;
    *frames = (struct vision_frames){.count = count, .height = from.height, .width = from.width};
    frames->shape = (struct patch_shape){config->patch, config->temporal, config->merge};
    struct patch_table table;
    patch_table_fill(config, &table);
    _Static_assert(sizeof table.values == sizeof frames->values, "the same table");
    memcpy(frames->values, table.values, sizeof table.values);
    size_t pixels = (size_t)count * (size_t)(from.height * from.width);
    enum status status = STATUS_OK;
    if (!(frames->pixels = memory_new(pixels, FRAME_CHANNELS, "frames", err))) status = STATUS_FAILED;
    for (int i = 0; status == STATUS_OK && i < steps->count; i++) {
        status = add_step(frames, steps->steps[i].kind, from, steps->steps[i].to, err);
        from = steps->steps[i].to;
    }
    if (status == STATUS_OK) return frames;
    vision_frames_free(frames);
    return NULL;
}

void device_frames_set(struct vision_frames *frames, int64_t index, const struct picture *picture) {
    size_t row = (size_t)frames->width * FRAME_CHANNELS;
    uint8_t *to = frames->pixels + (size_t)index * (size_t)frames->height * row;
    for (int64_t y = 0; y < frames->height; y++)
        memcpy(to + (size_t)y * row, picture->pixels + (size_t)y * picture->stride, row);
}
