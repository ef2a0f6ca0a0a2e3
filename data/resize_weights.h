/* The weights of a resize along one axis. */
#ifndef VS2_DATA_RESIZE_WEIGHTS_H
#define VS2_DATA_RESIZE_WEIGHTS_H

#include <stdint.h>

#include "base/error.h"
#include "data/resize.h"

/* Output i is the sum over k < counts[i] of weight(i, k) * input[starts[i] + k], plus a half, shifted right
 * by `precision`, held in [0, 255]. weight(i, k) = low[i * taps + k], plus high[i * taps + k] << HIGH_SHIFT
 * where there is a `high`: both halves fit the 16-bit multiplications of vector units. Weights past counts[i]
 * are 0. */
enum { RESIZE_HIGH_SHIFT = 11 };

struct resize_weights {
    int64_t length; /* of the output */
    int64_t taps;   /* at least the largest count, even */
    int precision;
    int32_t *starts;
    int32_t *counts;
    int16_t *low;
    int16_t *high; /* NULL when the weights have 16 bits */
};

enum status resize_weights_new(enum resize_kind kind, int64_t from, int64_t to,
                               struct resize_weights *weights, struct error *err);
void resize_weights_free(struct resize_weights *weights);

#endif
