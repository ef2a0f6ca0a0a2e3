/* What vs2-bench plan prints. */
#ifndef VS2_CLI_BENCH_PLAN_H
#define VS2_CLI_BENCH_PLAN_H

#include "train/scale.h"

enum { PLAN_ZERO_STAGES = 4, PLAN_DOUBLINGS = 11 }; /* 1 to 1,024 GPUs */

struct bench_plan {
    const struct scale_settings *settings;
    bool measured;                              /* the shares of products and memory; else assumed */
    struct device_info device;                  /* on which they were */
    int64_t features;                           /* tokens of a row's video */
    struct scale_step step;                     /* as it was asked for */
    struct scale_step stages[PLAN_ZERO_STAGES]; /* the same with every stage of ZeRO */
    struct scale_step growth[PLAN_DOUBLINGS];   /* and on 1, 2, 4, ... GPUs, each with as much to do */
};

void bench_plan_print_text(const struct bench_plan *plan);

/* Fails when out of memory. */
enum status bench_plan_print_json(const struct bench_plan *plan, struct error *err);

#endif
