/* How the backward pass of attention over a segment table is divided.
 *
 * A task is one block of keys with one key head: a range of rows of k and v that every segment sees whole or
 * not at all. It makes d_k and d_v of its rows alone, from all segments that see them, in the order of the
 * table. To d_q of a block of query rows many tasks add: each waits until those of earlier keys have done so.
 * Tasks are begun in the order of their keys, so the earliest one under way never waits, and the sums have
 * one order whatever the number of threads. */
#ifndef VS2_TENSOR_CPU_ATTENTION_BACKWARD_PLAN_H
#define VS2_TENSOR_CPU_ATTENTION_BACKWARD_PLAN_H

#include "tensor/ops.h"

/* A segment: which blocks of keys its two ranges are, and its blocks of query rows (row i is query head
 * i % group of query i / group). */
struct backward_segment {
    const struct attention_segment *segment;
    int64_t prefix, prefixes; /* key blocks [prefix, prefix + prefixes) */
    int64_t own, owns;
    int64_t block; /* the number of its first block of rows */
    int64_t row;   /* and of its first row, among all segments' */
};

/* A segment that sees a block of keys, as its prefix or as its own. */
struct backward_part {
    int64_t segment;
    bool own;
};

struct backward_keys {
    int64_t key;
    int keys;
    int64_t part, parts; /* range of the array of parts */
};

struct backward_plan {
    struct backward_segment *segments;
    struct backward_keys *keys;
    struct backward_part *parts;
    int64_t *bounds; /* where ranges of keys begin and end, in order, each once */
    int64_t segment_count, key_count, part_count, bound_count;
    int64_t block_count, row_count; /* of query rows, for one key head */
    size_t key_capacity;
};

/* Makes the plan for `group` query heads a key head; backward_plan_free, also after a failure. */
enum status backward_plan_make(struct backward_plan *plan, struct attention_segments segments, int group,
                               struct error *err);
void backward_plan_free(struct backward_plan *plan);

/* How many blocks of keys have added to rows up to `last` of the part's segment (its block's last) before
 * this part of key block `index` does. */
int64_t backward_plan_turn(const struct backward_plan *plan, int64_t index, const struct backward_part *part,
                           int64_t last, int group);

#endif
