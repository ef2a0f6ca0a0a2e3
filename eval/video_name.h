/* Names of videos, which files write with and without folder and ending. */
#ifndef VS2_EVAL_VIDEO_NAME_H
#define VS2_EVAL_VIDEO_NAME_H

#include <stddef.h>

/* A part of a name. */
struct name_part {
    const char *start;
    size_t length;
};

/* The file's name without folder and without the ending of a video (.mp4, .webm, .mkv, .mov, .avi, .m4v,
 * .gif; in any case): what rows and pairs of the published files are matched by. Other endings stay, so that
 * "model_v1.5" is whole. */
struct name_part video_stem(const char *name);

/* Orders two parts by their bytes, as strcmp. */
int name_part_compare(struct name_part a, struct name_part b);

#endif
