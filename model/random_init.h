/* Checkpoints with random weights, for demonstrations, tests and benchmarks of any size. */
#ifndef VS2_MODEL_RANDOM_INIT_H
#define VS2_MODEL_RANDOM_INIT_H

#include "model/checkpoint_write.h"

/* Writes the configuration files and weights into the existing folder: matrices and biases normal with
 * standard deviation 0.02 (initializer_range), norms 1. The same seed gives the same values, whatever the
 * dtype (which rounds them) and the number of threads. Only a few MiB of them are in memory at a time.
 * shard_bytes as in checkpoint_write_tensors. dtype: DTYPE_F32 or DTYPE_BF16. */
enum status random_checkpoint_write(const char *folder, const struct model_config *config,
                                    const struct generation_config *generation, enum dtype dtype,
                                    uint64_t seed, size_t shard_bytes, struct error *err);

#endif
