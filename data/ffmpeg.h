/* What videos and pictures share of FFmpeg: opening untrusted files, messages, frames to pictures. */
#ifndef VS2_DATA_FFMPEG_H
#define VS2_DATA_FFMPEG_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>

#include "base/error.h"
#include "data/picture.h"

/* Opens the file and finds its streams. Only formats that hold pictures are tried, and only this file is
 * read, whatever it refers to. Errors begin with the path. */
enum status ffmpeg_open(const char *path, AVFormatContext **format, struct error *err);

/* The first video stream that is no cover picture, the others being discarded; NULL with err set. */
AVStream *ffmpeg_video_stream(const char *path, AVFormatContext *format, struct error *err);

/* A decoder for the stream. */
enum status ffmpeg_decoder(const char *path, const AVStream *stream, int threads, AVCodecContext **decoder,
                           struct error *err);

/* Sets "PATH: WHAT: the library's words for the code" and returns STATUS_FAILED. */
enum status ffmpeg_error(const char *path, const char *what, int code, struct error *err);

/* Converts frames to RGB; zeroed at first. */
struct ffmpeg_scaler {
    struct SwsContext *to_rgb;
    struct SwsContext *to_tall; /* makes chroma as high as the picture first, where that is needed */
    AVFrame *tall;
};
void ffmpeg_scaler_free(struct ffmpeg_scaler *scaler);

/* Converts as PyAV does: swscale, bilinear, its default matrix. `channels` 3 drops alpha, 4 keeps it. The
 * picture is made when it has no pixels, else it must have the frame's size. */
enum status ffmpeg_picture(const char *path, struct ffmpeg_scaler *scaler, const AVFrame *frame, int channels,
                           struct picture *picture, struct error *err);

#endif
