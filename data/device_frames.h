/* Frames kept as bytes for a device that resizes and cuts them itself (model/vision_frames.h), in place of
 * patches. */
#ifndef VS2_DATA_DEVICE_FRAMES_H
#define VS2_DATA_DEVICE_FRAMES_H

#include "data/frame_steps.h"
#include "model/vision_frames.h"

/* Room for `count` frames of steps->from, and the tables of the steps, none of which is RESIZE_NEAREST. NULL
 * with err set when memory is short. vision_frames_free frees it. */
struct vision_frames *device_frames_new(const struct frame_steps *steps, int64_t count,
                                        const struct patch_config *config, struct error *err);

/* Copies an RGB picture of steps->from to place `index`. */
void device_frames_set(struct vision_frames *frames, int64_t index, const struct picture *picture);

#endif
