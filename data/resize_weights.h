/* The weights of a resize along one axis. */
#ifndef VS2_DATA_RESIZE_WEIGHTS_H
#define VS2_DATA_RESIZE_WEIGHTS_H

#include <stdint.h>

#include "base/error.h"
#include "data/resize.h"

/* Output i is the sum over k < counts[i] of values[i * taps + k] * input[starts[i] + k], plus a half, shifted
 * right by `precision`, held in [0, 255]. Values past counts[i] are 0, and starts[i] + taps may pass the end.
 */
struct resize_weights {
    int64_t length; /* of the output */
    int64_t taps;   /* the largest count, rounded up to an even number */
    int precision;
    int32_t *starts;
    int32_t *counts;
    int32_t *values;
};

enum status resize_weights_new(enum resize_kind kind, int64_t from, int64_t to,
                               struct resize_weights *weights, struct error *err);
void resize_weights_free(struct resize_weights *weights);

#endif
