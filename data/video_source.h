/* What a kind of video must be able to do. Private to the video files. */
#ifndef VS2_DATA_VIDEO_SOURCE_H
#define VS2_DATA_VIDEO_SOURCE_H

#include "data/video.h"

/* As in video.h, for one kind; `state` is the kind's own. */
struct video_source {
    enum status (*open)(const char *path, const struct video_options *options, void **state,
                        struct video_info *info, struct error *err);
    enum status (*decode)(void *state, const int64_t *indices, int64_t count, video_sink *sink, void *context,
                          int64_t *frames, struct error *err);
    void (*close)(void *state);
};

extern const struct video_source video_file_source;
extern const struct video_source video_animation_source;
extern const struct video_source video_folder_source;

#endif
