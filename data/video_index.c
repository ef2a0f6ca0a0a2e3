#include "data/video_index.h"

#include <stdlib.h>

#include "base/memory.h"

/* Bytes before each unit's length in a packet, 0 when units follow start codes. */
static int length_size(const AVCodecParameters *codec) {
    const uint8_t *extra = codec->extradata;
    if (codec->codec_id == AV_CODEC_ID_H264 && codec->extradata_size >= 7 && extra[0] == 1)
        return (extra[4] & 3) + 1;
    if (codec->codec_id == AV_CODEC_ID_HEVC && codec->extradata_size >= 23 && extra[0] == 1)
        return (extra[21] & 3) + 1;
    return 0;
}

/* Instantaneous refresh: no later frame refers to anything before it. */
static bool is_refresh_unit(enum AVCodecID codec, uint8_t head) {
    if (codec == AV_CODEC_ID_H264) return (head & 0x1f) == 5;
    int type = head >> 1 & 0x3f;
    return type == 19 || type == 20;
}

static bool has_refresh_unit(const AVStream *stream, const AVPacket *packet) {
    const AVCodecParameters *codec = stream->codecpar;
    const uint8_t *data = packet->data;
    int64_t size = packet->size;
    int prefix = length_size(codec);
    for (int64_t i = 0; i + prefix + 3 < size;) {
        if (prefix == 0) {
            if (data[i] == 0 && data[i + 1] == 0 && data[i + 2] == 1) {
                if (is_refresh_unit(codec->codec_id, data[i + 3])) return true;
                i += 3;
            }
            i++;
            continue;
        }
        int64_t length = 0;
        for (int k = 0; k < prefix; k++) length = length << 8 | data[i + k];
        if (is_refresh_unit(codec->codec_id, data[i + prefix])) return true;
        i += prefix + length;
    }
    return false;
}

static bool can_leave_out(const AVStream *stream) {
    return stream->codecpar->codec_id == AV_CODEC_ID_H264 || stream->codecpar->codec_id == AV_CODEC_ID_HEVC;
}

enum status video_index_add(struct video_index *index, const AVStream *stream, const AVPacket *packet,
                            struct error *err) {
    if (index->count >= VIDEO_INDEX_MAX) return error_set(err, "more than %d frames", VIDEO_INDEX_MAX);
    if (memory_grow(&index->packets, &index->capacity, index->count + 1, sizeof *index->packets,
                    "the frames of a video", err))
        return STATUS_FAILED;
    bool key = packet->flags & AV_PKT_FLAG_KEY && can_leave_out(stream) && has_refresh_unit(stream, packet);
    index->packets[index->count++] = (struct video_packet){
        .pts = packet->pts, .size = packet->size, .key = key, .discard = packet->flags & AV_PKT_FLAG_DISCARD};
    if (packet->flags & AV_PKT_FLAG_CORRUPT) index->damaged = true;
    return STATUS_OK;
}

static int compare_pts(const void *a, const void *b, void *context) {
    const struct video_packet *packets = context;
    int64_t left = packets[*(const int64_t *)a].pts;
    int64_t right = packets[*(const int64_t *)b].pts;
    return (left > right) - (left < right);
}

/* The stream begins with a refresh, and every packet has its own time, none before the first. */
static bool is_clean(const struct video_index *index) {
    if (!index->count || !index->packets[0].key || index->damaged) return false;
    for (size_t i = 0; i < index->count; i++) {
        const struct video_packet *packet = &index->packets[i];
        if (packet->discard || packet->pts == AV_NOPTS_VALUE || packet->pts < index->packets[0].pts)
            return false;
    }
    return true;
}

enum status video_index_finish(struct video_index *index, const AVStream *stream, struct error *err) {
    for (size_t i = 0; i < index->count; i++) index->frames += !index->packets[i].discard;
    index->clean = can_leave_out(stream) && is_clean(index);
    if (!index->clean) return STATUS_OK;

    index->order = memory_new(index->count, sizeof *index->order, "the frames of a video", err);
    if (!index->order) return STATUS_FAILED;
    for (size_t i = 0; i < index->count; i++) index->order[i] = (int64_t)i;
    qsort_r(index->order, index->count, sizeof *index->order, compare_pts, index->packets);
    for (size_t i = 1; i < index->count; i++)
        if (index->packets[index->order[i]].pts == index->packets[index->order[i - 1]].pts)
            index->clean = false;
    /* A refresh helps only when all that came before it is shown before it. */
    int64_t latest = INT64_MIN;
    for (size_t i = 0; i < index->count; i++) {
        struct video_packet *packet = &index->packets[i];
        if (packet->pts <= latest) packet->key = false;
        if (packet->pts > latest) latest = packet->pts;
    }
    return STATUS_OK;
}

void video_index_free(struct video_index *index) {
    free(index->packets);
    free(index->order);
    *index = (struct video_index){0};
}

struct packet_action *video_index_plan(const struct video_index *index, const int64_t *indices, int64_t count,
                                       struct error *err) {
    struct packet_action *plan = memory_new(index->count, sizeof *plan, "a decoding plan", err);
    if (!plan) return NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t wanted = index->order[indices[i]];
        plan[wanted].wanted = true;
        int64_t start = wanted;
        while (!plan[start].send &&
               !(index->packets[start].key && index->packets[start].pts <= index->packets[wanted].pts))
            start--;
        plan[start].restart = !plan[start].send && start > 0 && !plan[start - 1].send;
        for (int64_t k = start; k <= wanted; k++) plan[k].send = true;
    }
    return plan;
}
