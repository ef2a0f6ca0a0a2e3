/* From the path of a video or picture to what the vision tower takes: frames chosen, decoded, resized and cut
 * to patches as one of the published pipelines does it.
 *
 *     struct visual_options options = visual_options_default(visual_policy_find("llamafactory"));
 *     options.max_frames = 8;
 *     struct visual visual;
 *     if (visual_read_video("clip.mp4", &options, &visual, err)) return STATUS_FAILED;
 *     ... visual.patches, visual.grid ...
 *     visual_free(&visual);
 */
#ifndef VS2_DATA_VISUAL_H
#define VS2_DATA_VISUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/patches.h"
#include "model/vision_frames.h"

/* A published way to choose and size frames: "llamafactory" (SFT) or "qwen" (qwen-vl-utils as Video-R1
 * ships it). */
struct visual_policy;
const struct visual_policy *visual_policy_find(const char *name); /* NULL: there is none of that name */
extern const char *const visual_policy_names[];                   /* ends with NULL */

struct visual_options {
    const struct visual_policy *policy;
    double fps;         /* frames a second of video, > 0 */
    int64_t min_frames; /* qwen only: 4 */
    int64_t max_frames; /* at least 1 */
    /* Pixels of a video's frame before the processor's own resize. llamafactory: a frame over max_pixels
     * shrinks, one under min_pixels grows. qwen: the limit is max(min(budget_pixels, total_pixels / frames *
     * 2), int(min_pixels * 1.05)), and max_pixels, when > 0, lowers it. */
    double min_pixels, max_pixels, budget_pixels, total_pixels;
    double image_min_pixels, image_max_pixels; /* the same for still pictures */
    struct patch_config processor;             /* patch_config_read gives a checkpoint's own */
    int threads;                               /* of one decoder; 0: as many as there are cores */
    bool keep_rotation;                        /* frames as stored, as the references have them */
    bool frames; /* visual.frames is wanted in place of patches: for a device with memory of its own */
    bool stated_frames_only; /* llamafactory: where the container does not count its frames take the first
                                max_frames, as LLaMA-Factory does, rather than counting them */
};

/* The policy's published values: llamafactory fps 2, at most 10 frames of 691200 pixels, pictures of 262144;
 * qwen fps 2, 4 to 16 frames of 100352 pixels, pictures of 200704. */
struct visual_options visual_options_default(const struct visual_policy *policy);

struct visual {
    float *patches;                   /* [rows, columns]; NULL after visual_measure_video */
    struct vision_frames *frames;     /* what patches are made of, where the options want frames; else NULL */
    int64_t rows;                     /* grid[0] * grid[1] * grid[2] */
    int64_t columns;                  /* 1176 */
    int64_t grid[3];                  /* time, height, width in patches */
    int64_t tokens;                   /* rows / merge^2: pads in the prompt */
    double second_per_grid;           /* seconds of a temporal patch; 1 for a still picture */
    double inference_second_per_grid; /* what the policy's published inference takes for it */
    double sample_fps;                /* frames taken a second */
    int64_t *indices;                 /* frames of the video, before an odd last one is doubled */
    int64_t index_count;
    int64_t source_frames; /* of the whole video */
    double source_duration, source_rate;
    struct size source_size; /* of a frame, upright */
};

/* A video file, an animation, or a folder of pictures. Errors begin with the path. */
enum status visual_read_video(const char *path, const struct visual_options *options, struct visual *visual,
                              struct error *err);

/* All but the patches, without decoding. For the rare file whose header or packets miscount its frames it
 * may differ from what visual_read_video finds. */
enum status visual_measure_video(const char *path, const struct visual_options *options,
                                 struct visual *visual, struct error *err);

/* A still picture: one frame, repeated to fill its temporal patch. */
enum status visual_read_image(const char *path, const struct visual_options *options, struct visual *visual,
                              struct error *err);

void visual_free(struct visual *visual);

/* Frees the patches and frames alone. */
void visual_drop_patches(struct visual *visual);

/* Bytes that the visual holds. */
size_t visual_bytes(const struct visual *visual);

#endif
