#include "model/vision_frames.h"

#include <stdlib.h>

void vision_frames_free(struct vision_frames *frames) {
    if (!frames) return;
    for (int64_t i = 0; i < frames->pass_count; i++) {
        free(frames->passes[i].starts);
        free(frames->passes[i].counts);
        free(frames->passes[i].weights);
    }
    free(frames->pixels);
    free(frames);
}

static size_t frame_bytes(const struct vision_frames *frames) {
    return (size_t)frames->height * (size_t)frames->width * FRAME_CHANNELS;
}

size_t vision_frames_pixel_bytes(const struct vision_frames *frames) {
    return (size_t)frames->count * frame_bytes(frames);
}

size_t vision_frames_bytes(const struct vision_frames *frames) {
    size_t bytes = sizeof *frames + vision_frames_pixel_bytes(frames);
    for (int64_t i = 0; i < frames->pass_count; i++) {
        const struct frame_pass *pass = &frames->passes[i];
        bytes += (size_t)pass->outputs * (2 * sizeof(int32_t) + (size_t)pass->taps * sizeof(int32_t));
    }
    return bytes;
}

static struct resize_pass upload_pass(struct arena *arena, const struct frame_pass *pass) {
    return (struct resize_pass){
        .down = pass->down,
        .starts = arena_upload(arena, DTYPE_I32, 1, pass->outputs, pass->starts),
        .counts = arena_upload(arena, DTYPE_I32, 1, pass->outputs, pass->counts),
        .weights = arena_upload(arena, pass->weight_type, pass->outputs, pass->taps, pass->weights),
        .precision = pass->precision,
    };
}

/* The frame after all passes. Between the halves of a resize in f32 it is in f32. */
static struct tensor resize(struct arena *arena, const struct resize_pass *passes, int64_t count,
                            struct tensor frame) {
    for (int64_t i = 0; i < count; i++) {
        const struct resize_pass *pass = &passes[i];
        int64_t outputs = pass->weights.rows;
        bool halfway = pass->weights.dtype == DTYPE_F32 && frame.dtype == DTYPE_U8;
        struct tensor resized =
            arena_tensor(arena, halfway ? DTYPE_F32 : DTYPE_U8, pass->down ? outputs : frame.rows,
                         pass->down ? frame.cols : outputs * FRAME_CHANNELS);
        resize_frame(arena->device, resized, frame, *pass);
        frame = resized;
    }
    return frame;
}

/* The frame of a place in the temporal groups; the last one fills up the last group. */
static int64_t frame_at(const struct vision_frames *frames, int64_t place) {
    int64_t frame = frames->order ? frames->order[place] : place;
    return frame < frames->count ? frame : frames->count - 1;
}

/* Where it lies on the device, or a copy of it. */
static struct tensor frame_on_device(struct arena *arena, const struct vision_frames *frames, int64_t f) {
    size_t offset = (size_t)f * frame_bytes(frames);
    int64_t columns = frames->width * FRAME_CHANNELS;
    if (frames->uploaded)
        return tensor_at((char *)frames->uploaded + offset, DTYPE_U8, frames->height, columns);
    return arena_upload(arena, DTYPE_U8, frames->height, columns, frames->pixels + offset);
}

/* Frame by frame, so that one at a time takes device memory beside the patches. */
static void cut_frames(struct arena *arena, struct tensor to, const struct vision_frames *frames) {
    const struct patch_shape shape = frames->shape;
    struct resize_pass passes[VISION_FRAME_PASSES];
    struct arena_mark mark = arena_mark(arena);
    struct tensor values = arena_upload(arena, DTYPE_F32, FRAME_CHANNELS, 256, frames->values);
    for (int64_t i = 0; i < frames->pass_count; i++) passes[i] = upload_pass(arena, &frames->passes[i]);
    int64_t groups = (frames->count + shape.temporal - 1) / shape.temporal, rows = to.rows / groups;
    for (int64_t place = 0, f; place < groups * shape.temporal;) {
        struct arena_mark before = arena_mark(arena);
        f = frame_at(frames, place);
        struct tensor frame = resize(arena, passes, frames->pass_count, frame_on_device(arena, frames, f));
        for (; place < groups * shape.temporal && frame_at(frames, place) == f; place++)
            cut_patches(arena->device, tensor_rows(to, place / shape.temporal * rows, rows), frame, values,
                        shape, place % shape.temporal);
        arena_release(arena, before);
    }
    arena_release(arena, mark);
}

void vision_write_patches(struct arena *arena, struct tensor to, const float *patches,
                          const struct vision_frames *frames) {
    if (patches)
        device_write(arena->device, to, patches);
    else
        cut_frames(arena, to, frames);
}
