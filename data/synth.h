/* The demonstration set: short rendered clips with prompts, and a small Qwen2.5-VL checkpoint with random
 * weights and a byte-level tokenizer. It shows and measures the programs where no real model is at hand. */
#ifndef VS2_DATA_SYNTH_H
#define VS2_DATA_SYNTH_H

#include <stdint.h>

#include "base/error.h"
#include "model/config.h"
#include "tensor/tensor.h"

/* A size of model and clips. */
struct synth_preset {
    const char *name; /* NULL: the end of the table */
    const char *help;
    struct model_config model; /* token ids are filled in by synth_write */
    int width, height, fps, frames;
};

extern const struct synth_preset synth_presets[];

struct synth_options {
    const char *folder; /* made when it is not there */
    const struct synth_preset *preset;
    int64_t videos;
    enum dtype dtype; /* of the weights: DTYPE_BF16 or DTYPE_F32 */
    uint64_t seed;
    void (*progress)(const char *what, int64_t done, int64_t total); /* or NULL */
};

/* Writes FOLDER/model/ (a checkpoint), FOLDER/videos/clip_NNNN.mp4 and FOLDER/rows.json, a list of
 * {"video": path within FOLDER, "prompt"}. The same options give the same files. */
enum status synth_write(const struct synth_options *options, struct error *err);

#endif
