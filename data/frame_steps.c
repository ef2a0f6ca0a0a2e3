#include "data/frame_steps.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct frame_resizer {
    struct frame_steps steps;
    int channels; /* of the pictures that the plans are for; 0: there are no plans yet */
    bool palette;
    struct resize *plans[FRAME_MAX_STEPS];
    struct picture buffers[FRAME_MAX_STEPS];
    struct picture source; /* a copy whose colours may be changed */
};

struct size frame_steps_result(const struct frame_steps *steps) {
    return steps->count > 0 ? steps->steps[steps->count - 1].to : steps->from;
}

struct frame_resizer *frame_resizer_new(const struct frame_steps *steps, struct error *err) {
    struct frame_resizer *resizer = memory_new(1, sizeof *resizer, "resize", err);
    if (resizer) resizer->steps = *steps;
    return resizer;
}

static void free_plans(struct frame_resizer *resizer) {
    for (int i = 0; i < FRAME_MAX_STEPS; i++) {
        resize_free(resizer->plans[i]);
        resizer->plans[i] = NULL;
        picture_free(&resizer->buffers[i]);
    }
    picture_free(&resizer->source);
    resizer->channels = 0;
}

void frame_resizer_free(struct frame_resizer *resizer) {
    if (!resizer) return;
    free_plans(resizer);
    free(resizer);
}

static enum status make_plans(struct frame_resizer *resizer, const struct picture *picture,
                              struct error *err) {
    const struct frame_steps *steps = &resizer->steps;
    free_plans(resizer);
    if (picture->channels == 4 && picture_new(steps->from, 4, &resizer->source, err)) return STATUS_FAILED;
    struct size from = steps->from;
    for (int i = 0; i < steps->count; i++) {
        const struct frame_step *step = &steps->steps[i];
        int channels = step->own_colours && !steps->white ? picture->channels : 3;
        enum resize_kind kind = step->own_colours && picture->palette ? RESIZE_NEAREST : step->kind;
        resizer->plans[i] = resize_new(kind, from, step->to, channels, err);
        if (!resizer->plans[i] || picture_new(step->to, channels, &resizer->buffers[i], err))
            return STATUS_FAILED;
        from = step->to;
    }
    resizer->channels = picture->channels;
    resizer->palette = picture->palette;
    return STATUS_OK;
}

/* A copy of a picture with alpha, whose colours the steps may change. */
static struct picture *copy_source(struct frame_resizer *resizer, const struct picture *picture) {
    struct picture *copy = &resizer->source;
    for (int64_t y = 0; y < picture->size.height; y++)
        memcpy(copy->pixels + (size_t)y * copy->stride, picture->pixels + (size_t)y * picture->stride,
               (size_t)picture->size.width * 4);
    copy->channels = 4;
    return copy;
}

/* Pillow mixes colours weighted by their alpha. */
static void run_step(struct resize *plan, struct picture *from, struct picture *to) {
    to->channels = from->channels;
    if (from->channels == 4) picture_multiply_alpha(from);
    resize_run(plan, from->pixels, from->stride, to->pixels, to->stride);
    if (to->channels == 4) picture_divide_alpha(to);
}

enum status frame_resize(struct frame_resizer *resizer, const struct picture *picture,
                         const struct picture **result, struct error *err) {
    const struct frame_steps *steps = &resizer->steps;
    if ((picture->channels != resizer->channels || picture->palette != resizer->palette) &&
        make_plans(resizer, picture, err)) {
        free_plans(resizer);
        return STATUS_FAILED;
    }
    struct picture rgb = *picture; /* borrows the pixels, which no step changes in RGB */
    struct picture *now = picture->channels == 4 ? copy_source(resizer, picture) : &rgb;
    if (steps->white) picture_drop_alpha(now, true);
    for (int i = 0; i < steps->count; i++) {
        if (!steps->steps[i].own_colours) picture_drop_alpha(now, false);
        run_step(resizer->plans[i], now, &resizer->buffers[i]);
        now = &resizer->buffers[i];
    }
    picture_drop_alpha(now, false);
    *result = now == &rgb ? picture : now;
    return STATUS_OK;
}
