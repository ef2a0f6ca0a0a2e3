/* How attention over a segment table is divided into blocks of query rows and chunks of keys.
 *
 * A row is one query head of one query token; the query heads of a key head are neighbours. A block holds
 * rows that see the same prefix: the prefix is read once for all of them, whichever segments they come from.
 * A chunk is a fixed range of keys by position in the prefix or in the segment's own keys, so that what a row
 * computes does not depend on the other rows of its block. A row's chunks are joined in order. */
#ifndef VS2_TENSOR_CPU_ATTENTION_PLAN_H
#define VS2_TENSOR_CPU_ATTENTION_PLAN_H

#include "tensor/ops.h"

enum { ATTENTION_CHUNK = 256 }; /* keys */

/* Rows [first, first + rows) of a segment: row i is query head i % group of token i / group. */
struct attention_piece {
    const struct attention_segment *segment;
    int64_t first;
    int row, rows; /* their place in the block */
};

/* Rows [row, row + rows) of a block against a chunk of keys. */
struct attention_part {
    int64_t block, piece; /* piece -1: a chunk of the prefix, for all pieces of the block */
    int row, rows;
    int64_t key; /* the row of k and v of the first key */
    int keys;
    int64_t offset; /* keys of the segment before the chunk */
    bool first;     /* no part before it has these rows */
};

struct attention_block {
    int64_t piece, pieces; /* range of the array of pieces */
    int64_t part, parts;   /* and of the parts */
    int rows;
};

struct attention_plan {
    struct attention_piece *pieces;
    struct attention_block *blocks;
    struct attention_part *parts;
    size_t piece_count, block_count, part_count;
    size_t piece_capacity, block_capacity, part_capacity;
};

/* Makes the plan for `group` query heads a key head; attention_plan_free, also after a failure. */
enum status attention_plan_make(struct attention_plan *plan, struct attention_segments segments, int group,
                                struct error *err);
void attention_plan_free(struct attention_plan *plan);

/* The keys of its own range that a row of a segment sees. */
int64_t attention_own_keys(const struct attention_segment *segment, int64_t row, int group);

#endif
