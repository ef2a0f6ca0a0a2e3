/* Whether a file holds all that its outermost headers promise. */
#ifndef VS2_DATA_CONTAINER_H
#define VS2_DATA_CONTAINER_H

#include "base/error.h"

/* An error "PATH: cut short: N of M bytes are there" when the boxes of an MP4, the RIFF chunks of an AVI or
 * the segment of a Matroska file reach past its end; decoders would give the frames before it and say
 * nothing. STATUS_OK for all other files, also those that cannot be read. */
enum status container_check(const char *path, struct error *err);

#endif
