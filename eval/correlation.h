/* How well two columns of numbers go together. All are NaN when a column is constant or shorter than two. */
#ifndef VS2_EVAL_CORRELATION_H
#define VS2_EVAL_CORRELATION_H

#include <stddef.h>

#include "base/error.h"

/* Sorts the places in order[0..count) by their values, ascending; places of equal values stay as they stand.
 * A radix sort: its cost is linear, and small where the values are few whole numbers. */
enum status sort_order(const double *values, size_t count, size_t *order, struct error *err);

/* Ranks from 1; equal values have the mean of their ranks. */
enum status average_ranks(const double *values, size_t count, double *ranks, struct error *err);

/* Pearson's r: covariance over both standard deviations. */
double pearson(const double *x, const double *y, size_t count);

/* Spearman's rho: Pearson's r of the ranks. */
enum status spearman(const double *x, const double *y, size_t count, double *rho, struct error *err);

/* Kendall's tau-b: (concordant - discordant) / sqrt((pairs - ties in x) (pairs - ties in y)), in O(n log n)
 * (Knight, "A computer method for calculating Kendall's tau with ungrouped data", JASA 61, 1966). */
enum status kendall(const double *x, const double *y, size_t count, double *tau, struct error *err);

#endif
