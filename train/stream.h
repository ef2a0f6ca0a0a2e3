/* Micro-batches ahead of the training thread: rows are read, their videos decoded or their features found in
 * the cache, tokens encoded and packed, on threads and within bounded memory. They come in order. */
#ifndef VS2_TRAIN_STREAM_H
#define VS2_TRAIN_STREAM_H

#include "data/prefetch.h"
#include "data/sample.h"
#include "train/pass.h"

/* Rows that go as one sequence: [first, first + count) of stream_settings.rows. One row where nothing is
 * packed. */
struct stream_group {
    int64_t first, count;
};

struct stream_settings {
    const struct dataset *dataset;
    const struct sample_options *encoding;
    const int64_t *rows; /* of the data set, group after group */
    const struct stream_group *groups;
    int64_t batch; /* groups a micro-batch */
    bool joined;   /* the rows of a group see each other: packing without neat_packing */
    const struct model *model;
    struct vision_cache *cache; /* or NULL */
    struct prefetch_limits limits;
};

/* A row that could not be had. */
struct stream_skip {
    int64_t row;
    char reason[ERROR_MESSAGE_SIZE];
};

struct stream_row; /* what the samples point into */

struct micro_batch {
    struct pass_sample *samples; /* weights: 1 / labels, so that their loss is the token mean */
    int64_t sample_count;        /* may be 0: all rows were skipped */
    int64_t tokens, labels, row_count;
    struct stream_row *rows;
    struct stream_skip *skips;
    int64_t skip_count;
};
void micro_batch_free(struct micro_batch *batch); /* NULL is fine */

struct stream;

/* Streams the groups order[0 .. count), the first `skip` micro-batches left out. The settings' arrays and the
 * order must outlive it. NULL with err set on failure. */
struct stream *stream_start(const struct stream_settings *settings, const int64_t *order, int64_t count,
                            int64_t skip, struct error *err);
void stream_stop(struct stream *stream); /* NULL is fine */

/* The next micro-batch, to be freed by micro_batch_free; *batch is NULL at the end. */
enum status stream_next(struct stream *stream, struct micro_batch **batch, struct error *err);

/* What it will be, where it is made already; NULL: not yet, or there is none. */
const struct micro_batch *stream_peek(struct stream *stream);

#endif
