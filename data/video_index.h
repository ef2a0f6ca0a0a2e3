/* The packets of a video stream, and which of them must be decoded to have certain frames. */
#ifndef VS2_DATA_VIDEO_INDEX_H
#define VS2_DATA_VIDEO_INDEX_H

#include <libavformat/avformat.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { VIDEO_INDEX_MAX = 1 << 24 }; /* packets */

struct video_packet {
    int64_t pts;
    int32_t size;
    bool key;     /* decoding can begin here and give the very same frames */
    bool discard; /* decoded, not shown (edit lists) */
};

struct video_index {
    struct video_packet *packets; /* in the file's order */
    size_t count, capacity;
    int64_t *order; /* packets by pts: frame i comes out of packet order[i]; NULL when not `clean` */
    int64_t frames; /* packets that are shown */
    bool clean;     /* one frame a packet, all with different times, so that frames can be left out */
    bool damaged;   /* a packet is cut short or marked as broken */
};

/* Adds one packet of the stream. */
enum status video_index_add(struct video_index *index, const AVStream *stream, const AVPacket *packet,
                            struct error *err);

/* To be called after the last packet. */
enum status video_index_finish(struct video_index *index, const AVStream *stream, struct error *err);
void video_index_free(struct video_index *index);

/* What to do with a packet. */
struct packet_action {
    bool send;    /* else it is left out */
    bool wanted;  /* its frame is wanted; else only what other frames refer to counts */
    bool restart; /* drain and reset the decoder before it */
};

/* One action a packet, for frames indices[0..count), ascending, in a clean index; free() them. NULL with err
 * set when out of memory. */
struct packet_action *video_index_plan(const struct video_index *index, const int64_t *indices, int64_t count,
                                       struct error *err);

#endif
