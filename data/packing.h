/* Which samples share a sequence when they are packed to cutoff_len. */
#ifndef VS2_DATA_PACKING_H
#define VS2_DATA_PACKING_H

#include <stdint.h>

#include "base/error.h"

/* Group g holds samples items[starts[g]] to items[starts[g + 1] - 1]. */
struct packing {
    int64_t *items;
    int64_t *starts; /* [group_count + 1] */
    int64_t group_count;
};

/* Packs samples of the given lengths into groups of at most `cutoff` tokens, each filled with the longest
 * that still fits: LLaMA-Factory's greedy_knapsack over all samples at once (there: over each 1000), with the
 * same groups in the same order, and of samples of one length the last one first. Every length must be in
 * [1, cutoff]; another one is an error. packing_free frees it. */
enum status packing_make(const int64_t *lengths, int64_t count, int64_t cutoff, struct packing *packing,
                         struct error *err);
void packing_free(struct packing *packing);

#endif
