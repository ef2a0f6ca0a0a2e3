/* TensorBoard event files: records framed as TFRecord (length, masked CRC32C, data, masked CRC32C), each
 * holding one tensorboard.Event protocol buffer. Only scalars are written. */
#ifndef VS2_TRAIN_TENSORBOARD_H
#define VS2_TRAIN_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

struct tensorboard_scalar {
    const char *tag; /* "train/loss" */
    float value;
};

struct tensorboard {
    struct file_appender file;
};

/* Begins FOLDER/events.out.tfevents.TIME.HOST.PID.0 (the folder is made). Its time, and so its name, sorts
 * after those of the event files that lie there. It says that what these hold of `first_step` and later steps
 * is void, so that a resumed run goes on in the same curve and a new run starts it anew. */
enum status tensorboard_open(struct tensorboard *board, const char *folder, int64_t first_step,
                             struct error *err);

/* Adds one event with all these scalars; it is in the file when this returns. */
enum status tensorboard_write(struct tensorboard *board, int64_t step,
                              const struct tensorboard_scalar *scalars, size_t count, struct error *err);

void tensorboard_close(struct tensorboard *board);

/* Appends the framed records themselves; `wall_time` is in seconds since 1970. */
void tensorboard_append_version(struct text *records, double wall_time);
void tensorboard_append_start(struct text *records, double wall_time, int64_t first_step);
void tensorboard_append_scalars(struct text *records, double wall_time, int64_t step,
                                const struct tensorboard_scalar *scalars, size_t count);

#endif
