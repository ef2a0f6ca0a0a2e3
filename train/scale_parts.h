/* What the files of train/scale share. */
#ifndef VS2_TRAIN_SCALE_PARTS_H
#define VS2_TRAIN_SCALE_PARTS_H

#include "train/scale.h"

/* The model and the layout of one pass. */
struct scale_shape {
    const struct scale_settings *settings;
    struct model model;  /* without data (model/shapes.h) */
    double trained;      /* parameters */
    double copy_bytes;   /* what the optimizer has of them in bf16: not of norms and embedding */
    double weight_bytes; /* of all trained ones in bf16, as processes send them */
    double frozen_bytes, frozen_tower;  /* bytes of the others, and of those in the vision tower */
    int64_t prompt;                     /* tokens */
    int64_t pass_tokens, pass_wanted;   /* of one pass; wanted: with a logit */
    struct attention_segment *segments; /* of one pass */
    int64_t segment_count;
    struct vision_plan vision; /* of one pass */
};

/* scale_work.c: fills in work, useful_flops, tokens and drawn. */
enum status scale_count_work(const struct scale_shape *shape, struct scale_step *step, struct error *err);

/* scale_memory.c: fills in memory, memory_bytes and fits. */
void scale_count_memory(const struct scale_shape *shape, struct scale_step *step);

#endif
