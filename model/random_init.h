/* Checkpoints with random weights, for demonstrations, tests and benchmarks of any size. */
#ifndef VS2_MODEL_RANDOM_INIT_H
#define VS2_MODEL_RANDOM_INIT_H

#include "model/checkpoint_write.h"

/* What the weights are. The same seed gives the same values, whatever the dtype (which rounds them) and the
 * number of threads. */
struct random_weights {
    enum dtype dtype; /* DTYPE_F32 or DTYPE_BF16 */
    uint64_t seed;
    /* Matrices are normal with standard deviation gain / sqrt(columns), so that signals keep their size from
     * layer to layer and a small model learns soon; 0: with 0.02 (initializer_range), as large models begin.
     * Biases have 0.02, norms are 1. */
    double gain;
};

/* Writes the configuration files and weights into the existing folder. Only a few MiB of them are in memory
 * at a time. shard_bytes as in checkpoint_write_tensors. */
enum status random_checkpoint_write(const char *folder, const struct model_config *config,
                                    const struct generation_config *generation,
                                    const struct random_weights *weights, size_t shard_bytes,
                                    struct error *err);

#endif
