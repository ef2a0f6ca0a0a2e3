#include "tensor/cpu/attention_plan.h"

#include <stdlib.h>

#include "base/memory.h"
#include "tensor/cpu/kernels/attention.h"

int64_t attention_own_keys(const struct attention_segment *segment, int64_t row, int group) {
    return segment->causal ? row / group + 1 + segment->keys - segment->queries : segment->keys;
}

/* By prefix, segments without one last; equal ones stay in the table's order. */
static int compare_segments(const void *left, const void *right) {
    const struct attention_segment *a = *(const struct attention_segment *const *)left;
    const struct attention_segment *b = *(const struct attention_segment *const *)right;
    if (!a->prefix_keys != !b->prefix_keys) return a->prefix_keys ? -1 : 1;
    if (a->prefix_keys) {
        if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
        if (a->prefix_keys != b->prefix_keys) return a->prefix_keys < b->prefix_keys ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static bool same_prefix(const struct attention_segment *a, const struct attention_segment *b) {
    return a->prefix_keys > 0 && a->prefix_keys == b->prefix_keys && a->prefix == b->prefix;
}

/* Puts the rows of a segment into the last block, as far as it has room and the same prefix, and new ones. */
static enum status add_rows(struct attention_plan *plan, const struct attention_segment *segment, int group,
                            struct error *err) {
    int64_t rows = segment->queries * group;
    for (int64_t first = 0; first < rows;) {
        struct attention_block *block = plan->block_count ? &plan->blocks[plan->block_count - 1] : NULL;
        bool fits =
            block && block->rows < ATTENTION_ROWS && same_prefix(plan->pieces[block->piece].segment, segment);
        if (!fits) {
            if (memory_grow(&plan->blocks, &plan->block_capacity, plan->block_count + 1, sizeof *block,
                            "attention blocks", err) != STATUS_OK)
                return STATUS_FAILED;
            block = &plan->blocks[plan->block_count++];
            *block = (struct attention_block){.piece = (int64_t)plan->piece_count};
        }
        if (memory_grow(&plan->pieces, &plan->piece_capacity, plan->piece_count + 1, sizeof *plan->pieces,
                        "attention blocks", err) != STATUS_OK)
            return STATUS_FAILED;
        int room = ATTENTION_ROWS - block->rows;
        int count = rows - first < room ? (int)(rows - first) : room;
        plan->pieces[plan->piece_count++] = (struct attention_piece){segment, first, block->rows, count};
        block->rows += count;
        block->pieces++;
        first += count;
    }
    return STATUS_OK;
}

static enum status add_part(struct attention_plan *plan, struct attention_part part, struct error *err) {
    if (memory_grow(&plan->parts, &plan->part_capacity, plan->part_count + 1, sizeof *plan->parts,
                    "attention chunks", err) != STATUS_OK)
        return STATUS_FAILED;
    plan->parts[plan->part_count++] = part;
    plan->blocks[part.block].parts++;
    return STATUS_OK;
}

static int chunk_keys(int64_t offset, int64_t keys) {
    return keys - offset < ATTENTION_CHUNK ? (int)(keys - offset) : ATTENTION_CHUNK;
}

/* The chunks of the prefix, then those of every piece's own keys; early rows may not see the late ones. */
static enum status add_parts(struct attention_plan *plan, int64_t index, int group, struct error *err) {
    struct attention_block *block = &plan->blocks[index];
    block->part = (int64_t)plan->part_count;
    const struct attention_segment *shared = plan->pieces[block->piece].segment;
    for (int64_t at = 0; at < shared->prefix_keys; at += ATTENTION_CHUNK) {
        struct attention_part part = {.block = index, .piece = -1, .rows = block->rows, .offset = at};
        part.key = shared->prefix + at;
        part.keys = chunk_keys(at, shared->prefix_keys);
        part.first = at == 0;
        if (add_part(plan, part, err) != STATUS_OK) return STATUS_FAILED;
    }
    for (int64_t i = block->piece; i < block->piece + block->pieces; i++) {
        const struct attention_piece *piece = &plan->pieces[i];
        const struct attention_segment *segment = piece->segment;
        int64_t seen = attention_own_keys(segment, piece->first + piece->rows - 1, group);
        for (int64_t at = 0; at < seen; at += ATTENTION_CHUNK) {
            int skip = 0;
            while (attention_own_keys(segment, piece->first + skip, group) <= at) skip++;
            struct attention_part part = {.block = index, .piece = i, .offset = at};
            part.row = piece->row + skip;
            part.rows = piece->rows - skip;
            part.key = segment->key + at;
            part.keys = chunk_keys(at, seen);
            part.first = at == 0 && segment->prefix_keys == 0;
            if (add_part(plan, part, err) != STATUS_OK) return STATUS_FAILED;
        }
    }
    return STATUS_OK;
}

enum status attention_plan_make(struct attention_plan *plan, struct attention_segments segments, int group,
                                struct error *err) {
    *plan = (struct attention_plan){0};
    const struct attention_segment **order =
        memory_new((size_t)segments.count, sizeof(struct attention_segment *), "attention segments", err);
    if (!order) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < segments.count; i++) order[i] = &segments.host[i];
    qsort(order, (size_t)segments.count, sizeof order[0], compare_segments);
    for (int64_t i = 0; i < segments.count && status == STATUS_OK; i++)
        status = add_rows(plan, order[i], group, err);
    for (size_t i = 0; i < plan->block_count && status == STATUS_OK; i++)
        status = add_parts(plan, (int64_t)i, group, err);
    free(order);
    return status;
}

void attention_plan_free(struct attention_plan *plan) {
    free(plan->pieces);
    free(plan->blocks);
    free(plan->parts);
    *plan = (struct attention_plan){0};
}
