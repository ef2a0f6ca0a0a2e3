/* Videos that FFmpeg reads. All packets are listed first, which gives the number of frames and says which
 * packets can be left out; then only those that the wanted frames need are decoded. Where the list leaves a
 * doubt, and whenever a frame does not come out as the list says, everything is decoded from the start. */
#include <inttypes.h>
#include <libavutil/display.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/activity.h"
#include "base/memory.h"
#include "data/container.h"
#include "data/ffmpeg.h"
#include "data/video_index.h"
#include "data/video_source.h"

struct video_file {
    char *path;
    struct video_options options;
    AVFormatContext *format;
    AVStream *stream;
    struct video_index index;
    int quarters;
    bool mirror;
};

/* One run over the video. */
struct decoding {
    struct video_file *file;
    AVCodecContext *decoder;
    struct ffmpeg_scaler scaler;
    AVPacket *packet;
    AVFrame *frame;
    struct picture picture;
    const int64_t *indices;
    int64_t count;
    int64_t next; /* place in `indices` of the frame that comes next */
    int64_t seen; /* frames that came out, in a run over everything */
    int64_t last_pts;
    bool doubtful; /* the run does not go as the list of packets says */
    bool refused;  /* the sink failed: no use in trying otherwise */
    video_sink *sink;
    void *context;
};

static void close_file(void *state) {
    struct video_file *file = state;
    video_index_free(&file->index);
    avformat_close_input(&file->format);
    free(file->path);
    free(file);
}

/* ---- probing ---- */

/* The stream's next packet, or the library's code. */
static int read_packet(const struct video_file *file, AVPacket *packet) {
    int code;
    while ((code = av_read_frame(file->format, packet)) >= 0 && packet->stream_index != file->stream->index)
        av_packet_unref(packet);
    return code;
}

static enum status list_packets(struct video_file *file, struct error *err) {
    AVPacket *packet = av_packet_alloc();
    if (!packet) return error_no_memory(err, "%s: out of memory", file->path);
    enum status status = STATUS_OK;
    int code = read_packet(file, packet);
    while (!status && code >= 0) {
        status = video_index_add(&file->index, file->stream, packet, err);
        av_packet_unref(packet);
        if (!status) code = read_packet(file, packet);
    }
    if (!status) status = video_index_finish(&file->index, file->stream, err);
    if (status)
        error_prefix(err, "%s", file->path);
    else if (code != AVERROR_EOF)
        status = ffmpeg_error(file->path, "damaged or cut short", code, err);
    av_packet_free(&packet);
    return status;
}

static const int32_t *display_matrix(const AVStream *stream) {
#if LIBAVCODEC_VERSION_MAJOR >= 61
    const AVCodecParameters *codec = stream->codecpar;
    const AVPacketSideData *data =
        av_packet_side_data_get(codec->coded_side_data, codec->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    return data && data->size >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data->data : NULL;
#else
    size_t size;
    const uint8_t *data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    return data && size >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data : NULL;
#endif
}

/* Quarter turns and mirrors; other angles are left as they are. */
static void probe_rotation(struct video_file *file) {
    const int32_t *stored = display_matrix(file->stream);
    if (!stored) return;
    int32_t matrix[9];
    memcpy(matrix, stored, sizeof matrix);
    bool mirror = (double)matrix[0] * matrix[4] - (double)matrix[1] * matrix[3] < 0;
    if (mirror) av_display_matrix_flip(matrix, 1, 0);
    double clockwise = -av_display_rotation_get(matrix);
    if (!isfinite(clockwise)) return;
    double quarters = clockwise / 90.0;
    if (fabs(quarters - rint(quarters)) > 0.01) return;
    /* The matrix mirrors after the turn, picture_turn before it. */
    if (mirror) quarters = -quarters;
    file->quarters = ((int)rint(quarters) % 4 + 4) % 4;
    file->mirror = mirror;
}

/* Seconds from the first frame to the end of the last, by their times; 0 when not all have one. */
static double timed_duration(const struct video_file *file, double rate) {
    const struct video_index *index = &file->index;
    int64_t first = INT64_MAX;
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < index->count; i++) {
        int64_t pts = index->packets[i].pts;
        if (pts == AV_NOPTS_VALUE) return 0.0;
        if (pts < first) first = pts;
        if (pts > last) last = pts;
    }
    double frame = rate > 0 ? 1.0 / rate : 0.0;
    return ((double)last - (double)first) * av_q2d(file->stream->time_base) + frame;
}

static void probe_times(const struct video_file *file, struct video_info *info) {
    const AVStream *stream = file->stream;
    AVRational rate = stream->avg_frame_rate.num > 0 ? stream->avg_frame_rate : stream->r_frame_rate;
    info->rate = rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0.0;
    if (stream->duration != AV_NOPTS_VALUE && stream->duration > 0)
        info->stated_duration =
            (double)stream->duration * stream->time_base.num / (double)stream->time_base.den;
    info->duration = info->stated_duration;
    if (!(info->duration > 0)) info->duration = timed_duration(file, info->rate);
    if (!(info->duration > 0) && info->rate > 0) info->duration = (double)info->frames / info->rate;
    if (!(info->duration > 0)) info->duration = (double)info->frames / 25.0;
    if (!(info->rate > 0)) info->rate = (double)info->frames / info->duration;
}

/* MP4 lists every frame; AVI's header also counts those that were left out. */
static bool counts_all_frames(const AVFormatContext *format) {
    return strstr(format->iformat->name, "mp4") != NULL;
}

static enum status probe(const struct video_file *file, struct video_info *info, struct error *err) {
    const AVStream *stream = file->stream;
    int64_t packets = (int64_t)file->index.count;
    info->stated_frames = stream->nb_frames > 0 ? stream->nb_frames : 0;
    info->frames = file->index.frames;
    if (info->frames < 1) return error_set(err, "%s: there are no frames in it", file->path);
    if (file->index.damaged)
        return error_set(err, "%s: damaged or cut short: one of its %" PRId64 " frames is not whole",
                         file->path, packets);
    if (packets < info->stated_frames && counts_all_frames(file->format))
        return error_set(err, "%s: damaged or cut short: %" PRId64 " of %" PRId64 " frames are there",
                         file->path, packets, info->stated_frames);
    if (packets < info->stated_frames) info->stated_frames = 0;
    probe_times(file, info);
    info->quarters = file->quarters;
    info->size = (struct size){.width = stream->codecpar->width, .height = stream->codecpar->height};
    if (file->quarters % 2)
        info->size = (struct size){.width = info->size.height, .height = info->size.width};
    if (size_check(info->size, err)) {
        error_prefix(err, "%s", file->path);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

static enum status open_stream(struct video_file *file, struct error *err) {
    if (ffmpeg_open(file->path, &file->format, err)) return STATUS_FAILED;
    file->stream = ffmpeg_video_stream(file->path, file->format, err);
    return file->stream ? STATUS_OK : STATUS_FAILED;
}

static enum status open_file(const char *path, const struct video_options *options, void **state,
                             struct video_info *info, struct error *err) {
    struct video_file *file = memory_new(1, sizeof *file, "a video", err);
    if (!file) return STATUS_FAILED;
    file->options = *options;
    file->path = memory_text(path, strlen(path), "a file name", err);
    if (!file->path || open_stream(file, err) || container_check(path, err) || list_packets(file, err))
        goto err;
    if (!options->keep_rotation) probe_rotation(file);
    if (probe(file, info, err)) goto err;
    *state = file;
    return STATUS_OK;
err:
    close_file(file);
    return STATUS_FAILED;
}

/* ---- decoding ---- */

/* Back to the first packet; the file is opened anew where seeking does not lead there. */
static enum status rewind_file(struct video_file *file, AVPacket *packet, struct error *err) {
    const struct video_packet *first = &file->index.packets[0];
    if (avformat_seek_file(file->format, -1, INT64_MIN, 0, 0, 0) >= 0 && read_packet(file, packet) >= 0) {
        if (packet->pts == first->pts && packet->size == first->size) return STATUS_OK;
        av_packet_unref(packet);
    }
    avformat_close_input(&file->format);
    if (open_stream(file, err)) return STATUS_FAILED;
    int code = read_packet(file, packet);
    return code >= 0 ? STATUS_OK : ffmpeg_error(file->path, "cannot be read again", code, err);
}

static enum status next_packet(struct decoding *run, struct error *err) {
    int code = read_packet(run->file, run->packet);
    return code >= 0 ? STATUS_OK : ffmpeg_error(run->file->path, "damaged or cut short", code, err);
}

/* The frame that is due goes to the sink, upright. */
static enum status give(struct decoding *run, struct error *err) {
    const struct video_file *file = run->file;
    int64_t index = run->indices[run->next];
    if (ffmpeg_picture(file->path, &run->scaler, run->frame, 3, &run->picture, err)) return STATUS_FAILED;
    while (run->next < run->count && run->indices[run->next] == index) run->next++;
    struct picture upright = {0};
    const struct picture *shown = &run->picture;
    if (file->quarters || file->mirror) {
        if (picture_turn(&run->picture, file->quarters, file->mirror, &upright, err)) return STATUS_FAILED;
        shown = &upright;
    }
    enum status status = run->sink(run->context, index, shown, err);
    picture_free(&upright);
    if (status) run->refused = true;
    return status;
}

/* A frame of a run over everything: its place in the order counts. */
static enum status take_in_order(struct decoding *run, struct error *err) {
    int64_t index = run->seen++;
    return run->next < run->count && index == run->indices[run->next] ? give(run, err) : STATUS_OK;
}

/* A frame of a run that leaves some out: its time says which it is. */
static enum status take_by_time(struct decoding *run, struct error *err) {
    if (run->next >= run->count) return STATUS_OK;
    const struct video_index *index = &run->file->index;
    int64_t due = index->packets[index->order[run->indices[run->next]]].pts;
    const AVFrame *frame = run->frame;
    if (frame->pts == AV_NOPTS_VALUE || frame->pts <= run->last_pts || frame->pts > due ||
        frame->decode_error_flags || frame->flags & AV_FRAME_FLAG_CORRUPT) {
        run->doubtful = true;
        return STATUS_OK;
    }
    run->last_pts = frame->pts;
    return frame->pts == due ? give(run, err) : STATUS_OK;
}

typedef enum status take_frame(struct decoding *run, struct error *err);

/* Sends the packet, or with NULL the end, and takes what comes out. */
static enum status feed(struct decoding *run, const AVPacket *packet, take_frame *take, struct error *err) {
    const char *path = run->file->path;
    int code = avcodec_send_packet(run->decoder, packet);
    if (code < 0 && code != AVERROR_EOF) return ffmpeg_error(path, "damaged", code, err);
    while ((code = avcodec_receive_frame(run->decoder, run->frame)) >= 0) {
        enum status status = take(run, err);
        activity_step();
        av_frame_unref(run->frame);
        if (status) return status;
        if (run->doubtful) return STATUS_OK;
    }
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return STATUS_OK;
    return ffmpeg_error(path, "damaged", code, err);
}

/* Everything from the start until the last wanted frame is out, or to the end when that is the last. */
static enum status decode_all(struct decoding *run, int64_t *frames, struct error *err) {
    struct video_file *file = run->file;
    int64_t last = run->indices[run->count - 1];
    size_t count = file->index.count;
    if (rewind_file(file, run->packet, err)) return STATUS_FAILED;
    run->decoder->skip_frame = AVDISCARD_DEFAULT;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && next_packet(run, err)) return STATUS_FAILED;
        enum status status = feed(run, run->packet, take_in_order, err);
        av_packet_unref(run->packet);
        if (status) return status;
        if (run->next >= run->count && last < file->index.frames - 1) return STATUS_OK;
    }
    if (feed(run, NULL, take_in_order, err)) return STATUS_FAILED;
    *frames = run->seen;
    return STATUS_OK;
}

/* Only what is needed. Sets doubtful when a frame did not come as expected. */
static enum status decode_planned(struct decoding *run, const struct packet_action *plan, struct error *err) {
    struct video_file *file = run->file;
    const struct video_index *index = &file->index;
    /* H.264 marks frames that nothing refers to; HEVC's mark speaks of one temporal layer only. */
    enum AVDiscard unneeded =
        file->stream->codecpar->codec_id == AV_CODEC_ID_H264 ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
    if (rewind_file(file, run->packet, err)) return STATUS_FAILED;
    for (size_t i = 0; i < index->count && run->next < run->count && !run->doubtful; i++) {
        if (i > 0 && next_packet(run, err)) return STATUS_FAILED;
        enum status status = STATUS_OK;
        run->doubtful =
            run->packet->pts != index->packets[i].pts || run->packet->size != index->packets[i].size;
        if (plan[i].restart && !run->doubtful) {
            status = feed(run, NULL, take_by_time, err);
            avcodec_flush_buffers(run->decoder);
        }
        run->decoder->skip_frame = plan[i].wanted ? AVDISCARD_DEFAULT : unneeded;
        if (plan[i].send && !status && !run->doubtful) status = feed(run, run->packet, take_by_time, err);
        av_packet_unref(run->packet);
        if (status) return status;
    }
    if (run->next < run->count && !run->doubtful && feed(run, NULL, take_by_time, err)) return STATUS_FAILED;
    if (run->next < run->count) run->doubtful = true;
    return STATUS_OK;
}

static bool can_plan(const struct video_file *file, const int64_t *indices, int64_t count) {
    return file->index.clean && !file->options.decode_all && indices[count - 1] < file->index.frames;
}

/* STATUS_OK with all frames given, or with `doubtful` set and the decoder fresh again. */
static enum status try_plan(struct decoding *run, struct error *err) {
    struct video_file *file = run->file;
    struct packet_action *plan = video_index_plan(&file->index, run->indices, run->count, err);
    if (!plan) return STATUS_FAILED;
    struct error cause;
    enum status status = decode_planned(run, plan, &cause);
    free(plan);
    if (!status && !run->doubtful) return STATUS_OK;
    if (run->refused) {
        *err = cause;
        return status;
    }
    run->doubtful = true; /* a run over everything will say what is wrong, and where */
    av_packet_unref(run->packet);
    avcodec_free_context(&run->decoder);
    return ffmpeg_decoder(file->path, file->stream, file->options.threads, &run->decoder, err);
}

static enum status run_decoder(struct decoding *run, int64_t *frames, struct error *err) {
    if (can_plan(run->file, run->indices, run->count)) {
        if (try_plan(run, err)) return STATUS_FAILED;
        if (!run->doubtful) return STATUS_OK;
        run->doubtful = false;
    }
    return decode_all(run, frames, err);
}

static enum status decode_file(void *state, const int64_t *indices, int64_t count, video_sink *sink,
                               void *context, int64_t *frames, struct error *err) {
    struct video_file *file = state;
    struct decoding run = {.file = file,
                           .packet = av_packet_alloc(),
                           .frame = av_frame_alloc(),
                           .indices = indices,
                           .count = count,
                           .last_pts = INT64_MIN,
                           .sink = sink,
                           .context = context};
    enum status status = STATUS_OK;
    if (!run.packet || !run.frame) status = error_no_memory(err, "%s: out of memory", file->path);
    if (!status && count > 0)
        status = ffmpeg_decoder(file->path, file->stream, file->options.threads, &run.decoder, err);
    if (!status && count > 0) status = run_decoder(&run, frames, err);
    avcodec_free_context(&run.decoder);
    ffmpeg_scaler_free(&run.scaler);
    picture_free(&run.picture);
    av_frame_free(&run.frame);
    av_packet_free(&run.packet);
    return status;
}

const struct video_source video_file_source = {.open = open_file, .decode = decode_file, .close = close_file};
