#include "model/random_init.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "tensor/float16.h"

static const float initializer_range = 0.02f;

struct random_source {
    const struct parameter *parameters;
    const struct random_weights *weights;
};

/* Four independent normal numbers from the words of one counter (Box and Muller, "A note on the generation
 * of random normal deviates", 1958). */
static void normal4(struct random_key key, float normal[4]) {
    uint32_t words[4];
    random_words(key, words);
    for (int i = 0; i < 4; i += 2) {
        float uniform = ((float)(words[i] >> 8) + 0.5f) * 0x1p-24f; /* in (0, 1) */
        float angle = (float)(words[i + 1] >> 8) * 0x1p-24f * 6.28318530718f;
        float radius = sqrtf(-2 * logf(uniform));
        normal[i] = radius * cosf(angle);
        normal[i + 1] = radius * sinf(angle);
    }
}

static void store(void *elements, int64_t index, float value, enum dtype dtype) {
    if (dtype == DTYPE_F32)
        ((float *)elements)[index] = value;
    else
        ((uint16_t *)elements)[index] = float_to_bf16(value);
}

static float standard_deviation(const struct parameter *parameter, double gain) {
    if (gain == 0 || parameter->kind == PARAMETER_BIAS) return initializer_range;
    return (float)(gain / sqrt((double)parameter->cols));
}

/* Fills elements [first, first + count) of one parameter: each depends on its own place alone. */
static enum status read_random(void *state, size_t index, int64_t first, int64_t count, void *elements,
                               struct error *err) {
    (void)err;
    const struct random_source *source = state;
    const bool norm = source->parameters[index].kind == PARAMETER_NORM;
    const float deviation = standard_deviation(&source->parameters[index], source->weights->gain);
    const int64_t first_group = first / 4, last_group = (first + count + 3) / 4;
#pragma omp parallel for schedule(static) if (count > 16384)
    for (int64_t group = first_group; group < last_group; group++) {
        float normal[4];
        normal4((struct random_key){.seed = source->weights->seed,
                                    .stream = (uint32_t)index,
                                    .position = (uint64_t)group},
                normal);
        for (int64_t i = 0; i < 4; i++) {
            int64_t place = group * 4 + i - first;
            if (place < 0 || place >= count) continue;
            store(elements, place, norm ? 1 : deviation * normal[i], source->weights->dtype);
        }
    }
    return STATUS_OK;
}

enum status random_checkpoint_write(const char *folder, const struct model_config *config,
                                    const struct generation_config *generation,
                                    const struct random_weights *weights, size_t shard_bytes,
                                    struct error *err) {
    const enum dtype dtype = weights->dtype;
    assert(dtype == DTYPE_F32 || dtype == DTYPE_BF16);
    enum status status = STATUS_FAILED;
    size_t count;
    char(*names)[PARAMETER_NAME_SIZE] = NULL;
    struct checkpoint_entry *entries = NULL;
    struct parameter *parameters = parameters_list(config, &count, err);
    if (!parameters) return STATUS_FAILED;
    names = memory_new(count, sizeof *names, "parameter names", err);
    if (!names) goto err;
    entries = memory_new(count, sizeof *entries, "the list of tensors", err);
    if (!entries) goto err;
    for (size_t i = 0; i < count; i++) entries[i] = checkpoint_entry_of(&parameters[i], dtype, names[i]);

    struct random_source random = {.parameters = parameters, .weights = weights};
    struct checkpoint_source source = {.read = read_random, .state = &random};
    status = checkpoint_write_config(folder, config, generation, dtype, err);
    if (status == STATUS_OK)
        status = checkpoint_write_tensors(folder, entries, count, source, shard_bytes, err);
err:
    free(entries);
    free(names);
    free(parameters);
    return status;
}
