#include "eval/correlation.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct keyed {
    uint64_t key;
    size_t place;
};

/* A number whose order among unsigned ones is the value's. */
static uint64_t sort_key(double value) {
    const uint64_t sign = (uint64_t)1 << 63;
    uint64_t bits;
    value += 0.0; /* -0 is 0 */
    memcpy(&bits, &value, sizeof bits);
    return bits & sign ? ~bits : bits | sign;
}

/* Sorts by one byte of the keys, from `from` to `to`; false when it is the same in all, and nothing was done.
 */
static bool sort_by_byte(const struct keyed *from, struct keyed *to, size_t count, int byte) {
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++) starts[(from[i].key >> 8 * byte & 255) + 1]++;
    for (int i = 0; i < 256; i++) {
        if (starts[i + 1] == count) return false;
        starts[i + 1] += starts[i];
    }
    for (size_t i = 0; i < count; i++) to[starts[from[i].key >> 8 * byte & 255]++] = from[i];
    return true;
}

enum status sort_order(const double *values, size_t count, size_t *order, struct error *err) {
    struct keyed *memory = memory_new(2 * count, sizeof *memory, "sorting", err);
    if (!memory) return STATUS_FAILED;
    struct keyed *from = memory, *to = memory + count;
    for (size_t i = 0; i < count; i++) from[i] = (struct keyed){sort_key(values[order[i]]), order[i]};
    for (int byte = 0; byte < 8; byte++) {
        if (!sort_by_byte(from, to, count, byte)) continue;
        struct keyed *sorted = to;
        to = from;
        from = sorted;
    }
    for (size_t i = 0; i < count; i++) order[i] = from[i].place;
    free(memory);
    return STATUS_OK;
}

/* The places 0 to count - 1 by their values; free() it. */
static size_t *sorted_places(const double *values, size_t count, struct error *err) {
    size_t *order = memory_new(count, sizeof *order, "sorting", err);
    for (size_t i = 0; i < count && order; i++) order[i] = i;
    if (order && sort_order(values, count, order, err) == STATUS_OK) return order;
    free(order);
    return NULL;
}

/* Where the run of equal values that begins at `from` ends, in that order. */
static size_t run_end(const double *values, const size_t *order, size_t count, size_t from) {
    size_t to = from + 1;
    while (to < count && values[order[to]] == values[order[from]]) to++;
    return to;
}

enum status average_ranks(const double *values, size_t count, double *ranks, struct error *err) {
    size_t *order = sorted_places(values, count, err);
    if (!order) return STATUS_FAILED;
    for (size_t from = 0, to; from < count; from = to) {
        to = run_end(values, order, count, from);
        for (size_t i = from; i < to; i++) ranks[order[i]] = (double)(from + 1 + to) / 2;
    }
    free(order);
    return STATUS_OK;
}

static bool constant(const double *values, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (values[i] != values[0]) return false;
    return true;
}

static double mean(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

double pearson(const double *x, const double *y, size_t count) {
    if (count < 2 || constant(x, count) || constant(y, count)) return NAN;
    const double x_mean = mean(x, count), y_mean = mean(y, count);
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < count; i++) {
        const double dx = x[i] - x_mean, dy = y[i] - y_mean;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    return fmax(-1, fmin(1, xy / (sqrt(xx) * sqrt(yy))));
}

enum status spearman(const double *x, const double *y, size_t count, double *rho, struct error *err) {
    double *ranks = memory_new(2 * count, sizeof *ranks, "ranks", err);
    if (!ranks) return STATUS_FAILED;
    enum status status = average_ranks(x, count, ranks, err);
    if (status == STATUS_OK) status = average_ranks(y, count, ranks + count, err);
    if (status == STATUS_OK) *rho = pearson(ranks, ranks + count, count);
    free(ranks);
    return status;
}

/* ---- Kendall ----------------------------------------------------------------------------------------- */

static int64_t pairs_of(size_t count) {
    return (int64_t)count * ((int64_t)count - 1) / 2;
}

/* Pairs of equal values among sorted ones. */
static int64_t tied_pairs(const double *values, size_t count) {
    int64_t pairs = 0;
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && values[to] == values[from];) to++;
        pairs += pairs_of(to - from);
    }
    return pairs;
}

/* Sorts the values by merging, and counts the pairs that stood the wrong way round. */
static int64_t sort_counting(double *values, double *scratch, size_t count) {
    int64_t exchanges = 0;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t start = 0; start < count; start += 2 * width) {
            const size_t middle = start + width < count ? start + width : count;
            const size_t end = start + 2 * width < count ? start + 2 * width : count;
            size_t left = start, right = middle;
            for (size_t out = start; out < end; out++) {
                if (left < middle && (right == end || values[left] <= values[right])) {
                    scratch[out] = values[left++];
                } else {
                    scratch[out] = values[right++];
                    exchanges += (int64_t)(middle - left);
                }
            }
        }
        memcpy(values, scratch, count * sizeof *values);
    }
    return exchanges;
}

/* tau-b of values sorted by x, and by y where x is equal. y is sorted on return. */
static double tau_b(const double *x, double *y, double *scratch, size_t count) {
    const int64_t all = pairs_of(count), x_ties = tied_pairs(x, count);
    int64_t both_ties = 0;
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && x[to] == x[from];) to++;
        both_ties += tied_pairs(y + from, to - from);
    }
    const int64_t discordant = sort_counting(y, scratch, count), y_ties = tied_pairs(y, count);
    const int64_t difference = all - x_ties - y_ties + both_ties - 2 * discordant;
    if (all == x_ties || all == y_ties) return NAN;
    const double tau = (double)difference / sqrt((double)(all - x_ties)) / sqrt((double)(all - y_ties));
    return fmax(-1, fmin(1, tau));
}

enum status kendall(const double *x, const double *y, size_t count, double *tau, struct error *err) {
    enum status status = STATUS_FAILED;
    size_t *order = sorted_places(y, count, err);
    double *sorted = memory_new(3 * count, sizeof *sorted, "ranks", err);
    if (!order || !sorted) goto err;
    status = sort_order(x, count, order, err);
    if (status != STATUS_OK) goto err;
    for (size_t i = 0; i < count; i++) {
        sorted[i] = x[order[i]];
        sorted[count + i] = y[order[i]];
    }
    *tau = count < 2 ? NAN : tau_b(sorted, sorted + count, sorted + 2 * count, count);
err:
    free(order);
    free(sorted);
    return status;
}
