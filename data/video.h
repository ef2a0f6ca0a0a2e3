/* Videos: files that FFmpeg reads, animated WebP, and folders of pictures.
 *
 * Frames are numbered as a decoder gives them out, from 0, and come as PyAV's frame.to_rgb() makes them:
 * swscale to RGB with its default matrix, alpha dropped. Only what the wanted frames need is decoded.
 */
#ifndef VS2_DATA_VIDEO_H
#define VS2_DATA_VIDEO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/picture.h"

struct video_options {
    int threads;        /* of one decoder; 0: as many as there are cores */
    bool keep_rotation; /* leave frames as they are stored, as PyAV does; else they are turned upright */
    bool decode_all;    /* decode every frame up to the last one wanted, leaving nothing out */
};

enum video_kind { VIDEO_FILE, VIDEO_ANIMATION, VIDEO_FOLDER };

struct video_info {
    enum video_kind kind;
    int64_t frames;         /* at least 1; counted where the file does not say */
    int64_t stated_frames;  /* what the container's header says, 0 when it says nothing */
    double stated_duration; /* seconds, of the stream; 0 when the container does not say */
    double duration;  /* seconds; from the frames and their rate where it is not stated; 0 for a folder */
    double rate;      /* average frames a second; 0 for a folder */
    struct size size; /* of a frame as it is given out */
    int quarters;     /* clockwise quarter turns that the file asks for, 0 to 3 */
};

struct video;

/* Opens and probes. Errors begin with the path. */
enum status video_open(const char *path, const struct video_options *options, struct video **video,
                       struct error *err);
void video_close(struct video *video);
const struct video_info *video_info(const struct video *video);

/* Takes one frame; the picture is the callee's to read until it returns. */
typedef enum status video_sink(void *context, int64_t index, const struct picture *picture,
                               struct error *err);

/* Gives the frames of indices[0..count), ascending (repeats are given once), to the sink, in order.
 * Frames that the header counts and the decoder does not give are left out, and *frames, when not NULL,
 * receives the true number of frames if the end was reached, else 0. A damaged or cut file is an error. */
enum status video_decode(struct video *video, const int64_t *indices, int64_t count, video_sink *sink,
                         void *context, int64_t *frames, struct error *err);

/* Reads one still picture: JPEG, PNG, WebP, GIF, BMP, TIFF and what else FFmpeg knows. JPEG as libjpeg-turbo
 * decodes it, like Pillow. */
enum status picture_read(const char *path, struct picture *picture, struct error *err);

#endif
