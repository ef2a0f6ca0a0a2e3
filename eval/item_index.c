#include "eval/item_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int by_name(const void *a, const void *b, void *context) {
    const struct benchmark_item *items = context;
    return strcmp(items[*(const size_t *)a].name, items[*(const size_t *)b].name);
}

enum status item_index_make(const struct benchmark_items *items, struct item_index *index,
                            struct error *err) {
    *index = (struct item_index){items, memory_new(items->count, sizeof *index->order, "videos", err)};
    if (!index->order) return STATUS_FAILED;
    for (size_t i = 0; i < items->count; i++) index->order[i] = i;
    qsort_r(index->order, items->count, sizeof *index->order, by_name, items->list);
    return STATUS_OK;
}

void item_index_free(struct item_index *index) {
    free(index->order);
    *index = (struct item_index){0};
}

size_t item_index_find(const struct item_index *index, struct name_part name) {
    size_t low = 0, high = index->items->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2, item = index->order[middle];
        const char *middle_name = index->items->list[item].name;
        const int order = name_part_compare(name, (struct name_part){middle_name, strlen(middle_name)});
        if (order == 0) return item;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SIZE_MAX;
}
