/* The items of a benchmark by the names of their videos. */
#ifndef VS2_EVAL_ITEM_INDEX_H
#define VS2_EVAL_ITEM_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "eval/benchmark.h"
#include "eval/video_name.h"

struct item_index {
    const struct benchmark_items *items;
    size_t *order; /* [items->count]: by name */
};

/* The items must outlive it; item_index_free ends it. */
enum status item_index_make(const struct benchmark_items *items, struct item_index *index, struct error *err);
void item_index_free(struct item_index *index);

/* The place of the item whose video has this name (without folder and ending); SIZE_MAX: there is none. */
size_t item_index_find(const struct item_index *index, struct name_part name);

#endif
