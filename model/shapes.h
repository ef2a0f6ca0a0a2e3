/* A model without weights: its tensors have types and shapes, but no data. What counts work and memory
 * (model/cost.h, model/language.h, train/optimizer.h) takes it as it takes a real one. */
#ifndef VS2_MODEL_SHAPES_H
#define VS2_MODEL_SHAPES_H

#include "model/weights.h"

/* Types as a trained model has them: products are of `compute`, the stream and the embedding f32. */
enum status model_shapes_make(struct model *model, const struct model_config *config, enum dtype compute,
                              struct error *err);
void model_shapes_free(struct model *model);

#endif
