#include "data/frames.h"

#include <math.h>

int64_t frames_llamafactory_count(const struct frames_source *source, const struct frames_wish *wish) {
    double wanted = fmax(1.0, floor(source->duration * wish->fps));
    int64_t most = source->total < wish->max_frames ? source->total : wish->max_frames;
    if (most > FRAMES_MAX) most = FRAMES_MAX;
    return wanted < (double)most ? (int64_t)wanted : most;
}

/* numpy.linspace: i * step, the last one exact. */
void frames_llamafactory(int64_t total, int64_t count, int64_t *indices) {
    if (count < 1) return;
    double last = (double)(total - 1);
    double step = count > 1 ? last / (double)(count - 1) : 0.0;
    for (int64_t i = 0; i < count; i++) indices[i] = (int64_t)((double)i * step);
    if (count > 1) indices[count - 1] = total - 1;
}

int64_t frames_qwen_count(const struct frames_source *source, const struct frames_wish *wish) {
    double low = (double)(wish->min_frames + wish->min_frames % 2);
    double high = (double)(wish->max_frames - wish->max_frames % 2);
    double count = (double)source->total / source->rate * wish->fps;
    count = fmin(fmin(fmax(count, low), high), (double)source->total);
    int64_t even = (int64_t)floor(count / 2) * 2;
    return even > FRAMES_MAX ? FRAMES_MAX : even;
}

/* torch.linspace in float32: from the start in the first half, from the end in the second, each point one
 * fused multiply-add. */
void frames_qwen(int64_t total, int64_t count, int64_t *indices) {
    if (count < 2) return;
    float last = (float)(total - 1);
    float step = last / (float)(count - 1);
    for (int64_t i = 0; i < count; i++) {
        float place = i < count / 2 ? step * (float)i : fmaf(-step, (float)(count - 1 - i), last);
        int64_t index = (int64_t)rintf(place);
        indices[i] = index < total ? index : total - 1; /* float32 rounds huge totals up */
    }
}
