/* Still pictures: JPEG through libjpeg, WebP through libwebp, as Pillow does; the rest through FFmpeg. */
#include <errno.h>
#include <libavutil/pixdesc.h>
#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which needs it */

#include <jpeglib.h>
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>

#include "base/file.h"
#include "data/ffmpeg.h"
#include "data/video.h"

/* ---- JPEG ---- */

struct jpeg_failure {
    struct jpeg_error_mgr manager; /* first: libjpeg hands out a pointer to it */
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
};

static void jpeg_fail(j_common_ptr decoder) {
    struct jpeg_failure *failure = (struct jpeg_failure *)(void *)decoder->err;
    failure->manager.format_message(decoder, failure->message);
    longjmp(failure->back, 1);
}

/* A warning means damaged data, which libjpeg would fill with grey. */
static void jpeg_warn(j_common_ptr decoder, int level) {
    if (level < 0) jpeg_fail(decoder);
}

static enum status start_jpeg(struct jpeg_decompress_struct *decoder, const struct file_map *file,
                              struct picture *picture, struct error *err) {
    jpeg_mem_src(decoder, file->data, file->size);
    jpeg_read_header(decoder, TRUE);
    if (decoder->num_components == 4) return error_set(err, "CMYK pictures are not supported");
    decoder->out_color_space = JCS_RGB;
    struct size size = {.width = decoder->image_width, .height = decoder->image_height};
    return picture_new(size, 3, picture, err);
}

static enum status read_jpeg(const struct file_map *file, struct picture *picture, struct error *err) {
    struct jpeg_decompress_struct decoder = {0};
    struct jpeg_failure failure = {0};
    decoder.err = jpeg_std_error(&failure.manager);
    failure.manager.error_exit = jpeg_fail;
    failure.manager.emit_message = jpeg_warn;
    if (setjmp(failure.back)) {
        jpeg_destroy_decompress(&decoder);
        picture_free(picture);
        return error_set(err, "%s", failure.message);
    }
    jpeg_create_decompress(&decoder);
    enum status status = start_jpeg(&decoder, file, picture, err);
    if (!status) {
        jpeg_start_decompress(&decoder);
        while (decoder.output_scanline < decoder.output_height) {
            JSAMPROW row = picture->pixels + (size_t)decoder.output_scanline * picture->stride;
            jpeg_read_scanlines(&decoder, &row, 1);
        }
        jpeg_finish_decompress(&decoder);
    }
    jpeg_destroy_decompress(&decoder);
    return status;
}

/* ---- WebP ---- */

static enum status read_webp(const struct file_map *file, struct picture *picture, struct error *err) {
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(file->data, file->size, &features) != VP8_STATUS_OK)
        return error_set(err, "damaged, or not a WebP file");
    if (features.has_animation) return error_set(err, "an animation, not a still picture");
    struct size size = {.width = features.width, .height = features.height};
    if (picture_new(size, features.has_alpha ? 4 : 3, picture, err)) return STATUS_FAILED;
    size_t bytes = picture->stride * (size_t)size.height;
    const uint8_t *made =
        features.has_alpha
            ? WebPDecodeRGBAInto(file->data, file->size, picture->pixels, bytes, (int)picture->stride)
            : WebPDecodeRGBInto(file->data, file->size, picture->pixels, bytes, (int)picture->stride);
    if (made) return STATUS_OK;
    picture_free(picture);
    return error_set(err, "damaged or cut short");
}

/* ---- the rest ---- */

static bool keeps_alpha(enum AVPixelFormat format) {
    const AVPixFmtDescriptor *description = av_pix_fmt_desc_get(format);
    return description && description->flags & AV_PIX_FMT_FLAG_ALPHA && format != AV_PIX_FMT_PAL8;
}

/* The first frame. */
static enum status decode_first(const char *path, AVFormatContext *format, AVCodecContext *decoder,
                                const AVStream *stream, struct picture *picture, struct error *err) {
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    struct ffmpeg_scaler scaler = {0};
    int code = packet && frame ? AVERROR(EAGAIN) : AVERROR(ENOMEM);
    while (code == AVERROR(EAGAIN)) {
        code = av_read_frame(format, packet);
        if (code >= 0 && packet->stream_index != stream->index)
            code = AVERROR(EAGAIN);
        else if (code >= 0 || code == AVERROR_EOF)
            code = avcodec_send_packet(decoder, code < 0 ? NULL : packet);
        if (code >= 0) code = avcodec_receive_frame(decoder, frame);
        if (packet) av_packet_unref(packet);
    }
    enum status status = STATUS_OK;
    if (code < 0)
        status = ffmpeg_error(path, "damaged or cut short", code, err);
    else
        status = ffmpeg_picture(path, &scaler, frame, keeps_alpha(frame->format) ? 4 : 3, picture, err);
    ffmpeg_scaler_free(&scaler);
    av_frame_free(&frame);
    av_packet_free(&packet);
    return status;
}

static enum status read_other(const char *path, struct picture *picture, struct error *err) {
    AVFormatContext *format = NULL;
    AVCodecContext *decoder = NULL;
    if (ffmpeg_open(path, &format, err)) return STATUS_FAILED;
    const AVStream *stream = ffmpeg_video_stream(path, format, err);
    enum status status = STATUS_FAILED;
    if (stream && !ffmpeg_decoder(path, stream, 1, &decoder, err))
        status = decode_first(path, format, decoder, stream, picture, err);
    avcodec_free_context(&decoder);
    avformat_close_input(&format);
    return status;
}

enum status picture_read(const char *path, struct picture *picture, struct error *err) {
    *picture = (struct picture){0};
    struct file_map file;
    if (file_map(path, &file, err)) return STATUS_FAILED;
    enum status status;
    if (file.size >= 3 && !memcmp(file.data, "\xff\xd8\xff", 3)) {
        status = read_jpeg(&file, picture, err);
        if (status) error_prefix(err, "%s", path);
    } else if (file.size >= 12 && !memcmp(file.data, "RIFF", 4) && !memcmp(file.data + 8, "WEBP", 4)) {
        status = read_webp(&file, picture, err);
        if (status) error_prefix(err, "%s", path);
    } else {
        status = read_other(path, picture, err);
    }
    file_unmap(&file);
    return status;
}
