/* Frames of a visual on their way to a device with memory of its own: the bytes, a tenth of what the patches
 * take, and what the device has yet to do with them. data/visual.h makes them. */
#ifndef VS2_MODEL_VISION_FRAMES_H
#define VS2_MODEL_VISION_FRAMES_H

#include "tensor/arena.h"
#include "tensor/ops.h"

enum { VISION_FRAME_PASSES = 16 }; /* at most: two for each of a frame's resizes */

/* One half of a resize: the tables of a resize_pass on the host. */
struct frame_pass {
    bool down;
    int64_t outputs, taps;
    int32_t *starts, *counts; /* [outputs] */
    void *weights;            /* [outputs, taps] of weight_type */
    enum dtype weight_type;   /* DTYPE_I32 or DTYPE_F32 */
    int precision;
};

struct vision_frames {
    int64_t count, height, width;
    uint8_t *pixels; /* [count, height, width * FRAME_CHANNELS] */
    /* [count, rounded up to whole temporal groups]: which frame each place has, the last one also where it is
     * one more than there are; NULL: they stay as they are. Not owned: copies of the struct that differ in it
     * alone share the rest. */
    const int64_t *order;
    void
        *uploaded; /* the pixels in device memory (tensor/ahead.h); NULL: they are not there yet. Not owned */
    struct frame_pass passes[VISION_FRAME_PASSES];
    int64_t pass_count;
    struct patch_shape shape;
    float values[FRAME_CHANNELS][256]; /* of patches, for each byte and channel */
};

size_t vision_frames_pixel_bytes(const struct vision_frames *frames);

void vision_frames_free(struct vision_frames *frames); /* the struct too; may be NULL */

/* Bytes of host memory that the frames hold. */
size_t vision_frames_bytes(const struct vision_frames *frames);

/* to = the patches of one visual, in the processor's order: `patches` of the host or, where that is NULL,
 * what the device makes of the frames; the last one fills its temporal group. to: f32 [patches, columns]. The
 * host memory has been read on return. What else it takes of the arena it gives back. */
void vision_write_patches(struct arena *arena, struct tensor to, const float *patches,
                          const struct vision_frames *frames);

#endif
