/* Which frames of a video are looked at. */
#ifndef VS2_DATA_FRAMES_H
#define VS2_DATA_FRAMES_H

#include <stdint.h>

#include "base/error.h"

/* What is known of the video. */
struct frames_source {
    int64_t total;   /* frames, at least 1 */
    double duration; /* seconds */
    double rate;     /* average frames a second */
};

/* What the user wants. */
struct frames_wish {
    double fps;         /* frames wanted a second, > 0 */
    int64_t min_frames; /* `qwen` only */
    int64_t max_frames; /* at least 1 */
};

enum { FRAMES_MAX = 1 << 16 }; /* frames taken of one video at most */

/* How many frames the policy takes, and then which: `indices` receives that many, ascending, each in
 * [0, total). An odd number stays odd: the frame that makes the last pair whole is a copy, not an index. */

/* LLaMA-Factory: min(total, max_frames, max(1, floor(duration * fps))) frames at numpy's float64
 * linspace(0, total - 1), cut to whole numbers. */
int64_t frames_llamafactory_count(const struct frames_source *source, const struct frames_wish *wish);
void frames_llamafactory(int64_t total, int64_t count, int64_t *indices);

/* qwen-vl-utils: total / rate * fps, held in [min_frames, max_frames] (made even, inwards) and under total,
 * floored to an even number, at torch's float32 linspace(0, total - 1) rounded half to even. 0 when fewer
 * than 2 frames come out, which that library refuses. */
int64_t frames_qwen_count(const struct frames_source *source, const struct frames_wish *wish);
void frames_qwen(int64_t total, int64_t count, int64_t *indices);

#endif
