/* Work counted from sizes: floating-point operations of the matrix products and of attention (a product and a
 * sum are two), and bytes that must be read. Plans, and benchmarks beside their measured seconds, use them.
 */
#ifndef VS2_MODEL_COST_H
#define VS2_MODEL_COST_H

#include "model/positions.h"
#include "model/weights.h"

struct cost {
    double flops;
    double bytes; /* of weights, each once, and of the keys and values that are looked at */
};

/* One pass of the vision tower over the plan's patches. */
struct cost vision_cost(const struct model *model, const struct vision_plan *plan);

/* One pass of the language model over `tokens` tokens with the segments, and logits of `logits` of them. */
struct cost language_cost(const struct model *model, int64_t tokens, struct attention_segments segments,
                          int64_t logits);

#endif
