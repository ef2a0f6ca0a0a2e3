/* The parameters of a model of a given configuration: their names and shapes in checkpoint files, and where
 * each one lies in struct model. Readers, writers and (in training) optimizers walk this one list. */
#ifndef VS2_MODEL_PARAMETERS_H
#define VS2_MODEL_PARAMETERS_H

#include <stddef.h>

#include "model/weights.h"

enum {
    PARAMETER_NAME_SIZE = 96,
    PARAMETER_MAX_RANK = 5,
};

enum parameter_kind {
    PARAMETER_MATRIX,      /* stored [rows, cols] */
    PARAMETER_EMBEDDING,   /* the same, looked up by row */
    PARAMETER_CONVOLUTION, /* the patch embedding: stored [hidden, channels, frames, height, width] */
    PARAMETER_NORM,        /* stored [cols] */
    PARAMETER_BIAS,        /* stored [cols] */
};

struct parameter {
    char name[PARAMETER_NAME_SIZE]; /* as transformers names it since 4.52: "model.language_model...." */
    enum parameter_kind kind;
    int64_t rows, cols; /* as the model uses it; rows is 1 for vectors */
    int rank;           /* as files store it */
    int64_t shape[PARAMETER_MAX_RANK];
    enum model_unit unit; /* that it belongs to; its number is `layer` */
    int owner;            /* the struct that `offset` counts in */
    int64_t layer;        /* vision block or language layer, where the owner is one */
    size_t offset;        /* of its struct tensor */
};

/* All parameters, in the order of computation; lm_head.weight is among them unless the embeddings are tied.
 * The names fit every configuration that model_config_read accepts. free() the result. */
struct parameter *parameters_list(const struct model_config *config, size_t *count, struct error *err);

/* The place of the parameter in the model, whose blocks and layers are allocated. */
struct tensor *parameter_tensor(struct model *model, const struct parameter *parameter);

/* Writes the name of 4.52 and later for a stored name of any version ("model.layers.0...", "visual....");
 * names that are already so, or strange, or too long, stay as they are, cut to the size. */
void parameter_new_name(const char *stored, char name[PARAMETER_NAME_SIZE]);

/* Writes the name that versions up to 4.51 and the published checkpoints use, which all versions read. */
void parameter_old_name(const char *name, char old[PARAMETER_NAME_SIZE]);

#endif
