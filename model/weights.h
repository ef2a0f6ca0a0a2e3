/* The weights of a checkpoint on a device, mapped from its safetensors files and not copied where the
 * device can read host memory and the stored type serves.
 *
 * Matrices keep their stored type when it is exact in the compute type (bf16 or f32 for f32 compute, bf16
 * for bf16 compute) and are converted once otherwise. The embedding, which is looked up and not multiplied,
 * may be f32 in any case. Biases are of the compute type, norms always f32. Matrices are stored [outputs,
 * inputs]. */
#ifndef VS2_MODEL_WEIGHTS_H
#define VS2_MODEL_WEIGHTS_H

#include <stdbool.h>

#include "model/config.h"
#include "model/units.h"
#include "tensor/device.h"

struct linear {
    struct tensor weight; /* [outputs, inputs] */
    struct tensor bias;   /* [1, outputs], or no tensor */
};

struct vision_block_weights {
    struct tensor norm1, norm2; /* f32 [1, hidden] */
    struct linear qkv;          /* [3 * hidden, hidden] */
    struct linear proj;
    struct linear gate, up, down; /* the gated MLP, with biases */
};

struct vision_weights {
    struct tensor patch_embed;            /* [hidden, in_channels * temporal_patch * patch * patch] */
    struct vision_block_weights *blocks;  /* [depth] */
    struct tensor merger_norm;            /* f32 [1, hidden] */
    struct linear merger_fc1, merger_fc2; /* mlp.0 and mlp.2 */
};

struct language_layer_weights {
    struct tensor input_norm, post_attention_norm; /* f32 [1, hidden] */
    struct linear q, k, v;                         /* with biases */
    struct tensor o;                               /* [hidden, heads * head_dim] */
    struct tensor gate, up, down;
};

struct language_weights {
    struct tensor embedding;               /* [vocab, hidden]; bf16 or f32 */
    struct language_layer_weights *layers; /* [layers] */
    struct tensor norm;                    /* f32 [1, hidden] */
    struct tensor head;                    /* [vocab, hidden]; when tied the embedding, or its copy */
};

struct checkpoint; /* the mapped files and converted copies that the tensors lie in */

struct model {
    struct model_config config;
    struct device *device;
    enum dtype compute; /* DTYPE_F32 or DTYPE_BF16: the type of operands of products and of their results */
    /* The type of the language model's residual stream: the compute type, or f32 over trained weights, as
     * torch.autocast has it (train/optimizer.h). */
    enum dtype stream;
    struct vision_weights vision;
    struct language_weights language;
    struct checkpoint *checkpoint;
    const struct unit_watch *watch; /* NULL: nobody; of gradients it is another one than of weights */
};

static inline void model_enter(const struct model *model, enum model_unit unit, int64_t number) {
    if (model->watch && model->watch->enter) model->watch->enter(model->watch->context, unit, number);
}

static inline void model_leave(const struct model *model, enum model_unit unit, int64_t number) {
    if (model->watch && model->watch->leave) model->watch->leave(model->watch->context, unit, number);
}

/* Opens a checkpoint: `name` is a folder, or a hub name ("Qwen/Qwen2.5-VL-7B-Instruct") found in the local
 * Hugging Face cache (model/hub.h). All missing, surplus and wrongly shaped tensors are named in one
 * error. model_close frees everything. */
enum status model_open(const char *name, struct device *device, enum dtype compute, struct model *model,
                       struct error *err);
void model_close(struct model *model);

/* Gives back the memory of a tensor to which nothing of the model refers any more; nothing where it lies in a
 * file or beside others. */
void model_release(struct model *model, struct tensor tensor);

/* Lets go of the checkpoint's pages in memory, after what was needed of them has been copied. Tensors that
 * still lie in the files come back as they are looked at. */
void model_drop_pages(const struct model *model);

/* Says of a parameter (model/parameters.h) whether it is one of a kind. */
struct parameter;
typedef bool (*parameter_test)(const void *context, const struct parameter *parameter);

/* The same, where the parameters that `exact` names are f32 or bf16 as they are stored, whatever the compute
 * type: not yet what products take, but what it will be rounded from. */
enum status model_open_exact(const char *name, struct device *device, enum dtype compute,
                             parameter_test exact, const void *context, struct model *model,
                             struct error *err);

#endif
