/* The plan of a run, without running it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/cost.h"
#include "train/sft.h"
#include "train/sft_run.h"

/* What is taken beside tensors of the model: bounds set in other files. */
static const double logits_bytes = 2.0 * (64 << 20), ahead_bytes = (double)(1 << 30);

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

struct counts {
    int64_t trained, frozen; /* parameters */
    double frozen_bytes;
};

static struct counts count_parameters(const struct parameter *parameters, size_t count,
                                      const struct freeze *freeze, struct model *model) {
    struct counts counts = {0};
    for (size_t i = 0; i < count; i++) {
        int64_t elements = parameters[i].rows * parameters[i].cols;
        if (freeze_holds(freeze, &parameters[i])) {
            counts.frozen += elements;
            counts.frozen_bytes +=
                (double)elements * (double)dtype_size(parameter_tensor(model, &parameters[i])->dtype);
        } else {
            counts.trained += elements;
        }
    }
    return counts;
}

/* Activations that the longest sequence keeps for its backward pass, with every label wanted. */
static double activation_bytes(const struct sft *sft) {
    const struct train_config *config = sft->config;
    int64_t tokens = sft->data.train.longest * config->per_device_train_batch_size;
    int64_t layers = sft->model.config.layers;
    struct tape_depth depth = {.attention = layers, .whole = layers};
    if (config->gradient_checkpointing)
        depth = language_tape_depth(&sft->model, tokens, tokens, 0,
                                    config->activation_memory > 0 ? (size_t)config->activation_memory : 0);
    return (double)language_tape_bytes(&sft->model, tokens, tokens, depth);
}

static void print_bytes(const char *what, double bytes, double *total) {
    printf("  %-36s %10.3f GB\n", what, bytes / 1e9);
    *total += bytes;
}

static void print_run(const struct sft *sft) {
    const struct train_config *config = sft->config;
    const struct sft_set *set = &sft->data.train;
    printf("data\n");
    printf("  rows %" PRId64 ", sequences %" PRId64 ", tokens %" PRId64 " (%" PRId64
           " with labels), longest sequence %" PRId64 "\n",
           set->row_count, set->group_count, set->tokens, set->labels, set->longest);
    if (sft->data.eval.group_count > 0)
        printf("  held out: rows %" PRId64 ", tokens %" PRId64 "\n", sft->data.eval.row_count,
               sft->data.eval.tokens);
    printf("  skipped rows %zu\n", sft->data.skipped.count);
    for (size_t i = 0; i < sft->data.skipped.count && i < 3; i++)
        printf("    %s row %" PRId64 ": %s\n", sft->data.skipped.rows[i].dataset,
               sft->data.skipped.rows[i].number, sft->data.skipped.rows[i].reason);
    printf("steps\n");
    printf("  %" PRId64 " steps of %" PRId64 " x %" PRId64 " sequences, warm-up %" PRId64
           ", learning rate %g, %s\n",
           sft->total_steps, config->gradient_accumulation_steps, config->per_device_train_batch_size,
           sft->schedule.warmup_steps, config->learning_rate, config->lr_scheduler_type);
}

/* FLOPs of the language model on a token of the data, forward and backward. */
static double flops_a_token(const struct sft *sft) {
    const struct sft_set *set = &sft->data.train;
    int64_t tokens = set->tokens / set->row_count;
    const struct attention_segment segment = {.queries = tokens, .keys = tokens, .causal = true};
    struct cost cost = language_cost(&sft->model, tokens, (struct attention_segments){&segment, 1},
                                     set->labels / set->row_count);
    return 3 * cost.flops / (double)tokens;
}

static void print_memory(struct sft *sft, const struct parameter *parameters, size_t count,
                         struct counts counts) {
    const struct train_config *config = sft->config;
    const struct freeze freeze = sft_freeze(config);
    double total = 0, available = available_memory();
    double step_tokens = (double)sft->data.train.tokens / (double)sft->data.train.group_count *
                         (double)(config->gradient_accumulation_steps * config->per_device_train_batch_size);
    printf("work\n  %.4g FLOPs a step in the language model, vision tower aside\n",
           flops_a_token(sft) * step_tokens);
    printf("memory\n");
    print_bytes("weights, moments, gradients (trained)",
                (double)optimizer_bytes(parameters, count, &freeze, sft->model.compute), &total);
    print_bytes("weights (frozen, mapped)", counts.frozen_bytes, &total);
    print_bytes("activations of the longest sequence", activation_bytes(sft), &total);
    print_bytes("logits", logits_bytes, &total);
    print_bytes("samples ahead, at most", ahead_bytes, &total);
    if (freeze.vision_tower && freeze.projector)
        print_bytes("vision features, at most", (double)config->vision_cache_memory, &total);
    if (!config->save_only_model)
        print_bytes("a checkpoint while it is written", 12.0 * (double)counts.trained, &total);
    printf("  %-36s %10.3f GB\n", "all", total / 1e9);
    if (available > 0)
        printf("  this machine has %.3f GB free: it %s\n", available / 1e9,
               total <= available ? "fits" : "DOES NOT FIT");
}

static enum status print_plan(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    const struct freeze freeze = sft_freeze(config);
    enum status status = device_open(config->device, &sft->device, err);
    if (status == STATUS_OK)
        status =
            model_open(sft->folder, &sft->device, config->bf16 ? DTYPE_BF16 : DTYPE_F32, &sft->model, err);
    if (status != STATUS_OK) return status;
    size_t count;
    struct parameter *parameters = parameters_list(&sft->model.config, &count, err);
    if (!parameters) return STATUS_FAILED;
    struct counts counts = count_parameters(parameters, count, &freeze, &sft->model);
    printf("model\n  %s\n  parameters: %" PRId64 " trained, %" PRId64 " frozen; computes in %s\n",
           sft->folder, counts.trained, counts.frozen, dtype_name(sft->model.compute));
    print_run(sft);
    print_memory(sft, parameters, count, counts);
    free(parameters);
    return STATUS_OK;
}

enum status train_sft_plan(const struct train_config *config, struct error *err) {
    struct sft sft;
    enum status status = sft_open_data(&sft, config, err);
    if (status == STATUS_OK) status = print_plan(&sft, err);
    sft_close(&sft);
    return status;
}
