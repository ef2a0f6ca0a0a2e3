#include "tensor/cuda/attention_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum status attention_tables_new(struct attention_tables **tables, struct error *err) {
    *tables = memory_new(1, sizeof **tables, "plans of attention", err);
    return *tables ? STATUS_OK : STATUS_FAILED;
}

void attention_tables_free(struct attention_tables *tables) {
    if (!tables) return;
    free(tables->packed);
    free(tables->items);
    free(tables->joins);
    free(tables->parts);
    free(tables->tiles);
    free(tables);
}

enum status attention_tables_pack(struct attention_tables *t, struct error *err) {
    size_t items = t->item_count * sizeof *t->items, joins = t->join_count * sizeof *t->joins;
    enum status status =
        memory_grow(&t->packed, &t->packed_capacity, items + joins, 1, "plans of attention", err);
    if (status != STATUS_OK) return status;
    if (items) memcpy(t->packed, t->items, items);
    if (joins) memcpy(t->packed + items, t->joins, joins);
    return STATUS_OK;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t largest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static struct attention_view view_of(const struct attention_segment *s, int group) {
    return (struct attention_view){.query = s->query,
                                   .rows = s->queries * group,
                                   .prefix = s->prefix,
                                   .prefix_keys = s->prefix_keys,
                                   .key = s->key,
                                   .visible =
                                       s->prefix_keys + (s->causal ? 1 + s->keys - s->queries : s->keys),
                                   .causal = s->causal};
}

/* Keys that the row sees. */
static int64_t visible_to(const struct attention_view *view, int64_t row, int group) {
    return view->visible + view->causal * (row / group);
}

/* ---- Queries ----------------------------------------------------------------------------------------- */

static enum status item_add(struct attention_tables *t, struct attention_item item, struct error *err) {
    enum status status =
        memory_grow(&t->items, &t->item_capacity, t->item_count + 1, sizeof item, "plans of attention", err);
    if (status == STATUS_OK) t->items[t->item_count++] = item;
    return status;
}

static enum status join_add(struct attention_tables *t, struct attention_join join, struct error *err) {
    enum status status =
        memory_grow(&t->joins, &t->join_capacity, t->join_count + 1, sizeof join, "plans of attention", err);
    if (status == STATUS_OK) t->joins[t->join_count++] = join;
    return status;
}

/* The items of all rows of a view with its keys [begin, end). */
static enum status chunks_add(struct attention_tables *t, const struct attention_view *view, int64_t begin,
                              int64_t end, struct attention_partial *partial, struct error *err) {
    *partial = (struct attention_partial){.first = t->partial_rows, .step = view->rows};
    enum status status = STATUS_OK;
    for (; begin < end && status == STATUS_OK; begin += ATTENTION_SPLIT) {
        struct attention_item item = {.view = *view, .rows = view->rows, .begin = begin};
        item.end = least(begin + ATTENTION_SPLIT, end);
        item.partial = t->partial_rows;
        t->partial_rows += view->rows;
        partial->chunks++;
        status = item_add(t, item, err);
    }
    return status;
}

/* Whether the segment is split: its rows are one item and its keys are many. */
static bool is_split(const struct attention_view *view, int rows, int group) {
    return view->rows && view->rows <= rows && visible_to(view, view->rows - 1, group) > ATTENTION_SPLIT;
}

/* How many segments from `first` on share the items of their prefix: they are split, their queries follow one
 * another, and their rows are one item. */
static int64_t stack_count(struct attention_segments segments, int64_t first, int rows, int group) {
    const struct attention_segment *head = &segments.host[first];
    int64_t count = 1, queries = head->queries;
    for (; first + count < segments.count; count++) {
        const struct attention_segment *s = &segments.host[first + count];
        struct attention_view view = view_of(s, group);
        if (!head->prefix_keys || s->prefix != head->prefix || s->prefix_keys != head->prefix_keys ||
            s->query != head->query + queries || (queries + s->queries) * group > rows ||
            !is_split(&view, rows, group))
            break;
        queries += s->queries;
    }
    return count;
}

/* The items and joins of `count` segments that share the items of their prefix. */
static enum status stack_add(struct attention_tables *t, const struct attention_segment *segments,
                             int64_t count, int group, struct error *err) {
    struct attention_view all = view_of(&segments[0], group);
    all.causal = 0, all.visible = all.prefix_keys;
    for (int64_t i = 1; i < count; i++) all.rows += segments[i].queries * group;
    struct attention_partial prefix;
    enum status status = chunks_add(t, &all, 0, all.prefix_keys, &prefix, err);
    for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
        struct attention_join join = {.view = view_of(&segments[i], group), .prefix = prefix};
        join.rows = join.view.rows;
        prefix.first += join.rows;
        int64_t keys = visible_to(&join.view, join.rows - 1, group);
        status = chunks_add(t, &join.view, all.prefix_keys, keys, &join.own, err);
        if (status == STATUS_OK) status = join_add(t, join, err);
    }
    return status;
}

/* The items of a segment that is not split. */
static enum status rows_add(struct attention_tables *t, const struct attention_view *view, int group,
                            int rows, struct error *err) {
    enum status status = STATUS_OK;
    for (int64_t first = 0; first < view->rows && status == STATUS_OK; first += rows) {
        struct attention_item item = {.view = *view, .first = first, .partial = -1};
        item.rows = least(rows, view->rows - first);
        item.end = visible_to(view, first + item.rows - 1, group);
        status = item_add(t, item, err);
    }
    return status;
}

enum status attention_plan_queries(struct attention_tables *t, struct attention_segments segments, int group,
                                   int rows, bool split, struct error *err) {
    t->item_count = t->join_count = 0;
    t->partial_rows = 0;
    enum status status = STATUS_OK;
    for (int64_t i = 0, count; i < segments.count && status == STATUS_OK; i += count) {
        struct attention_view view = view_of(&segments.host[i], group);
        count = 1;
        if (split && is_split(&view, rows, group)) {
            count = stack_count(segments, i, rows, group);
            status = stack_add(t, &segments.host[i], count, group, err);
        } else {
            status = rows_add(t, &view, group, rows, err);
        }
    }
    return status;
}

/* ---- Keys -------------------------------------------------------------------------------------------- */

/* The part of a tile that lies in [first, first + count), whose first key is the segment's key `offset`. */
static enum status part_add(struct attention_tables *t, const struct attention_view *view, int64_t begin,
                            int64_t end, int64_t first, int64_t count, int64_t offset, struct error *err) {
    struct attention_part part = {.view = *view, .key = largest(begin, first)};
    part.keys = least(end, first + count) - part.key;
    part.offset = offset + part.key - first;
    if (part.keys <= 0 || view->rows == 0) return STATUS_OK;
    enum status status =
        memory_grow(&t->parts, &t->part_capacity, t->part_count + 1, sizeof part, "plans of attention", err);
    if (status == STATUS_OK) t->parts[t->part_count++] = part;
    return status;
}

enum status attention_plan_keys(struct attention_tables *t, struct attention_segments segments, int group,
                                int tile, int64_t keys, struct error *err) {
    t->part_count = t->tile_count = 0;
    for (int64_t begin = 0; begin < keys; begin += tile) {
        int64_t end = least(begin + tile, keys), first_part = (int64_t)t->part_count;
        for (int64_t i = 0; i < segments.count; i++) {
            const struct attention_segment *s = &segments.host[i];
            struct attention_view view = view_of(s, group);
            enum status status = part_add(t, &view, begin, end, s->prefix, s->prefix_keys, 0, err);
            if (status == STATUS_OK)
                status = part_add(t, &view, begin, end, s->key, s->keys, s->prefix_keys, err);
            if (status != STATUS_OK) return status;
        }
        enum status status = memory_grow(&t->tiles, &t->tile_capacity, t->tile_count + 1, sizeof t->tiles[0],
                                         "plans of attention", err);
        if (status != STATUS_OK) return status;
        t->tiles[t->tile_count++] = (struct attention_tile){first_part, (int64_t)t->part_count - first_part};
    }
    return STATUS_OK;
}
