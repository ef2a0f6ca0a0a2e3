/* The plan of a run (--dry-run), printed to stdout: the parts that every stage has. */
#ifndef VS2_TRAIN_RUN_PLAN_H
#define VS2_TRAIN_RUN_PLAN_H

#include "train/gpu.h"
#include "train/pass_room.h"
#include "train/run.h"

enum { ZERO_STAGES = 4 };

/* Bytes where it is computed. Rollouts and passes work in the same memory, by turns: of `generates` and
 * `learns` the larger counts. */
enum run_phase { RUN_ALWAYS, RUN_GENERATES, RUN_LEARNS, RUN_PHASES };
struct phase_bytes {
    double bytes[RUN_PHASES];
};

struct run_plan {
    struct train_run *run;
    int64_t trained, frozen;    /* parameters */
    double stored_bytes;        /* that stay of the checkpoint where it is computed */
    double trained_bytes;       /* of weights, moments and gradients (optimizer_shared_bytes) */
    double kept_bytes;          /* that offload_optimizer takes of the host (optimizer_host_bytes) */
    double other_bytes;         /* trained_bytes with offload_optimizer set otherwise */
    struct device_info device;  /* where the run would be; the plan itself is made on the host */
    bool elsewhere;             /* on another machine than this one */
    struct phase_bytes printed; /* so far */
    enum run_phase phase;       /* of what is printed next */
    double host_total;          /* what the host takes beside it */
    double gathered_bytes;      /* of whole weights while it generates (optimizer_gathered_bytes) */
    struct phase_bytes
        stages[ZERO_STAGES]; /* trained_bytes and gathered_bytes, were that the stage of ZeRO */
    double whole_bytes;      /* of weights, moments and gradients, were they not shared (optimizer_bytes) */
};

/* Looks at the device, or takes that GPU for it (NULL: none), opens the model on the host, without the
 * optimizer, and prints what it is. */
enum status run_plan_start(struct run_plan *plan, struct train_run *run, const struct gpu *gpu,
                           struct error *err);

/* Prints how many rows are skipped, and the first few; then steps and schedule, `name` being what a batch
 * consists of. */
void run_plan_skipped(const struct train_run *run);
void run_plan_steps(const struct train_run *run, const char *name);

/* Begins the list of memory with the parameters; each further part is printed and added up, what the device
 * takes apart from what is in host memory, if it has memory of its own; then the sums, and whether device and
 * machine have them. */
void run_plan_memory(struct run_plan *plan);
void run_plan_phase(struct run_plan *plan, enum run_phase phase); /* that the next parts belong to */
void run_plan_bytes(struct run_plan *plan, const char *what, double bytes);
void run_plan_host_bytes(struct run_plan *plan, const char *what, double bytes);
void run_plan_end(struct run_plan *plan);

/* Bytes that are missing of the memory where it is computed; 0: it fits, or nobody knows. */
double run_plan_missing(const struct run_plan *plan);

/* After run_plan_end, where bytes are missing: prints how much `key` saves with another value, which takes
 * so much less in each phase. */
void run_plan_lower(const struct run_plan *plan, const char *key, const char *value, struct phase_bytes less);

/* The same for a whole number, the largest below `now` with which it fits, or else `least`; *bytes of
 * grow(context, value, &bytes, err) is what grows with it. Nothing is printed where there is nothing to
 * lower. */
typedef enum status run_plan_growth(const void *context, int64_t value, struct phase_bytes *bytes,
                                    struct error *err);
enum status run_plan_lower_number(const struct run_plan *plan, const char *key, int64_t least, int64_t now,
                                  run_plan_growth *grow, const void *context, struct error *err);

/* What is the same in every stage: activation_memory, offload_optimizer and zero_stage. `largest` is the
 * largest pass. */
enum status run_plan_lower_state(const struct run_plan *plan, struct pass_size largest, struct error *err);

/* *bytes = what passes of that size work in, exactly (pass_count_bytes): activations, logits, and what is
 * there for a moment. */
enum status run_plan_pass(const struct run_plan *plan, struct pass_size size, bool backward, double *bytes,
                          struct error *err);

/* What samples that are read ahead take at most, a bound set in other files. */
extern const double run_plan_ahead;

#endif
