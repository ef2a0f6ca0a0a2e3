#include "data/ffmpeg.h"

#include <errno.h>
#include <libavutil/imgutils.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"

/* Formats that hold a video or picture in one file; none of them names other files. */
static const char format_list[] =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,flv,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,"
    "ogg,asf,rm,mxf,nut,dv,wtv,vc1,mjpeg,yuv4mpegpipe,bmp_pipe,jpeg_pipe,jpegls_pipe,j2k_pipe,png_pipe,"
    "ppm_pipe,pgm_pipe,pbm_pipe,pam_pipe,tiff_pipe,webp_pipe,gif_pipe,mp3,wav,flac,aac";

static void be_quiet(void) {
    av_log_set_level(AV_LOG_QUIET);
}

enum status ffmpeg_error(const char *path, const char *what, int code, struct error *err) {
    char words[AV_ERROR_MAX_STRING_SIZE] = "unknown error";
    av_strerror(code, words, sizeof words);
    return error_set(err, "%s: %s: %s", path, what, words);
}

static enum status check_file(const char *path, struct error *err) {
    struct stat file;
    if (stat(path, &file)) return error_set(err, "%s: %s", path, strerror(errno));
    if (!S_ISREG(file.st_mode)) return error_set(err, "%s: not a file", path);
    if (file.st_size == 0) return error_set(err, "%s: the file is empty", path);
    return STATUS_OK;
}

enum status ffmpeg_open(const char *path, AVFormatContext **format, struct error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* its messages would mix with ours */
    pthread_once(&once, be_quiet);
    if (check_file(path, err)) return STATUS_FAILED;

    struct text text = {0};
    text_format(&text, "file:%s", path);
    char *url = text_take(&text, "a file name", err);
    if (!url) return STATUS_FAILED;
    AVFormatContext *opened = NULL;
    AVDictionary *options = NULL;
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    av_dict_set(&options, "format_whitelist", format_list, 0);
    int code = avformat_open_input(&opened, url, NULL, &options);
    av_dict_free(&options);
    free(url);
    if (code < 0) return ffmpeg_error(path, "cannot be opened as a video", code, err);

    code = avformat_find_stream_info(opened, NULL);
    if (code < 0) {
        avformat_close_input(&opened);
        return ffmpeg_error(path, "its streams cannot be read", code, err);
    }
    *format = opened;
    return STATUS_OK;
}

AVStream *ffmpeg_video_stream(const char *path, AVFormatContext *format, struct error *err) {
    AVStream *found = NULL;
    for (unsigned i = 0; i < format->nb_streams; i++) {
        AVStream *stream = format->streams[i];
        if (!found && stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
            !(stream->disposition & AV_DISPOSITION_ATTACHED_PIC))
            found = stream;
        else
            stream->discard = AVDISCARD_ALL;
    }
    if (!found) error_set(err, "%s: there is no video stream in it", path);
    return found;
}

enum status ffmpeg_decoder(const char *path, const AVStream *stream, int threads, AVCodecContext **decoder,
                           struct error *err) {
    const AVCodec *codec = avcodec_find_decoder(stream->codecpar->codec_id);
    if (!codec)
        return error_set(err, "%s: no decoder for %s", path, avcodec_get_name(stream->codecpar->codec_id));
    AVCodecContext *opened = avcodec_alloc_context3(codec);
    if (!opened) return error_set(err, "%s: out of memory for a decoder", path);
    opened->max_pixels = SIZE_MAX_AREA;
    opened->thread_count = threads;
    opened->pkt_timebase = stream->time_base;
    int code = avcodec_parameters_to_context(opened, stream->codecpar);
    if (code >= 0) code = avcodec_open2(opened, codec, NULL);
    if (code < 0) {
        avcodec_free_context(&opened);
        return ffmpeg_error(path, "its decoder cannot be opened", code, err);
    }
    *decoder = opened;
    return STATUS_OK;
}

enum status ffmpeg_picture(const char *path, struct SwsContext **scaler, const AVFrame *frame, int channels,
                           struct picture *picture, struct error *err) {
    struct size size = {.width = frame->width, .height = frame->height};
    if (picture->pixels) {
        if (size.width != picture->size.width || size.height != picture->size.height)
            return error_set(err, "%s: the size of its frames changes", path);
    } else if (picture_new(size, channels, picture, err)) {
        error_prefix(err, "%s", path);
        return STATUS_FAILED;
    }
    picture->palette = frame->format == AV_PIX_FMT_PAL8;
    *scaler = sws_getCachedContext(*scaler, frame->width, frame->height, frame->format, frame->width,
                                   frame->height, channels == 4 ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24,
                                   SWS_BILINEAR, NULL, NULL, NULL);
    if (!*scaler) return error_set(err, "%s: its pixel format cannot be converted", path);
    uint8_t *planes[4] = {picture->pixels};
    int strides[4] = {(int)picture->stride};
    int rows = sws_scale(*scaler, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height,
                         planes, strides);
    return rows == frame->height ? STATUS_OK : error_set(err, "%s: a frame cannot be converted", path);
}
