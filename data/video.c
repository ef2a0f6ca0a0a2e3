#include "data/video.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/video_source.h"

static const struct video_source *const sources[] = {
    [VIDEO_FILE] = &video_file_source,
    [VIDEO_ANIMATION] = &video_animation_source,
    [VIDEO_FOLDER] = &video_folder_source,
};

struct video {
    void *state;
    struct video_info info;
};

static bool is_webp(const char *path) {
    char head[12];
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return false;
    ssize_t length = read(file, head, sizeof head);
    close(file);
    return length == sizeof head && !memcmp(head, "RIFF", 4) && !memcmp(head + 8, "WEBP", 4);
}

static enum status find_kind(const char *path, enum video_kind *kind, struct error *err) {
    struct stat file;
    if (stat(path, &file)) return error_set(err, "%s: %s", path, strerror(errno));
    *kind = S_ISDIR(file.st_mode) ? VIDEO_FOLDER : is_webp(path) ? VIDEO_ANIMATION : VIDEO_FILE;
    return STATUS_OK;
}

enum status video_open(const char *path, const struct video_options *options, struct video **video,
                       struct error *err) {
    enum video_kind kind = VIDEO_FILE;
    if (find_kind(path, &kind, err)) return STATUS_FAILED;
    struct video *opened = memory_new(1, sizeof *opened, "a video", err);
    if (!opened) return STATUS_FAILED;
    opened->info.kind = kind;
    if (sources[kind]->open(path, options, &opened->state, &opened->info, err)) {
        free(opened);
        return STATUS_FAILED;
    }
    *video = opened;
    return STATUS_OK;
}

void video_close(struct video *video) {
    if (!video) return;
    sources[video->info.kind]->close(video->state);
    free(video);
}

const struct video_info *video_info(const struct video *video) {
    return &video->info;
}

enum status video_decode(struct video *video, const int64_t *indices, int64_t count, video_sink *sink,
                         void *context, int64_t *frames, struct error *err) {
    int64_t ignored;
    if (!frames) frames = &ignored;
    *frames = 0;
    return sources[video->info.kind]->decode(video->state, indices, count, sink, context, frames, err);
}
