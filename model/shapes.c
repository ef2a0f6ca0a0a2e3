#include "model/shapes.h"

#include <stdlib.h>

#include "base/memory.h"
#include "model/parameters.h"

static enum dtype type_of(const struct model *model, enum parameter_kind kind) {
    bool exact = kind == PARAMETER_NORM || kind == PARAMETER_EMBEDDING;
    return exact ? model->stream : model->compute;
}

enum status model_shapes_make(struct model *model, const struct model_config *config, enum dtype compute,
                              struct error *err) {
    *model = (struct model){.config = *config, .compute = compute, .stream = DTYPE_F32};
    size_t count = 0;
    struct parameter *parameters = parameters_list(config, &count, err);
    if (!parameters) return STATUS_FAILED;
    const char *what = "the shapes of a model";
    model->vision.blocks = memory_new((size_t)config->vision.depth, sizeof *model->vision.blocks, what, err);
    if (model->vision.blocks)
        model->language.layers =
            memory_new((size_t)config->layers, sizeof *model->language.layers, what, err);
    if (model->language.layers) {
        for (size_t i = 0; i < count; i++)
            *parameter_tensor(model, &parameters[i]) =
                tensor_at(NULL, type_of(model, parameters[i].kind), parameters[i].rows, parameters[i].cols);
        if (config->tied_embeddings) {
            model->language.head = model->language.embedding;
            model->language.head.dtype = compute;
        }
    }
    free(parameters);
    if (model->language.layers) return STATUS_OK;
    model_shapes_free(model);
    return STATUS_FAILED;
}

void model_shapes_free(struct model *model) {
    free(model->vision.blocks);
    free(model->language.layers);
    *model = (struct model){0};
}
