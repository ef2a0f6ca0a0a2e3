/* How far two raters that gave a number to each of the same items agree: 1 is agreement, 0 what chance would
 * give. NaN when there are no two different values. */
#ifndef VS2_EVAL_AGREEMENT_H
#define VS2_EVAL_AGREEMENT_H

#include <stddef.h>

#include "base/error.h"

/* Cohen's kappa with quadratic weights: 1 - mean (x - y)^2 / the same mean over all pairs of an x and a y
 * (Cohen, "Weighted kappa", Psychological Bulletin 70, 1968). */
double weighted_kappa(const double *x, const double *y, size_t count);

/* Krippendorff's alpha for two raters and interval data: 1 - D_o / D_e with D_o = mean (x - y)^2 and D_e the
 * mean of (a - b)^2 over all pairs of the 2n values (Krippendorff, "Content Analysis", chapter 12). */
double alpha_interval(const double *x, const double *y, size_t count);

/* The same for ordinal data, whose distance of two values is that of their ranks among all 2n values. */
enum status alpha_ordinal(const double *x, const double *y, size_t count, double *alpha, struct error *err);

#endif
