/* What a training step takes on GPUs that are not here: a roofline, counted from shapes.
 *
 * Every figure is computed. Work is counted as model/cost.h counts it, with the bytes that activations move;
 * the products and attention of a part of the step take as long as the slower of their arithmetic and their
 * memory, other kernels as long as their memory, at the shares of the peaks that the settings have. With
 * `overlap` messages of ZeRO hide behind the pass they belong to, as far as it lasts; those of the optimizer
 * and of rollouts never do. Time to decode frames, to start kernels and to wait for the longest answer is not
 * counted. Memory is that of the functions by which training plans its own (train/optimizer.h,
 * train/pass_room.h).
 *
 * A step is `accumulation` passes of `rows` samples (SFT) or prompts with `generations` completions (GRPO)
 * on every GPU. GRPO draws all completions of a step at once and computes each prompt once, as grpo/ does.
 */
#ifndef VS2_TRAIN_SCALE_H
#define VS2_TRAIN_SCALE_H

#include "model/positions.h"
#include "train/config.h"
#include "train/gpu.h"
#include "train/optimizer.h"

/* How much of a GPU's peaks is reached. */
struct scale_shares {
    double flops, bandwidth, link;
    double latency; /* seconds that an exchange takes beside its bytes, for each doubling of the GPUs */
};
extern const struct scale_shares scale_assumed; /* where nothing was measured */

/* Of a GPU's memory, what CUDA's context and its libraries take; assumed. */
extern const double scale_library_bytes;

struct scale_settings {
    const struct model_config *config;
    const struct gpu *gpu;
    struct scale_shares shares;
    int stage;                  /* enum train_stage */
    int64_t gpus;               /* data parallel */
    int zero;                   /* stage of ZeRO, 0 to 3 */
    bool overlap;               /* exchanges go on beside the passes (key overlap_comm) */
    int64_t rows, accumulation; /* on a GPU */
    struct visual_grid video;   /* of each row */
    int64_t text_tokens;        /* of a prompt, without the video's */
    int64_t answer_tokens;      /* of a sample's answer, or of a completion on average */
    int64_t generations;        /* completions of a prompt */
    bool recompute;             /* activations are computed again in the backward pass */
    struct freeze freeze;
};

/* Work of one GPU. */
struct scale_work {
    double flops;         /* of products and attention */
    double product_bytes; /* that these read and write */
    double other_bytes;   /* of all other kernels */
};

enum scale_part {
    SCALE_WEIGHTS,   /* GRPO: whole weights are gathered for the rollouts */
    SCALE_PROMPTS,   /* GRPO: videos and prompts of the rollouts */
    SCALE_DECODING,  /* GRPO: completions, token by token */
    SCALE_REFERENCE, /* GRPO: the reference model's pass */
    SCALE_FORWARD,   /* with the vision tower */
    SCALE_BACKWARD,
    SCALE_OPTIMIZER,
    SCALE_PARTS
};
extern const char *const scale_part_names[SCALE_PARTS];

enum scale_memory {
    SCALE_COPIES,    /* the trained weights that passes use; these four are struct optimizer_memory's */
    SCALE_MASTERS,   /* f32 weights and moments */
    SCALE_GRADIENTS, /* f32 */
    SCALE_ROOMS,     /* ZeRO 2 and 3: of the layers that are whole at one time */
    SCALE_FROZEN,    /* weights, whole in every stage */
    SCALE_REFERENCE_WEIGHTS, /* GRPO: whole in every stage */
    SCALE_FRAMES,            /* that go up ahead of their pass */
    SCALE_LIBRARIES,         /* CUDA's context and workspaces; assumed */
    /* In one arena, first these and then those: the larger sum counts. */
    SCALE_ROLLOUT, /* GRPO, ZeRO 3: whole weights for the rollouts */
    SCALE_CACHE,   /* GRPO: keys and values of the rollouts */
    SCALE_READING, /* GRPO: what a prompt's pass works in */
    SCALE_PASS,    /* what a pass that trains works in */
    SCALE_MEMORIES
};
extern const char *const scale_memory_names[SCALE_MEMORIES];

/* Of one GPU in one step. */
struct scale_step {
    struct scale_work work[SCALE_PARTS];
    double messages[SCALE_PARTS]; /* bytes that it receives */
    double work_seconds[SCALE_PARTS], message_seconds[SCALE_PARTS];
    double seconds[SCALE_PARTS];   /* of both, as far as they do not overlap */
    double memory[SCALE_MEMORIES]; /* bytes */
    double useful_flops;           /* without what is computed again */
    double step_seconds, memory_bytes;
    int64_t tokens, drawn; /* that are trained on (labels or not), and drawn */
    double tokens_per_second, drawn_per_second, peak_share; /* of all GPUs; useful_flops beside the peak */
    bool fits;
};

/* Counts the step. Fails when out of memory; settings are in their ranges (cli/bench_plan.c). */
enum status scale_plan(const struct scale_settings *settings, struct scale_step *step, struct error *err);

#endif
