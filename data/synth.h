/* The demonstration set: short rendered clips with graded faults, scored and commented, in every file format
 * of the pipeline, and a small Qwen2.5-VL checkpoint with random weights that can learn from them. */
#ifndef VS2_DATA_SYNTH_H
#define VS2_DATA_SYNTH_H

#include <stdint.h>

#include "base/error.h"
#include "data/synth_clip.h"
#include "model/config.h"
#include "tensor/tensor.h"

/* A size of model and clips. */
struct synth_preset {
    const char *name; /* NULL: the end of the table */
    const char *help;
    struct model_config model; /* token ids are filled in by synth_write; a vocab of 0 is made to fit */
    double gain;               /* of the random weights, see random_init.h */
    struct synth_format format;
};

extern const struct synth_preset synth_presets[];

struct synth_options {
    const char *folder; /* made when it is not there */
    const struct synth_preset *preset;
    int64_t videos, test_videos;
    enum dtype dtype; /* of the weights: DTYPE_BF16 or DTYPE_F32 */
    uint64_t seed;
    void (*progress)(const char *what, int64_t done, int64_t total); /* or NULL; one call at a time */
};

/* Writes into FOLDER:
 *
 *     videos/clip_0000.mp4 ...      the training clips
 *     raw.json                      annotation rows
 *     sft.json, dataset_info.json   SFT rows (ShareGPT), as the data set "synth"
 *     grpo.json                     GRPO rows
 *     rows.json                     [{"video": path within FOLDER, "prompt"}]
 *     test/videos/test_0000_0.mp4   the test clips, five a prompt, and in test/ their benchmark files
 *     model/                        a checkpoint with random weights, a tokenizer trained on the training
 *                                   rows, and query_template.txt
 *
 * Without test clips there is no test/. The same options give the same files. */
enum status synth_write(const struct synth_options *options, struct error *err);

#endif
