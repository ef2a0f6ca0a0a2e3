/* How far a figure can be trusted: bootstrap intervals and permutation tests, cheap enough to be always
 * there.
 *
 * A share of n (an accuracy) needs no drawing: resampling n outcomes of which k are right gives a binomial
 * number of right ones, and swapping the sides of m differing outcomes gives a binomial with one half. So its
 * interval and its test are exact. For the rest, REPLICATES resamples are drawn, and at most LARGEST_RESAMPLE
 * items are resampled: of more items a random choice of that many is, and the deviations are scaled by
 * sqrt(LARGEST_RESAMPLE / n) (the m out of n bootstrap; Bickel, Goetze and van Zwet, Statistica Sinica 7,
 * 1997). Equal items are counted together, ranks are recomputed in each resample. Random numbers are a
 * function of seed, stream and position alone. */
#ifndef VS2_EVAL_RESAMPLE_H
#define VS2_EVAL_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { REPLICATES = 1000, LARGEST_RESAMPLE = 5000 };

/* A 95% interval by percentiles; NaN where there is none. */
struct interval {
    double low, high;
};

/* Of the share hits / count. */
struct interval share_interval(size_t hits, size_t count);

/* Figures of two columns, and their intervals. */
struct column_figures {
    double pearson, spearman;
    double error; /* mean |x - y| */
};

struct column_intervals {
    struct interval pearson, spearman, error;
};

/* The intervals around the figures, which are those of the columns. Resamples in which a figure is not
 * defined are left out of it; there is no interval where that are more than half. */
enum status column_intervals(const double *x, const double *y, size_t count, struct column_figures figures,
                             uint64_t seed, uint32_t stream, struct column_intervals *intervals,
                             struct error *err);

/* The chance that `wins` and `losses` of two raters on the same items differ that much or more, either way,
 * when neither is better: the exact paired permutation test of a difference of shares. 1 when there are none.
 */
double share_test(size_t wins, size_t losses);

/* The chances, either way, of the differences between two raters a and b of the truth, when each item's two
 * values might as well have been swapped: in mean |value - truth|, in Pearson's r, and in Spearman's rho (by
 * swapping ranks). NaN where a figure is not defined. From (1 + as extreme) / (1 + permutations), with
 * 9999 permutations, less for more than 2000 items, at least 999. */
struct column_tests {
    double error, pearson, spearman;
};

enum status column_tests(const double *truth, const double *a, const double *b, size_t count, uint64_t seed,
                         uint32_t stream, struct column_tests *tests, struct error *err);

#endif
