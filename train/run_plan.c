#include "train/run_plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/communicator.h"
#include "train/scale.h"

const double run_plan_ahead = (double)(1 << 30);

/* Memory that programs can have without swapping, in bytes; 0 when the system does not say. */
static double available_memory(void) {
    char line[128];
    long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) return 0;
    while (kilobytes == 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kilobytes) != 1) kilobytes = 0;
    fclose(file);
    return 1024.0 * (double)kilobytes;
}

static void count_parameters(struct run_plan *plan, const struct parameter *parameters, size_t count,
                             const struct freeze *freeze) {
    for (size_t i = 0; i < count; i++) {
        bool frozen = freeze_holds(freeze, &parameters[i]);
        *(frozen ? &plan->frozen : &plan->trained) += parameters[i].rows * parameters[i].cols;
    }
    plan->stored_bytes =
        (double)optimizer_stored_bytes(&plan->run->model, parameters, count, freeze, plan->device.own_memory);
}

/* Where the run would be. The host that would keep the optimizer's state is opened. */
static enum status choose_device(struct run_plan *plan, const struct gpu *gpu, struct error *err) {
    struct train_run *run = plan->run;
    plan->elsewhere = gpu != NULL;
    if (gpu) {
        plan->device = (struct device_info){.own_memory = true,
                                            .free_memory = (size_t)(gpu->memory - scale_library_bytes)};
        snprintf(plan->device.name, sizeof plan->device.name, "%s", gpu->product);
        return run->config->offload_optimizer ? device_open("cpu", &run->host, err) : STATUS_OK;
    }
    enum status status = run_open_device(run, err);
    if (status != STATUS_OK) return status;
    plan->device = device_describe(&run->device);
    device_close(&run->device);
    return STATUS_OK;
}

static void count_bytes(struct run_plan *plan, const struct parameter *parameters, size_t count,
                        const struct freeze *freeze) {
    struct train_run *run = plan->run;
    const struct model *model = &run->model;
    run->overlaps = run->config->overlap_unsaid ? plan->device.own_memory : run->config->overlap_exchanges;
    struct optimizer_sharing sharing = run_sharing(run);
    sharing.plans_gpus = plan->device.own_memory;
    const bool gathers = run->config->stage == TRAIN_STAGE_GRPO || run->benchmark;
    struct optimizer_sharing other = sharing;
    other.host = sharing.host ? NULL : &run->device; /* any does */
    plan->other_bytes = (double)optimizer_shared_bytes(model, parameters, count, freeze, other);
    plan->kept_bytes = (double)optimizer_host_bytes(parameters, count, freeze, sharing);
    plan->whole_bytes = (double)optimizer_bytes(model, parameters, count, freeze);
    for (int stage = 0; stage < ZERO_STAGES; stage++) {
        struct optimizer_sharing staged = sharing;
        staged.stage = stage;
        double trained = (double)optimizer_shared_bytes(model, parameters, count, freeze, staged),
               gathered =
                   gathers ? (double)optimizer_gathered_bytes(model, parameters, count, freeze, staged) : 0;
        plan->stages[stage] = (struct phase_bytes){{[RUN_ALWAYS] = trained, [RUN_GENERATES] = gathered}};
        if (stage != sharing.stage) continue;
        plan->trained_bytes = trained;
        plan->gathered_bytes = gathered;
    }
}

enum status run_plan_start(struct run_plan *plan, struct train_run *run, const struct gpu *gpu,
                           struct error *err) {
    const struct freeze freeze = run_freeze(run->config);
    *plan = (struct run_plan){.run = run};
    enum status status = choose_device(plan, gpu, err);
    if (status == STATUS_OK) status = device_open("cpu", &run->device, err);
    run->device.stands_for_gpu = plan->device.own_memory;
    if (status == STATUS_OK)
        status = optimizer_open_model(run->folder, &run->device, run_dtype(run->config), &freeze, &run->model,
                                      err);
    if (status != STATUS_OK) return status;
    size_t count;
    struct parameter *parameters = parameters_list(&run->model.config, &count, err);
    if (!parameters) return STATUS_FAILED;
    count_parameters(plan, parameters, count, &freeze);
    count_bytes(plan, parameters, count, &freeze);
    free(parameters);
    printf("model\n  %s\n  parameters: %" PRId64 " trained, %" PRId64 " frozen; computes in %s\n",
           run->folder, plan->trained, plan->frozen, dtype_name(run->model.compute));
    return STATUS_OK;
}

void run_plan_skipped(const struct train_run *run) {
    const struct skipped *skipped = &run->skipped;
    printf("  skipped rows %zu\n", skipped->count);
    for (size_t i = 0; i < skipped->count && i < 3; i++)
        printf("    %s row %" PRId64 ": %s\n", skipped->rows[i].dataset, skipped->rows[i].number,
               skipped->rows[i].reason);
}

void run_plan_steps(const struct train_run *run, const char *name) {
    const struct train_config *config = run->config;
    printf("steps\n");
    printf("  %" PRId64 " steps of %" PRId64 " x %" PRId64 " %s, warm-up %" PRId64 ", learning rate %g, %s\n",
           run->total_steps, train_step_batches(config), config->per_device_train_batch_size, name,
           run->schedule.warmup_steps, config->learning_rate, config->lr_scheduler_type);
    if (run->benchmark)
        printf("  %zu videos of %s scored in each evaluation\n", run_benchmark_videos(run->benchmark),
               config->eval_benchmark);
}

static enum status count_pass(const struct run_plan *plan, struct pass_size size, bool backward,
                              bool recompute, int64_t activation_bytes, double *bytes, struct error *err) {
    const struct freeze freeze = run_freeze(plan->run->config);
    const struct pass_plan passes = {&plan->run->model, &freeze, recompute, activation_bytes};
    size_t counted = 0;
    enum status status = pass_plan_bytes(&passes, size, backward, &counted, err);
    *bytes = (double)counted;
    return status;
}

enum status run_plan_pass(const struct run_plan *plan, struct pass_size size, bool backward, double *bytes,
                          struct error *err) {
    const struct train_config *config = plan->run->config;
    return count_pass(plan, size, backward, config->gradient_checkpointing,
                      pass_activation_bytes(config->activation_memory, (int64_t)plan->whole_bytes), bytes,
                      err);
}

void run_plan_memory(struct run_plan *plan) {
    const int processes = communicator_size(plan->run->config->processes);
    if (processes > 1)
        printf("memory of each of %d processes, ZeRO stage %d\n", processes, run_sharing(plan->run).stage);
    else
        printf("memory\n");
    if (plan->run->host.backend) {
        run_plan_bytes(plan, "weights, gradients (trained)", plan->trained_bytes);
        run_plan_host_bytes(plan, "master weights, moments", plan->kept_bytes);
    } else {
        run_plan_bytes(plan, "weights, moments, gradients (trained)", plan->trained_bytes);
    }
    run_plan_bytes(plan, plan->device.own_memory ? "weights (frozen)" : "weights (frozen, mapped)",
                   plan->stored_bytes);
    if (plan->device.own_memory)
        run_plan_bytes(plan, "frames ahead of their pass", 2 * (double)run_ahead_bytes(&plan->device));
}

void run_plan_phase(struct run_plan *plan, enum run_phase phase) {
    static const char *const names[RUN_PHASES] = {NULL, "generates", "learns"};
    if (phase != RUN_ALWAYS) printf("  while it %s\n", names[phase]);
    plan->phase = phase;
    if (phase == RUN_GENERATES && plan->gathered_bytes > 0)
        run_plan_bytes(plan, "whole weights", plan->gathered_bytes);
}

void run_plan_bytes(struct run_plan *plan, const char *what, double bytes) {
    const int indent = plan->phase == RUN_ALWAYS ? 2 : 4;
    printf("%*s%-*s %10.3f GB\n", indent, "", 40 - indent, what, bytes / 1e9);
    plan->printed.bytes[plan->phase] += bytes;
}

static double most(struct phase_bytes phases) {
    return phases.bytes[RUN_ALWAYS] + fmax(phases.bytes[RUN_GENERATES], phases.bytes[RUN_LEARNS]);
}

static double host_bytes(const struct run_plan *plan) {
    return plan->host_total + (plan->device.own_memory ? 0 : most(plan->printed));
}

void run_plan_host_bytes(struct run_plan *plan, const char *what, double bytes) {
    printf("  %-38s %10.3f GB%s\n", what, bytes / 1e9, plan->device.own_memory ? " of the host" : "");
    plan->host_total += bytes;
}

static void tell_whether(const char *place, double available, double total) {
    if (available > 0)
        printf("  %s has %.3f GB free: it %s\n", place, available / 1e9,
               total <= available ? "fits" : "DOES NOT FIT");
}

void run_plan_end(struct run_plan *plan) {
    const struct train_config *config = plan->run->config;
    int sharing = run_sharing(plan->run).stage > 0 ? communicator_size(config->processes) : 1;
    if (!config->save_only_model)
        run_plan_host_bytes(plan, "a checkpoint while it is written",
                            12.0 * (double)plan->trained / (double)sharing);
    const double total = most(plan->printed), host = host_bytes(plan);
    if (plan->printed.bytes[RUN_GENERATES] > 0)
        printf("  the sums have the larger of both: it %s\n",
               plan->printed.bytes[RUN_GENERATES] > plan->printed.bytes[RUN_LEARNS] ? "generates" : "learns");
    if (plan->device.own_memory) {
        printf("  %-38s %10.3f GB\n", "all on the device", total / 1e9);
        tell_whether(plan->device.name, (double)plan->device.free_memory, total);
    }
    printf("  %-38s %10.3f GB\n", plan->device.own_memory ? "all of the host" : "all", host / 1e9);
    if (!plan->elsewhere) tell_whether("this machine", available_memory(), host);
}

/* ---- What to lower ----------------------------------------------------------------------------------- */

double run_plan_missing(const struct run_plan *plan) {
    double available = plan->device.own_memory ? (double)plan->device.free_memory : available_memory();
    double total = plan->device.own_memory ? most(plan->printed) : host_bytes(plan);
    return available > 0 && total > available ? total - available : 0;
}

static struct phase_bytes difference(struct phase_bytes from, struct phase_bytes what) {
    for (int i = 0; i < RUN_PHASES; i++) from.bytes[i] -= what.bytes[i];
    return from;
}

/* What of it the sum is smaller by. */
static double saved_bytes(const struct run_plan *plan, struct phase_bytes less) {
    return most(plan->printed) - most(difference(plan->printed, less));
}

void run_plan_lower(const struct run_plan *plan, const char *key, const char *value,
                    struct phase_bytes less) {
    double missing = run_plan_missing(plan), saved = saved_bytes(plan, less);
    if (missing > 0 && saved > 0)
        printf("  %s=%s saves %.3f GB: %s\n", key, value, saved / 1e9,
               saved >= missing ? "then it fits" : "not enough alone");
}

enum status run_plan_lower_number(const struct run_plan *plan, const char *key, int64_t least, int64_t now,
                                  run_plan_growth *grow, const void *context, struct error *err) {
    double missing = run_plan_missing(plan);
    int64_t low = least, high = now; /* the answer is in [low, high) */
    struct phase_bytes all, bytes;
    char value[32];
    if (missing <= 0 || least >= now) return STATUS_OK;
    enum status status = grow(context, now, &all, err);
    while (status == STATUS_OK && high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        status = grow(context, middle, &bytes, err);
        if (status == STATUS_OK && saved_bytes(plan, difference(all, bytes)) >= missing)
            low = middle;
        else
            high = middle;
    }
    if (status == STATUS_OK) status = grow(context, low, &bytes, err);
    if (status != STATUS_OK) return status;
    snprintf(value, sizeof value, "%" PRId64, low);
    run_plan_lower(plan, key, value, difference(all, bytes));
    return STATUS_OK;
}

enum status run_plan_lower_state(const struct run_plan *plan, struct pass_size largest, struct error *err) {
    const struct train_config *config = plan->run->config;
    double now, least;
    if (run_plan_missing(plan) <= 0) return STATUS_OK;
    enum status status = run_plan_pass(plan, largest, true, &now, err);
    if (status == STATUS_OK) status = count_pass(plan, largest, true, true, 0, &least, err);
    if (status != STATUS_OK) return status;
    run_plan_lower(plan, config->gradient_checkpointing ? "activation_memory" : "gradient_checkpointing",
                   config->gradient_checkpointing ? "0" : "true",
                   (struct phase_bytes){{[RUN_LEARNS] = now - least}});
    if (plan->device.own_memory && !config->offload_optimizer)
        run_plan_lower(plan, "offload_optimizer", "true",
                       (struct phase_bytes){{[RUN_ALWAYS] = plan->trained_bytes - plan->other_bytes}});
    const int stage = run_sharing(plan->run).stage;
    for (int s = stage + 1; communicator_size(config->processes) > 1 && s < ZERO_STAGES; s++) {
        const char value[] = {(char)('0' + s), 0};
        run_plan_lower(plan, "zero_stage", value, difference(plan->stages[stage], plan->stages[s]));
    }
    if (communicator_size(config->processes) == 1)
        printf("  zero_stage=2 or 3 shares the rest among processes (mpirun -n N tells how much)\n");
    return STATUS_OK;
}
