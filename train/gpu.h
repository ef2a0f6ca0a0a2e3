/* GPUs that runs are planned for, by their makers' data sheets. */
#ifndef VS2_TRAIN_GPU_H
#define VS2_TRAIN_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct gpu {
    const char *name;    /* as the command line has it */
    const char *product; /* in words */
    double flops;     /* operations a second of dense bf16 products with f32 sums, a multiply-add being two */
    double memory;    /* bytes, by the label's decimal GB: drivers report 2 to 7% more */
    double bandwidth; /* bytes a second of its memory */
    double link;      /* bytes a second that it sends to the others of its machine */
    double network;   /* the same to other machines, its share of what a machine has */
    int64_t per_machine;
};

/* The table, ended by one without a name. */
extern const struct gpu gpu_table[];

/* A usage error that lists the names when there is none of this one, in small or capital letters. */
enum status gpu_find(const char *name, const struct gpu **gpu, struct error *err);

/* Whether a device that its driver calls so is one of these. */
bool gpu_is(const struct gpu *gpu, const char *device);

#endif
