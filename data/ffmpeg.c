#include "data/ffmpeg.h"

#include <errno.h>
#include <libavutil/pixdesc.h>
#include <pthread.h>
#include <stdbool.h>
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
    if (!opened) return error_no_memory(err, "%s: out of memory for a decoder", path);
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

void ffmpeg_scaler_free(struct ffmpeg_scaler *scaler) {
    sws_freeContext(scaler->to_rgb);
    sws_freeContext(scaler->to_tall);
    av_frame_free(&scaler->tall);
}

/* Older swscales take the nearer chroma row instead of mixing two, in formats for which they have no own way
 * to RGB. A step over 16 bits with chroma as high as the picture gives what the newer ones do. */
static bool needs_tall(enum AVPixelFormat format) {
    const AVPixFmtDescriptor *description = av_pix_fmt_desc_get(format);
    if (!description || description->log2_chroma_h == 0 || description->flags & AV_PIX_FMT_FLAG_RGB)
        return false;
    bool own_way = format == AV_PIX_FMT_YUV420P || format == AV_PIX_FMT_YUVA420P ||
                   format == AV_PIX_FMT_NV12 || format == AV_PIX_FMT_NV21;
    bool full_range = format == AV_PIX_FMT_YUVJ420P || format == AV_PIX_FMT_YUVJ440P;
    return !own_way && !full_range;
}

static struct SwsContext *same_size(struct SwsContext *old, const AVFrame *frame, enum AVPixelFormat to) {
    return sws_getCachedContext(old, frame->width, frame->height, frame->format, frame->width, frame->height,
                                to, SWS_BILINEAR, NULL, NULL, NULL);
}

/* The frame with tall chroma, kept in the scaler; NULL when it cannot be had. */
static const AVFrame *make_tall(struct ffmpeg_scaler *scaler, const AVFrame *frame) {
    scaler->to_tall = same_size(scaler->to_tall, frame, AV_PIX_FMT_YUV422P16);
    if (!scaler->to_tall) return NULL;
    if (!scaler->tall) {
        scaler->tall = av_frame_alloc();
        if (!scaler->tall) return NULL;
        scaler->tall->width = frame->width;
        scaler->tall->height = frame->height;
        scaler->tall->format = AV_PIX_FMT_YUV422P16;
        if (av_frame_get_buffer(scaler->tall, 0) < 0) return NULL;
    }
    int rows = sws_scale(scaler->to_tall, (const uint8_t *const *)frame->data, frame->linesize, 0,
                         frame->height, scaler->tall->data, scaler->tall->linesize);
    return rows == frame->height ? scaler->tall : NULL;
}

enum status ffmpeg_picture(const char *path, struct ffmpeg_scaler *scaler, const AVFrame *frame, int channels,
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
    if (channels == 3 && needs_tall(frame->format)) frame = make_tall(scaler, frame);
    if (frame)
        scaler->to_rgb = same_size(scaler->to_rgb, frame, channels == 4 ? AV_PIX_FMT_RGBA : AV_PIX_FMT_RGB24);
    if (!frame || !scaler->to_rgb) return error_set(err, "%s: its pixel format cannot be converted", path);
    uint8_t *planes[4] = {picture->pixels};
    int strides[4] = {(int)picture->stride};
    int rows = sws_scale(scaler->to_rgb, (const uint8_t *const *)frame->data, frame->linesize, 0,
                         frame->height, planes, strides);
    return rows == frame->height ? STATUS_OK : error_set(err, "%s: a frame cannot be converted", path);
}
