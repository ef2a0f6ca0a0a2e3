/* How attention over a segment table is divided among the blocks of a GPU. Where the keys of a row are cut is
 * decided by its segment alone, so that a row's bits do not depend on the segments beside it.
 *
 * A row of a segment is one query head of one query that share a key head: row i is head i % group of query
 * i / group. The keys of a segment are counted through: first those of its prefix, then its own; a query sees
 * the first `visible` of them, and when causal each query one more than the one before. */
#ifndef VS2_TENSOR_CUDA_ATTENTION_PLAN_H
#define VS2_TENSOR_CUDA_ATTENTION_PLAN_H

#include "tensor/ops.h"

enum {
    ATTENTION_ROWS = 64,   /* of an item, at most */
    ATTENTION_SPLIT = 512, /* keys of an item of a segment whose rows are one item (decoding) */
};

/* Who sees whom, as kernels read it. */
struct attention_view {
    int64_t query, rows;         /* first row of q; rows of the segment */
    int64_t prefix, prefix_keys; /* first rows of k and v, and how many keys come before `key` */
    int64_t key;
    int64_t visible; /* keys that query 0 sees */
    int64_t causal;  /* 1, or 0 */
};

/* Some rows of a segment against some of its keys: the work of one block for each key head. */
struct attention_item {
    struct attention_view view;
    int64_t first, rows; /* rows [first, first + rows) of the segment */
    int64_t begin, end;  /* keys */
    int64_t partial; /* the place of the partial results in units of rows, or -1: this is all of its keys */
};

/* Partial results of some rows: those of row r and chunk c of the keys are at `first` + c * `step` + r. */
struct attention_partial {
    int64_t first, step, chunks;
};

/* The rows of a segment whose partial results are to be joined, in this order. */
struct attention_join {
    struct attention_view view;
    int64_t rows;
    struct attention_partial prefix, own;
};

/* Rows [key, key + keys) of k and v in one segment: key i is the segment's key offset + i. */
struct attention_part {
    struct attention_view view;
    int64_t key, keys, offset;
};

/* A tile of rows of k and v, and the parts that see any of them, in the order of the segments. */
struct attention_tile {
    int64_t part, parts;
};

/* The tables; their memory is kept from call to call. */
struct attention_tables {
    struct attention_item *items;
    struct attention_join *joins;
    struct attention_part *parts;
    struct attention_tile *tiles;
    char *packed; /* attention_tables_pack's */
    size_t item_count, join_count, part_count, tile_count;
    size_t item_capacity, join_capacity, part_capacity, tile_capacity, packed_capacity;
    int64_t partial_rows;
};

enum status attention_tables_new(struct attention_tables **tables, struct error *err);
void attention_tables_free(struct attention_tables *tables);

/* packed = the items and, behind them, the joins. */
enum status attention_tables_pack(struct attention_tables *tables, struct error *err);

/* Items of up to `rows` rows, for `group` query heads a key head. With `split`, items of decoding segments
 * have at most ATTENTION_SPLIT keys each, of the prefix or of the segment's own, and joins; neighbouring
 * segments of one prefix have the items of the prefix in common, so that its keys are read once for all
 * completions of a prompt. Without, every item has all keys of its rows. */
enum status attention_plan_queries(struct attention_tables *tables, struct attention_segments segments,
                                   int group, int rows, bool split, struct error *err);

/* Tiles of `tile` rows over all `keys` rows of k, with their parts. */
enum status attention_plan_keys(struct attention_tables *tables, struct attention_segments segments,
                                int group, int tile, int64_t keys, struct error *err);

#endif
