/* Writes a checkpoint folder in the Hugging Face layout: config.json, generation_config.json,
 * preprocessor_config.json and safetensors files. transformers' from_pretrained loads it as it is.
 *
 * Each file appears whole or not at all. The folder as a whole does not: whoever replaces a checkpoint that
 * must survive writes into a new folder and renames that.
 */
#ifndef VS2_MODEL_CHECKPOINT_WRITE_H
#define VS2_MODEL_CHECKPOINT_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "model/config.h"
#include "model/parameters.h"
#include "tensor/tensor.h"

/* One tensor to write. */
struct checkpoint_entry {
    const char *name;
    enum dtype dtype; /* DTYPE_F32, DTYPE_BF16 or DTYPE_F16 */
    int rank;
    int64_t shape[PARAMETER_MAX_RANK];
};

/* Where the elements come from, asked for in order and a few MiB at a time, so that there is never a second
 * copy of the weights. */
struct checkpoint_source {
    /* Puts elements [first, first + count) of entry `index`, of its dtype, into `elements`. */
    enum status (*read)(void *state, size_t index, int64_t first, int64_t count, void *elements,
                        struct error *err);
    void *state;
};

/* The entry of a parameter, under the name that every version of transformers reads; `old_name` keeps it. */
struct checkpoint_entry checkpoint_entry_of(const struct parameter *parameter, enum dtype dtype,
                                            char old_name[PARAMETER_NAME_SIZE]);

/* Writes FOLDER/model.safetensors, or, when there are more than `shard_bytes` (0: 5 GB, as transformers),
 * FOLDER/model-00001-of-0000N.safetensors and the index. Files of another division that lie there from
 * before are removed at the end. */
enum status checkpoint_write_tensors(const char *folder, const struct checkpoint_entry *entries, size_t count,
                                     struct checkpoint_source source, size_t shard_bytes, struct error *err);

/* Writes config.json (in the flat layout of the published checkpoints), generation_config.json and
 * preprocessor_config.json. `dtype` is the type that the weights are stored in. */
enum status checkpoint_write_config(const char *folder, const struct model_config *config,
                                    const struct generation_config *generation, enum dtype dtype,
                                    struct error *err);

#endif
