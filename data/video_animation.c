/* WebP, animated or still, through libwebpdemux: FFmpeg 5 knows no animations. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <webp/demux.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/video_source.h"

struct animation {
    char *path;
    struct file_map file;
    int threads;
};

static void close_animation(void *state) {
    struct animation *animation = state;
    file_unmap(&animation->file);
    free(animation->path);
    free(animation);
}

static WebPAnimDecoder *open_decoder(const struct animation *animation, struct error *err) {
    WebPAnimDecoderOptions options;
    WebPData data = {.bytes = animation->file.data, .size = animation->file.size};
    WebPAnimDecoder *decoder = NULL;
    if (WebPAnimDecoderOptionsInit(&options)) {
        options.color_mode = MODE_RGBA;
        options.use_threads = animation->threads != 1;
        decoder = WebPAnimDecoderNew(&data, &options);
    }
    if (!decoder) error_set(err, "%s: damaged, or not a WebP file", animation->path);
    return decoder;
}

/* The canvas is checked from the header alone: the decoder allocates it. */
static enum status check_canvas(const struct animation *animation, struct video_info *info,
                                struct error *err) {
    WebPData data = {.bytes = animation->file.data, .size = animation->file.size};
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (!demuxer) return error_set(err, "%s: damaged or cut short, or not a WebP file", animation->path);
    info->size = (struct size){.width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH),
                               .height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT)};
    info->frames = WebPDemuxGetI(demuxer, WEBP_FF_FRAME_COUNT);
    int64_t milliseconds = 0;
    WebPIterator frame;
    if (WebPDemuxGetFrame(demuxer, 1, &frame)) {
        do milliseconds += frame.duration;
        while (WebPDemuxNextFrame(&frame));
        WebPDemuxReleaseIterator(&frame);
    }
    WebPDemuxDelete(demuxer);
    if (info->frames < 1) return error_set(err, "%s: there are no frames in it", animation->path);
    if (size_check(info->size, err)) {
        error_prefix(err, "%s", animation->path);
        return STATUS_FAILED;
    }
    info->stated_frames = info->frames;
    info->stated_duration = (double)milliseconds / 1000.0;
    info->rate = milliseconds > 0 ? (double)info->frames / info->stated_duration : 25.0;
    info->duration = (double)info->frames / info->rate;
    return STATUS_OK;
}

static enum status open_animation(const char *path, const struct video_options *options, void **state,
                                  struct video_info *info, struct error *err) {
    struct animation *animation = memory_new(1, sizeof *animation, "a video", err);
    if (!animation) return STATUS_FAILED;
    animation->threads = options->threads;
    animation->path = memory_text(path, strlen(path), "a file name", err);
    if (!animation->path || file_map(path, &animation->file, err) || check_canvas(animation, info, err)) {
        close_animation(animation);
        return STATUS_FAILED;
    }
    *state = animation;
    return STATUS_OK;
}

/* The decoder's canvas, RGBA, as a picture without alpha. */
static enum status give(const struct animation *animation, const uint8_t *canvas, struct size size,
                        int64_t index, video_sink *sink, void *context, struct error *err) {
    struct picture picture;
    if (picture_new(size, 4, &picture, err)) {
        error_prefix(err, "%s", animation->path);
        return STATUS_FAILED;
    }
    size_t row = (size_t)size.width * 4;
    for (int64_t y = 0; y < size.height; y++)
        memcpy(picture.pixels + (size_t)y * picture.stride, canvas + (size_t)y * row, row);
    picture_drop_alpha(&picture, false);
    enum status status = sink(context, index, &picture, err);
    picture_free(&picture);
    return status;
}

static enum status decode_animation(void *state, const int64_t *indices, int64_t count, video_sink *sink,
                                    void *context, int64_t *frames, struct error *err) {
    const struct animation *animation = state;
    WebPAnimDecoder *decoder = open_decoder(animation, err);
    if (!decoder) return STATUS_FAILED;
    WebPAnimInfo info;
    enum status status = STATUS_OK;
    int64_t next = 0;
    if (!WebPAnimDecoderGetInfo(decoder, &info)) status = error_set(err, "%s: damaged", animation->path);
    for (int64_t index = 0; !status && next < count; index++) {
        uint8_t *canvas;
        int timestamp;
        if (!WebPAnimDecoderHasMoreFrames(decoder)) {
            *frames = index;
            break;
        }
        if (!WebPAnimDecoderGetNext(decoder, &canvas, &timestamp)) {
            status = error_set(err, "%s: frame %" PRId64 ": damaged", animation->path, index);
        } else if (index == indices[next]) {
            struct size size = {.width = info.canvas_width, .height = info.canvas_height};
            status = give(animation, canvas, size, index, sink, context, err);
            while (next < count && indices[next] == index) next++;
        }
    }
    WebPAnimDecoderDelete(decoder);
    return status;
}

const struct video_source video_animation_source = {
    .open = open_animation, .decode = decode_animation, .close = close_animation};
