#include "train/run_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "train/communicator.h"

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
        int64_t elements = parameters[i].rows * parameters[i].cols;
        if (freeze_holds(freeze, &parameters[i])) {
            enum dtype dtype = parameter_tensor(&plan->run->model, &parameters[i])->dtype;
            plan->frozen += elements;
            plan->frozen_bytes += (double)elements * (double)dtype_size(dtype);
        } else {
            plan->trained += elements;
        }
    }
}

enum status run_plan_start(struct run_plan *plan, struct train_run *run, struct error *err) {
    const struct freeze freeze = run_freeze(run->config);
    *plan = (struct run_plan){.run = run};
    enum status status = run_open_device(run, err);
    if (status == STATUS_OK)
        status = optimizer_open_model(run->folder, &run->device, run_dtype(run->config), &freeze, &run->model,
                                      err);
    if (status != STATUS_OK) return status;
    size_t count;
    struct parameter *parameters = parameters_list(&run->model.config, &count, err);
    if (!parameters) return STATUS_FAILED;
    count_parameters(plan, parameters, count, &freeze);
    plan->whole_bytes = (double)optimizer_bytes(&run->model, parameters, count, &freeze);
    plan->trained_bytes =
        (double)optimizer_shared_bytes(&run->model, parameters, count, &freeze, run_sharing(run));
    if (run->config->stage == TRAIN_STAGE_GRPO || run->benchmark)
        plan->gathered_bytes =
            (double)optimizer_gathered_bytes(&run->model, parameters, count, &freeze, run_sharing(run));
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

double run_plan_activations(const struct run_plan *plan, int64_t tokens, int64_t wanted) {
    const struct train_config *config = plan->run->config;
    const struct model *model = &plan->run->model;
    struct tape_depth depth = {.attention = model->config.layers, .whole = model->config.layers};
    if (config->gradient_checkpointing)
        depth = language_tape_depth(
            model, tokens, wanted, 0,
            (size_t)pass_activation_bytes(config->activation_memory, (int64_t)plan->whole_bytes));
    return (double)language_tape_bytes(model, tokens, wanted, depth);
}

void run_plan_memory(struct run_plan *plan) {
    const int processes = communicator_size(plan->run->config->processes);
    if (processes > 1)
        printf("memory of each of %d processes, ZeRO stage %d\n", processes, run_sharing(plan->run).stage);
    else
        printf("memory\n");
    run_plan_bytes(plan, "weights, moments, gradients (trained)", plan->trained_bytes);
    run_plan_bytes(plan, "weights (frozen, mapped)", plan->frozen_bytes);
    if (plan->gathered_bytes > 0)
        run_plan_bytes(plan, "whole weights while it generates", plan->gathered_bytes);
}

void run_plan_bytes(struct run_plan *plan, const char *what, double bytes) {
    printf("  %-36s %10.3f GB\n", what, bytes / 1e9);
    plan->total += bytes;
}

void run_plan_end(struct run_plan *plan) {
    double available = available_memory();
    const struct train_config *config = plan->run->config;
    bool by_pieces = communicator_size(config->processes) > 1 && run_sharing(plan->run).stage > 0;
    if (!config->save_only_model && !by_pieces)
        run_plan_bytes(plan, "a checkpoint while it is written", 12.0 * (double)plan->trained);
    printf("  %-36s %10.3f GB\n", "all", plan->total / 1e9);
    if (available > 0)
        printf("  this machine has %.3f GB free: it %s\n", available / 1e9,
               plan->total <= available ? "fits" : "DOES NOT FIT");
}
