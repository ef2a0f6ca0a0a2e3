/* The plan of a run (--dry-run), printed to stdout: the parts that every stage has. */
#ifndef VS2_TRAIN_RUN_PLAN_H
#define VS2_TRAIN_RUN_PLAN_H

#include "train/run.h"

struct run_plan {
    struct train_run *run;
    int64_t trained, frozen; /* parameters */
    double gathered_bytes;   /* of whole weights while it generates (optimizer_gathered_bytes) */
    double frozen_bytes;     /* of their weights, mapped from the checkpoint */
    double trained_bytes;    /* of weights, moments and gradients (optimizer_bytes) */
    double whole_bytes;      /* the same, were they not shared by processes */
    double total;            /* bytes printed so far */
};

/* Opens device and model, without the optimizer, and prints what the model is. */
enum status run_plan_start(struct run_plan *plan, struct train_run *run, struct error *err);

/* Prints how many rows are skipped, and the first few; then steps and schedule, `name` being what a batch
 * consists of. */
void run_plan_skipped(const struct train_run *run);
void run_plan_steps(const struct train_run *run, const char *name);

/* Begins the list of memory with the parameters; each further part is printed and added up; then the sum, and
 * whether this machine has it. */
void run_plan_memory(struct run_plan *plan);
void run_plan_bytes(struct run_plan *plan, const char *what, double bytes);
void run_plan_end(struct run_plan *plan);

/* Bytes that the backward pass keeps of one pass of `tokens`, `wanted` of them with a loss. */
double run_plan_activations(const struct run_plan *plan, int64_t tokens, int64_t wanted);

/* What samples that are read ahead take at most, a bound set in other files. */
extern const double run_plan_ahead;

#endif
