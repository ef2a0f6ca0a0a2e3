#include "model/tokenizer_merge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { SHORT_PIECE = 48 }; /* up to here looking through all neighbours beats a heap */

static enum status push_ids(struct token_list *list, const int32_t *ids, size_t count, struct error *err) {
    if (memory_grow(&list->ids, &list->capacity, list->count + count, sizeof *ids, "tokens", err) !=
        STATUS_OK)
        return STATUS_FAILED;
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return STATUS_OK;
}

/* Merges in place, looking for the lowest order anew each time; returns how many ids are left. */
static size_t merge_short(const struct vocabulary *vocabulary, int32_t *ids, size_t count) {
    uint32_t orders[SHORT_PIECE]; /* of ids[i] and ids[i + 1] */
    int32_t merged[SHORT_PIECE];
    for (size_t i = 0; i + 1 < count; i++)
        orders[i] = vocabulary_merge(vocabulary, ids[i], ids[i + 1], &merged[i]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (orders[i] < orders[best]) best = i;
        if (orders[best] == MERGE_NONE) break;

        ids[best] = merged[best];
        size_t moved = count - best - 2;
        memmove(&ids[best + 1], &ids[best + 2], moved * sizeof *ids);
        memmove(&orders[best], &orders[best + 1], moved * sizeof *orders);
        memmove(&merged[best], &merged[best + 1], moved * sizeof *merged);
        count--;
        if (best > 0)
            orders[best - 1] = vocabulary_merge(vocabulary, ids[best - 1], ids[best], &merged[best - 1]);
        if (best + 1 < count)
            orders[best] = vocabulary_merge(vocabulary, ids[best], ids[best + 1], &merged[best]);
    }
    return count;
}

/* A long piece: its tokens are a doubly linked list, and a heap holds the neighbours that merge. */
struct symbol {
    int32_t id; /* -1: merged into the one before it */
    uint32_t before, after;
};

struct candidate {
    uint32_t order;
    uint32_t position; /* of the left one */
    int32_t id;        /* what they merge into */
};

struct merger {
    const struct vocabulary *vocabulary;
    struct symbol *symbols;
    struct candidate *heap;
    size_t heap_count;
};

static const uint32_t NO_SYMBOL = UINT32_MAX;

static bool comes_before(const struct candidate *a, const struct candidate *b) {
    return a->order != b->order ? a->order < b->order : a->position < b->position;
}

/* Puts the pair whose left symbol stands at `position` into the heap, if it merges. The heap has room: each
 * of the n symbols brings one pair in the beginning, each of at most n - 1 merges two more. */
static void add_candidate(struct merger *merger, uint32_t position) {
    struct candidate candidate = {.position = position};
    const struct symbol *left = &merger->symbols[position];
    if (left->after == NO_SYMBOL) return;
    candidate.order =
        vocabulary_merge(merger->vocabulary, left->id, merger->symbols[left->after].id, &candidate.id);
    if (candidate.order == MERGE_NONE) return;

    size_t at = merger->heap_count++;
    while (at > 0 && comes_before(&candidate, &merger->heap[(at - 1) / 2])) {
        merger->heap[at] = merger->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    merger->heap[at] = candidate;
}

static struct candidate take_candidate(struct merger *merger) {
    struct candidate first = merger->heap[0];
    struct candidate last = merger->heap[--merger->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= merger->heap_count) break;
        if (child + 1 < merger->heap_count && comes_before(&merger->heap[child + 1], &merger->heap[child]))
            child++;
        if (!comes_before(&merger->heap[child], &last)) break;
        merger->heap[at] = merger->heap[child];
        at = child;
    }
    merger->heap[at] = last;
    return first;
}

/* Carries out a merge unless its symbols have changed since it was found. */
static void apply_candidate(struct merger *merger, struct candidate candidate) {
    struct symbol *left = &merger->symbols[candidate.position];
    int32_t id;
    if (left->id < 0 || left->after == NO_SYMBOL) return;
    struct symbol *right = &merger->symbols[left->after];
    if (vocabulary_merge(merger->vocabulary, left->id, right->id, &id) != candidate.order) return;

    left->id = id;
    right->id = -1;
    left->after = right->after;
    if (left->after != NO_SYMBOL) merger->symbols[left->after].before = candidate.position;
    if (left->before != NO_SYMBOL) add_candidate(merger, left->before);
    add_candidate(merger, candidate.position);
}

static enum status merge_long(const struct vocabulary *vocabulary, const int32_t byte_ids[256],
                              const char *piece, size_t length, struct token_list *list, struct error *err) {
    enum status status = STATUS_FAILED;
    struct merger merger = {.vocabulary = vocabulary};
    if (length >= NO_SYMBOL) return error_set(err, "a word of %zu bytes is too long to be tokenized", length);
    merger.symbols = memory_new(length, sizeof *merger.symbols, "a long word", err);
    if (!merger.symbols) goto err;
    merger.heap = memory_new(3 * length, sizeof *merger.heap, "a long word", err);
    if (!merger.heap) goto err;

    for (size_t i = 0; i < length; i++)
        merger.symbols[i] = (struct symbol){.id = byte_ids[(unsigned char)piece[i]],
                                            .before = i > 0 ? (uint32_t)i - 1 : NO_SYMBOL,
                                            .after = i + 1 < length ? (uint32_t)i + 1 : NO_SYMBOL};
    for (size_t i = 0; i < length; i++) add_candidate(&merger, (uint32_t)i);
    while (merger.heap_count > 0) apply_candidate(&merger, take_candidate(&merger));
    for (uint32_t i = 0; i != NO_SYMBOL; i = merger.symbols[i].after)
        if (token_list_push(list, merger.symbols[i].id, err) != STATUS_OK) goto err;
    status = STATUS_OK;
err:
    free(merger.symbols);
    free(merger.heap);
    return status;
}

enum status merge_piece(const struct vocabulary *vocabulary, const int32_t byte_ids[256], const char *piece,
                        size_t length, struct token_list *list, struct error *err) {
    if (length > SHORT_PIECE) return merge_long(vocabulary, byte_ids, piece, length, list, err);
    int32_t ids[SHORT_PIECE];
    for (size_t i = 0; i < length; i++) ids[i] = byte_ids[(unsigned char)piece[i]];
    return push_ids(list, ids, merge_short(vocabulary, ids, length), err);
}
