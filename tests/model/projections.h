/* Random projections of many values (tests/reference/gradients.py): the squares of the projections of a
 * difference have the square of its norm in the mean. */
#ifndef VS2_TESTS_PROJECTIONS_H
#define VS2_TESTS_PROJECTIONS_H

#include <stdint.h>

enum { PROJECTIONS = 16 };

/* Bit p says the sign of element n in projection p (the finalizer of MurmurHash3). */
static inline uint32_t sign_bits(uint32_t n) {
    n = (n ^ n >> 16) * 0x85ebca6bu;
    n = (n ^ n >> 13) * 0xc2b2ae35u;
    return n ^ n >> 16;
}

/* Adds element n of the values. */
static inline void projections_add(double projections[PROJECTIONS], int64_t n, double value) {
    uint32_t bits = sign_bits((uint32_t)n);
    for (int p = 0; p < PROJECTIONS; p++) projections[p] += bits >> p & 1 ? -value : value;
}

#endif
