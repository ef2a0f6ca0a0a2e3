#include "data/packing.h"

#include <stdlib.h>

#include "base/memory.h"

/* Samples in piles of one length each, the last sample on top, and the piles linked so that the longest
 * length that fits and has any is found at once. */
struct piles {
    int64_t *top;     /* [cutoff + 1]: a sample, or -1 */
    int64_t *below;   /* [count]: the sample under each */
    int64_t *shorter; /* [cutoff + 1]: the pile itself, or a shorter one to go on from; 0 is the end */
};

static void piles_free(struct piles *piles) {
    free(piles->top);
    free(piles->below);
    free(piles->shorter);
}

static enum status piles_fill(struct piles *piles, const int64_t *lengths, int64_t count, int64_t cutoff,
                              struct error *err) {
    piles->top = memory_new((size_t)cutoff + 1, sizeof *piles->top, "packing", err);
    piles->below = memory_new((size_t)count, sizeof *piles->below, "packing", err);
    piles->shorter = memory_new((size_t)cutoff + 1, sizeof *piles->shorter, "packing", err);
    if (!piles->top || !piles->below || !piles->shorter) return STATUS_FAILED;
    for (int64_t length = 0; length <= cutoff; length++) piles->top[length] = -1;
    for (int64_t i = 0; i < count; i++) {
        if (lengths[i] < 1 || lengths[i] > cutoff)
            return error_set(err, "a sample of %lld tokens cannot be packed to %lld", (long long)lengths[i],
                             (long long)cutoff);
        piles->below[i] = piles->top[lengths[i]];
        piles->top[lengths[i]] = i;
    }
    for (int64_t length = 1; length <= cutoff; length++)
        piles->shorter[length] = piles->top[length] >= 0 ? length : length - 1;
    return STATUS_OK;
}

/* The longest length of at most `room` that has samples, 0 when none has. What it passes is linked past. */
static int64_t longest(struct piles *piles, int64_t room) {
    int64_t found = room;
    while (piles->shorter[found] != found) found = piles->shorter[found];
    while (piles->shorter[room] != room) {
        int64_t next = piles->shorter[room];
        piles->shorter[room] = found;
        room = next;
    }
    return found;
}

static int64_t take(struct piles *piles, int64_t length) {
    int64_t sample = piles->top[length];
    piles->top[length] = piles->below[sample];
    if (piles->top[length] < 0) piles->shorter[length] = length - 1;
    return sample;
}

enum status packing_make(const int64_t *lengths, int64_t count, int64_t cutoff, struct packing *packing,
                         struct error *err) {
    struct piles piles = {0};
    enum status status = piles_fill(&piles, lengths, count, cutoff, err);
    *packing = (struct packing){0};
    if (status != STATUS_OK) goto end;
    packing->items = memory_new((size_t)count, sizeof *packing->items, "packing", err);
    packing->starts = memory_new((size_t)count + 1, sizeof *packing->starts, "packing", err);
    status = packing->items && packing->starts ? STATUS_OK : STATUS_FAILED;
    for (int64_t done = 0; status == STATUS_OK && done < count;) {
        int64_t room = cutoff;
        for (int64_t length; (length = longest(&piles, room)) > 0; room -= length)
            packing->items[done++] = take(&piles, length);
        packing->starts[++packing->group_count] = done;
    }
end:
    piles_free(&piles);
    if (status != STATUS_OK) packing_free(packing);
    return status;
}

void packing_free(struct packing *packing) {
    free(packing->items);
    free(packing->starts);
    *packing = (struct packing){0};
}
