/* The plan of an SFT run, without running it. */
#include <inttypes.h>
#include <stdio.h>

#include "model/cost.h"
#include "train/run_plan.h"
#include "train/sft.h"
#include "train/sft_run.h"

static void print_data(const struct sft *sft) {
    const struct sft_set *set = &sft->data.train;
    printf("data\n");
    printf("  rows %" PRId64 ", sequences %" PRId64 ", tokens %" PRId64 " (%" PRId64
           " with labels), longest sequence %" PRId64 "\n",
           set->row_count, set->group_count, set->tokens, set->labels, set->longest);
    if (sft->data.eval.group_count > 0)
        printf("  held out: rows %" PRId64 ", tokens %" PRId64 "\n", sft->data.eval.row_count,
               sft->data.eval.tokens);
    run_plan_skipped(&sft->run);
}

/* FLOPs of the language model on a token of the data, forward and backward. */
static double flops_a_token(const struct sft *sft) {
    const struct sft_set *set = &sft->data.train;
    int64_t tokens = set->tokens / set->row_count;
    const struct attention_segment segment = {.queries = tokens, .keys = tokens, .causal = true};
    struct cost cost = language_cost(&sft->run.model, tokens, (struct attention_segments){&segment, 1},
                                     set->labels / set->row_count);
    return 3 * cost.flops / (double)tokens;
}

struct growth {
    const struct sft *sft;
    const struct run_plan *plan;
};

/* Of passes with micro-batches of `count` of the longest sequences. */
static enum status bytes_of_batch(const void *context, int64_t count, struct phase_bytes *bytes,
                                  struct error *err) {
    const struct growth *growth = context;
    const struct pass_size size = sft_pass_size(growth->sft, count, growth->sft->data.train.longest);
    *bytes = (struct phase_bytes){0};
    return run_plan_pass(growth->plan, size, true, &bytes->bytes[RUN_LEARNS], err);
}

/* Of passes of sequences of so many tokens. */
static enum status bytes_of_length(const void *context, int64_t length, struct phase_bytes *bytes,
                                   struct error *err) {
    const struct growth *growth = context;
    const int64_t batch = growth->sft->run.config->per_device_train_batch_size;
    *bytes = (struct phase_bytes){0};
    return run_plan_pass(growth->plan, sft_pass_size(growth->sft, batch, length), true,
                         &bytes->bytes[RUN_LEARNS], err);
}

/* Tokens of a sequence with a label. */
static const int64_t shortest = 2;

/* Where the memory is too small: what would do. */
static enum status print_what_to_lower(const struct sft *sft, const struct run_plan *plan,
                                       struct error *err) {
    const struct growth growth = {sft, plan};
    int64_t batch = sft->run.config->per_device_train_batch_size, longest = sft->data.train.longest;
    enum status status = run_plan_lower_state(plan, sft_largest_pass(sft), err);
    if (status == STATUS_OK)
        status = run_plan_lower_number(plan, "per_device_train_batch_size", 1, batch, bytes_of_batch, &growth,
                                       err);
    if (status == STATUS_OK)
        status = run_plan_lower_number(plan, "cutoff_len", shortest, longest, bytes_of_length, &growth, err);
    return status;
}

static enum status print_memory(const struct sft *sft, struct run_plan *plan, struct error *err) {
    const struct train_config *config = sft->run.config;
    const struct freeze freeze = run_freeze(config);
    const struct pass_size largest = sft_largest_pass(sft);
    double step_tokens = (double)sft->data.train.tokens / (double)sft->data.train.group_count *
                         (double)(train_step_batches(config) * config->per_device_train_batch_size);
    double pass_bytes;
    if (run_plan_pass(plan, largest, true, &pass_bytes, err) != STATUS_OK) return STATUS_FAILED;
    printf("work\n  %.4g FLOPs a step in the language model, vision tower aside\n",
           flops_a_token(sft) * step_tokens);
    run_plan_memory(plan);
    if (plan->gathered_bytes > 0) run_plan_phase(plan, RUN_GENERATES); /* answers to a benchmark */
    run_plan_phase(plan, RUN_LEARNS);
    run_plan_bytes(plan, "activations, logits: largest pass", pass_bytes);
    run_plan_phase(plan, RUN_ALWAYS);
    run_plan_host_bytes(plan, "samples ahead, at most", run_plan_ahead);
    if (freeze.vision_tower && freeze.projector)
        run_plan_host_bytes(plan, "vision features, at most", (double)config->vision_cache_memory);
    run_plan_end(plan);
    return print_what_to_lower(sft, plan, err);
}

enum status train_sft_plan(const struct train_config *config, const struct gpu *gpu, struct error *err) {
    struct sft sft = {0};
    const struct run_stage stage = sft_stage(&sft);
    struct run_plan plan;
    enum status status = run_open_data(&sft.run, config, &stage, err);
    if (status == STATUS_OK) status = run_plan_start(&plan, &sft.run, gpu, err);
    if (status == STATUS_OK) {
        print_data(&sft);
        run_plan_steps(&sft.run, "sequences");
        status = print_memory(&sft, &plan, err);
    }
    run_close(&sft.run);
    return status;
}
