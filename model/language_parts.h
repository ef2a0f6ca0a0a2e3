/* What the forward and the backward pass of the language model share. */
#ifndef VS2_MODEL_LANGUAGE_PARTS_H
#define VS2_MODEL_LANGUAGE_PARTS_H

#include "model/blocks.h"
#include "model/language.h"

/* A layer's weights, or their gradients, as a block. */
struct block language_block(const struct language_layer_weights *layer);

struct block_shape language_block_shape(const struct model_config *config);

/* What the calls of all layers of a pass have in common. */
struct block_call language_call(const struct model *model, struct arena *arena,
                                const struct language_pass *pass);

/* The call of one layer: the last one leaves unwanted rows out. */
struct block_call language_layer_call(const struct model *model, const struct block_call *all,
                                      const struct language_pass *pass, int64_t number);

#endif
