/* What the files of train/scale share. */
#ifndef VS2_TRAIN_SCALE_PARTS_H
#define VS2_TRAIN_SCALE_PARTS_H

#include "train/scale.h"

/* The model and the layout of one pass. */
struct scale_shape {
    const struct scale_settings *settings;
    struct model model;           /* without data (model/shapes.h) */
    struct parameter *parameters; /* of the model */
    size_t parameter_count;
    double elements, trained;           /* parameters */
    double whole_bytes;                 /* of trained ones, as processes send them to make them whole */
    double again_bytes;                 /* of those that a backward pass of ZeRO 3 gathers once more */
    double frozen_bytes;                /* that stay as they were read */
    int64_t units;                      /* of which something is trained (model/units.h) */
    int64_t prompt;                     /* tokens */
    int64_t pass_tokens, pass_wanted;   /* of one pass; wanted: with a logit */
    struct attention_segment *segments; /* of one pass */
    int64_t segment_count;
    struct vision_plan vision; /* of one pass */
};

/* scale_work.c: fills in work, useful_flops, tokens and drawn. */
enum status scale_count_work(const struct scale_shape *shape, struct scale_step *step, struct error *err);

/* scale_memory.c: fills in memory, memory_bytes and fits. */
enum status scale_count_memory(struct scale_shape *shape, struct scale_step *step, struct error *err);

#endif
