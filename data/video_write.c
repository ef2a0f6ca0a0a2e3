#include "data/video_write.h"

#include <errno.h>
#include <libavutil/opt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/ffmpeg.h"

struct video_writer {
    char *path, *temporary;
    AVFormatContext *format;
    AVCodecContext *encoder;
    AVStream *stream;
    AVFrame *frame;
    AVPacket *packet;
    struct SwsContext *scaler;
    int64_t frames;
};

static enum status open_encoder(struct video_writer *writer, int width, int height, int fps,
                                struct error *err) {
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    if (!codec) codec = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    if (!codec)
        return error_set(err, "%s: these FFmpeg libraries encode neither H.264 nor MPEG-4", writer->path);
    AVCodecContext *encoder = writer->encoder = avcodec_alloc_context3(codec);
    if (!encoder) return error_set(err, "out of memory for the encoder of %s", writer->path);
    encoder->width = width;
    encoder->height = height;
    encoder->pix_fmt = AV_PIX_FMT_YUV420P;
    encoder->time_base = (AVRational){1, fps};
    encoder->framerate = (AVRational){fps, 1};
    encoder->gop_size = fps;
    encoder->log_level_offset = AV_LOG_INFO - AV_LOG_ERROR; /* x264 reports its settings and statistics */
    encoder->thread_count = 1;                              /* the same bytes on every machine */
    encoder->flags |= AV_CODEC_FLAG_BITEXACT;
    if (codec->id == AV_CODEC_ID_MPEG4) {
        encoder->flags |= AV_CODEC_FLAG_QSCALE;
        encoder->global_quality = 3 * FF_QP2LAMBDA;
    }
    if (writer->format->oformat->flags & AVFMT_GLOBALHEADER) encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    av_opt_set(encoder->priv_data, "preset", "veryfast", 0); /* x264's; others have no such option */
    av_opt_set(encoder->priv_data, "crf", "20", 0);
    int code = avcodec_open2(encoder, codec, NULL);
    return code < 0 ? ffmpeg_error(writer->path, "cannot open the encoder", code, err) : STATUS_OK;
}

static enum status open_file(struct video_writer *writer, struct error *err) {
    writer->stream = avformat_new_stream(writer->format, NULL);
    if (!writer->stream) return error_set(err, "out of memory for %s", writer->path);
    writer->stream->time_base = writer->encoder->time_base;
    writer->stream->avg_frame_rate = writer->encoder->framerate;
    writer->format->flags |= AVFMT_FLAG_BITEXACT;
    int code = avcodec_parameters_from_context(writer->stream->codecpar, writer->encoder);
    if (code >= 0) code = avio_open(&writer->format->pb, writer->temporary, AVIO_FLAG_WRITE);
    if (code >= 0) code = avformat_write_header(writer->format, NULL);
    return code < 0 ? ffmpeg_error(writer->path, "cannot write", code, err) : STATUS_OK;
}

static enum status make_frame(struct video_writer *writer, struct error *err) {
    const AVCodecContext *encoder = writer->encoder;
    writer->packet = av_packet_alloc();
    writer->frame = av_frame_alloc();
    if (!writer->packet || !writer->frame) return error_set(err, "out of memory for %s", writer->path);
    writer->frame->width = encoder->width;
    writer->frame->height = encoder->height;
    writer->frame->format = encoder->pix_fmt;
    int code = av_frame_get_buffer(writer->frame, 0);
    if (code < 0) return ffmpeg_error(writer->path, "cannot make a frame", code, err);
    writer->scaler =
        sws_getContext(encoder->width, encoder->height, AV_PIX_FMT_RGB24, encoder->width, encoder->height,
                       encoder->pix_fmt, SWS_BILINEAR | SWS_ACCURATE_RND, NULL, NULL, NULL);
    return writer->scaler ? STATUS_OK : error_set(err, "%s: cannot convert colours", writer->path);
}

struct video_writer *video_writer_open(const char *path, int width, int height, int fps, struct error *err) {
    struct text temporary = {0};
    struct video_writer *writer = memory_new(1, sizeof *writer, path, err);
    if (!writer) return NULL;
    writer->path = memory_text(path, strlen(path), path, err);
    if (!writer->path) goto err;
    text_format(&temporary, "%s.tmp-%ld", path, (long)getpid());
    writer->temporary = text_take(&temporary, path, err);
    if (!writer->temporary) goto err;
    if (avformat_alloc_output_context2(&writer->format, NULL, "mp4", writer->temporary) < 0) {
        error_set(err, "%s: these FFmpeg libraries write no MP4", path);
        goto err;
    }
    if (open_encoder(writer, width, height, fps, err) != STATUS_OK || open_file(writer, err) != STATUS_OK ||
        make_frame(writer, err) != STATUS_OK)
        goto err;
    return writer;
err:
    video_writer_abort(writer);
    return NULL;
}

/* Sends a frame (NULL: the end) and writes the packets that are ready. */
static enum status encode(struct video_writer *writer, const AVFrame *frame, struct error *err) {
    int code = avcodec_send_frame(writer->encoder, frame);
    while (code >= 0) {
        code = avcodec_receive_packet(writer->encoder, writer->packet);
        if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return STATUS_OK;
        if (code < 0) break;
        av_packet_rescale_ts(writer->packet, writer->encoder->time_base, writer->stream->time_base);
        writer->packet->stream_index = writer->stream->index;
        code = av_interleaved_write_frame(writer->format, writer->packet);
    }
    return ffmpeg_error(writer->path, "cannot write", code, err);
}

enum status video_writer_frame(struct video_writer *writer, const uint8_t *rgb, struct error *err) {
    const int stride = 3 * writer->encoder->width;
    int code = av_frame_make_writable(writer->frame);
    if (code < 0) return ffmpeg_error(writer->path, "cannot make a frame", code, err);
    sws_scale(writer->scaler, (const uint8_t *const[]){rgb}, (const int[]){stride}, 0,
              writer->encoder->height, writer->frame->data, writer->frame->linesize);
    writer->frame->pts = writer->frames++;
    return encode(writer, writer->frame, err);
}

enum status video_writer_close(struct video_writer *writer, struct error *err) {
    enum status status = encode(writer, NULL, err);
    if (status == STATUS_OK) {
        int code = av_write_trailer(writer->format);
        if (code >= 0) code = avio_closep(&writer->format->pb);
        if (code < 0) status = ffmpeg_error(writer->path, "cannot write", code, err);
    }
    if (status == STATUS_OK && rename(writer->temporary, writer->path) != 0)
        status = error_set(err, "%s: cannot write: %s", writer->path, strerror(errno));
    video_writer_abort(writer);
    return status;
}

void video_writer_abort(struct video_writer *writer) {
    if (!writer) return;
    if (writer->format) avio_closep(&writer->format->pb);
    if (writer->temporary) unlink(writer->temporary); /* no longer there after a close that succeeded */
    avformat_free_context(writer->format);
    avcodec_free_context(&writer->encoder);
    av_frame_free(&writer->frame);
    av_packet_free(&writer->packet);
    sws_freeContext(writer->scaler);
    free(writer->temporary);
    free(writer->path);
    free(writer);
}
