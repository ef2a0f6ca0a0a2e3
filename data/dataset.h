/* Data sets as LLaMA-Factory has them: dataset_info.json in a folder, and the files that it names.
 *
 *     struct dataset_options options = {.folder = "data", .names = "vs2_sft", .max_samples = 1000000};
 *     struct dataset *dataset;
 *     if (dataset_open(&options, &dataset, err)) return ...;
 *     for (int64_t i = 0; i < dataset_skip_count(dataset); i++) ... dataset_skip(dataset, i)->reason ...
 *     struct row row;
 *     if (dataset_read(dataset, 17, &row, err)) return ...;
 *     row_free(&row);
 *     dataset_close(dataset);
 *
 * The text of the files is kept in memory as it is and nothing else: rows are parsed again where they are
 * read. Every row is checked once when the set is opened. An open data set does not change: all functions but
 * dataset_close may be called by several threads at once.
 */
#ifndef VS2_DATA_DATASET_H
#define VS2_DATA_DATASET_H

#include <stdint.h>

#include "base/error.h"
#include "data/row.h"

struct dataset_options {
    const char *folder;       /* dataset_dir: holds dataset_info.json; file names are relative to it */
    const char *names;        /* "a" or "a,b": read one after another */
    const char *media_folder; /* media_dir, to which videos and images are relative; NULL: `folder` */
    int64_t max_samples;      /* of each data set, its first ones; 0: all */
    uint64_t seed;            /* draws the rows where a data set has "num_samples" */
};

struct dataset;

/* Reads dataset_info.json and the data sets. STATUS_USAGE: a name that is not there (the error lists those
 * that are), or an entry that is wrong. STATUS_FAILED: a file that cannot be read or is no JSON, with its
 * line and byte; one without rows. Rows that cannot be trained are no error, even when all are so. */
enum status dataset_open(const struct dataset_options *options, struct dataset **dataset, struct error *err);

/* Opens a single file without dataset_info.json. */
enum status dataset_open_file(const char *path, const struct row_format *format, const char *media_folder,
                              struct dataset **dataset, struct error *err);
void dataset_close(struct dataset *dataset);

/* How many rows can be trained. They are numbered from 0. */
int64_t dataset_count(const struct dataset *dataset);

/* Reads row `index`; row_free frees it. It fails only when memory is short. */
enum status dataset_read(const struct dataset *dataset, int64_t index, struct row *row, struct error *err);

/* Where a row comes from. */
struct row_place {
    const char *name; /* of the data set, or its file */
    int64_t number;   /* in the file, from 1 */
};
struct row_place dataset_place(const struct dataset *dataset, int64_t index);

/* The path of a row's video or image, as file_find finds it under the media folder. free() it. */
char *dataset_media(const struct dataset *dataset, const char *path, struct error *err);

/* Rows that cannot be trained, in the order of the files. */
struct dataset_skip {
    struct row_place place;
    const char *reason;
};
int64_t dataset_skip_count(const struct dataset *dataset);
const struct dataset_skip *dataset_skip(const struct dataset *dataset, int64_t index);

#endif
