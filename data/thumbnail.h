/* A glance at a video: a few of its frames, side by side, as one small JPEG. */
#ifndef VS2_DATA_THUMBNAIL_H
#define VS2_DATA_THUMBNAIL_H

#include "base/error.h"
#include "base/text.h"

/* Frames, spread from the first to the last, and the longer side of each; smaller ones stay as they are. */
enum { THUMBNAIL_FRAMES = 4, THUMBNAIL_SIDE = 160 };

/* Appends the JPEG's bytes. Videos of fewer frames have fewer side by side. Errors begin with the path; then
 * nothing is appended. */
enum status thumbnail_append(struct text *jpeg, const char *path, struct error *err);

#endif
