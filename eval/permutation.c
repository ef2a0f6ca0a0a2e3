/* Permutation tests: is one rater better than another, or could their values as well have been swapped? */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "eval/correlation.h"
#include "eval/resample.h"

double share_test(size_t wins, size_t losses) {
    const double n = (double)wins + (double)losses;
    const size_t fewer = wins < losses ? wins : losses;
    if (wins == losses) return 1;
    double sum = 0; /* P(K <= fewer) of a binomial with one half, from its largest term down */
    for (size_t k = fewer + 1; k-- > 0;) {
        const double hits = (double)k;
        const double term = exp(lgamma(n + 1) - lgamma(hits + 1) - lgamma(n - hits + 1) - n * log(2));
        sum += term;
        if (term < sum * 1e-18) break;
    }
    return fmin(1, 2 * sum);
}

/* ---- Correlations under swaps ------------------------------------------------------------------------ */

/* What swapping an item adds to the sums of rater a and takes from those of b. */
struct swap {
    double value, square, product; /* b - a, b^2 - a^2, truth (b - a) */
};

/* Sums of a rater; the truth is taken from its mean on. */
struct sums {
    double value, square, product;
};

/* Two raters' values, or their ranks, beside the truth's. */
struct column {
    struct swap *swaps; /* [count] */
    struct sums a, b;
    double truth_square; /* sum of the truth's squares */
    double count;
};

static double correlation(const struct column *column, const struct sums *sums) {
    const double square = sums->square - sums->value * sums->value / column->count;
    if (!(square > 1e-12 * sums->square) || !(column->truth_square > 0)) return NAN;
    return sums->product / sqrt(square) / sqrt(column->truth_square);
}

/* How much better b correlates than a, when the swaps that were summed up are made. */
static double gain(const struct column *column, const struct swap *swapped) {
    const struct sums a = {column->a.value + swapped->value, column->a.square + swapped->square,
                           column->a.product + swapped->product};
    const struct sums b = {column->b.value - swapped->value, column->b.square - swapped->square,
                           column->b.product - swapped->product};
    return correlation(column, &b) - correlation(column, &a);
}

static double mean(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

static enum status column_make(const double *truth, const double *a, const double *b, size_t count,
                               struct column *column, struct error *err) {
    *column = (struct column){.swaps = memory_new(count, sizeof *column->swaps, "a permutation test", err),
                              .count = (double)count};
    if (!column->swaps) return STATUS_FAILED;
    const double truth_mean = mean(truth, count), middle = (mean(a, count) + mean(b, count)) / 2;
    for (size_t i = 0; i < count; i++) {
        const double t = truth[i] - truth_mean, x = a[i] - middle, y = b[i] - middle;
        column->a = (struct sums){column->a.value + x, column->a.square + x * x, column->a.product + t * x};
        column->b = (struct sums){column->b.value + y, column->b.square + y * y, column->b.product + t * y};
        column->truth_square += t * t;
        column->swaps[i] = (struct swap){y - x, y * y - x * x, t * (y - x)};
    }
    return STATUS_OK;
}

static enum status rank_column_make(const double *truth, const double *a, const double *b, size_t count,
                                    struct column *column, struct error *err) {
    double *ranks = memory_new(3 * count, sizeof *ranks, "a permutation test", err);
    enum status status = ranks ? average_ranks(truth, count, ranks, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = average_ranks(a, count, ranks + count, err);
    if (status == STATUS_OK) status = average_ranks(b, count, ranks + 2 * count, err);
    *column = (struct column){0};
    if (status == STATUS_OK)
        status = column_make(ranks, ranks + count, ranks + 2 * count, count, column, err);
    free(ranks);
    return status;
}

/* ---- The test ---------------------------------------------------------------------------------------- */

enum { VALUES, RANKS, COLUMNS, BITS = 128 };

struct test {
    struct column columns[COLUMNS];
    double *errors; /* [count]: |b - truth| - |a - truth| */
    size_t count;
    double observed[COLUMNS], observed_error;
    int64_t extreme[COLUMNS], extreme_error;
};

/* As far from 0 as what was seen, or not defined, which speaks against nothing. */
static bool extreme(double value, double observed) {
    return !(fabs(value) < fabs(observed) - 1e-12);
}

static void permute(struct test *test, struct random_key key) {
    struct swap sums[COLUMNS] = {{0}};
    double error = 0;
    for (size_t start = 0; start < test->count; start += BITS, key.position++) {
        uint32_t words[4];
        random_words(key, words);
        const size_t end = start + BITS < test->count ? start + BITS : test->count;
        for (size_t i = start; i < end; i++) {
            const double swapped = words[(i - start) / 32] >> (i - start) % 32 & 1;
            for (int c = 0; c < COLUMNS; c++) {
                sums[c].value += swapped * test->columns[c].swaps[i].value;
                sums[c].square += swapped * test->columns[c].swaps[i].square;
                sums[c].product += swapped * test->columns[c].swaps[i].product;
            }
            error += swapped * test->errors[i];
        }
    }
    for (int c = 0; c < COLUMNS; c++)
        test->extreme[c] += extreme(gain(&test->columns[c], &sums[c]), test->observed[c]);
    test->extreme_error += extreme(test->observed_error - 2 * error, test->observed_error);
}

static enum status test_make(const double *truth, const double *a, const double *b, size_t count,
                             struct test *test, struct error *err) {
    *test = (struct test){.count = count,
                          .errors = memory_new(count, sizeof *test->errors, "a permutation test", err)};
    if (!test->errors) return STATUS_FAILED;
    enum status status = column_make(truth, a, b, count, &test->columns[VALUES], err);
    if (status == STATUS_OK) status = rank_column_make(truth, a, b, count, &test->columns[RANKS], err);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < count; i++) {
        test->errors[i] = fabs(b[i] - truth[i]) - fabs(a[i] - truth[i]);
        test->observed_error += test->errors[i];
    }
    for (int c = 0; c < COLUMNS; c++) test->observed[c] = gain(&test->columns[c], &(struct swap){0});
    return STATUS_OK;
}

static uint32_t permutation_count(size_t items) {
    const double affordable = 2e7 / (double)items;
    return affordable > 9999 ? 9999 : affordable < 999 ? 999 : (uint32_t)affordable;
}

static double chance(int64_t extreme_ones, uint32_t permutations, double observed) {
    return isnan(observed) ? NAN : (1 + (double)extreme_ones) / (1 + (double)permutations);
}

enum status column_tests(const double *truth, const double *a, const double *b, size_t count, uint64_t seed,
                         uint32_t stream, struct column_tests *tests, struct error *err) {
    struct test test;
    *tests = (struct column_tests){NAN, NAN, NAN};
    if (!count) return STATUS_OK;
    const uint32_t permutations = permutation_count(count);
    enum status status = test_make(truth, a, b, count, &test, err);
    for (uint32_t r = 0; r < permutations && status == STATUS_OK; r++)
        permute(&test, (struct random_key){.seed = seed, .stream = stream, .sample = r});
    if (status == STATUS_OK)
        *tests = (struct column_tests){
            .error = chance(test.extreme_error, permutations, test.observed_error),
            .pearson = chance(test.extreme[VALUES], permutations, test.observed[VALUES]),
            .spearman = chance(test.extreme[RANKS], permutations, test.observed[RANKS])};
    for (int c = 0; c < COLUMNS; c++) free(test.columns[c].swaps);
    free(test.errors);
    return status;
}
