/* Writes an MP4 video from RGB frames: H.264 where the FFmpeg libraries were built with x264, else MPEG-4. */
#ifndef VS2_DATA_VIDEO_WRITE_H
#define VS2_DATA_VIDEO_WRITE_H

#include <stdint.h>

#include "base/error.h"

struct video_writer;

/* Begins a video of even width and height and a whole number of frames a second. NULL with err set when it
 * cannot be written. The file appears, whole, when video_writer_close succeeds. */
struct video_writer *video_writer_open(const char *path, int width, int height, int fps, struct error *err);

/* Adds a frame of width * height RGB pixels. */
enum status video_writer_frame(struct video_writer *writer, const uint8_t *rgb, struct error *err);

/* Ends the video and frees the writer, also on failure. */
enum status video_writer_close(struct video_writer *writer, struct error *err);

/* Frees the writer and leaves no file. NULL is ignored. */
void video_writer_abort(struct video_writer *writer);

#endif
