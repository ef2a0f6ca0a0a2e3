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

/* Of a pass of `count` sequences as long as the longest. */
static struct phase_bytes bytes_of_batch(const void *context, int64_t count) {
    const struct growth *growth = context;
    int64_t tokens = growth->sft->data.train.longest * count;
    return (struct phase_bytes){{[RUN_LEARNS] = run_plan_pass(growth->plan, tokens, tokens)}};
}

/* Of a pass of sequences of so many tokens. */
static struct phase_bytes bytes_of_length(const void *context, int64_t length) {
    const struct growth *growth = context;
    int64_t tokens = growth->sft->run.config->per_device_train_batch_size * length;
    return (struct phase_bytes){{[RUN_LEARNS] = run_plan_pass(growth->plan, tokens, tokens)}};
}

/* Where the memory is too small: what would do. */
static void print_what_to_lower(const struct sft *sft, const struct run_plan *plan) {
    const struct growth growth = {sft, plan};
    int64_t batch = sft->run.config->per_device_train_batch_size, longest = sft->data.train.longest;
    run_plan_lower_state(plan, batch * longest, batch * longest);
    run_plan_lower_number(plan, "per_device_train_batch_size", 1, batch, bytes_of_batch, &growth);
    run_plan_lower_number(plan, "cutoff_len", 1, longest, bytes_of_length, &growth);
}

static void print_memory(const struct sft *sft, struct run_plan *plan) {
    const struct train_config *config = sft->run.config;
    const struct freeze freeze = run_freeze(config);
    int64_t longest = sft->data.train.longest * config->per_device_train_batch_size;
    double step_tokens = (double)sft->data.train.tokens / (double)sft->data.train.group_count *
                         (double)(train_step_batches(config) * config->per_device_train_batch_size);
    printf("work\n  %.4g FLOPs a step in the language model, vision tower aside\n",
           flops_a_token(sft) * step_tokens);
    run_plan_memory(plan);
    if (plan->gathered_bytes > 0) run_plan_phase(plan, RUN_GENERATES); /* answers to a benchmark */
    run_plan_phase(plan, RUN_LEARNS);
    run_plan_bytes(plan, "activations of the longest sequence", run_plan_activations(plan, longest, longest));
    run_plan_bytes(plan, "logits", (double)language_loss_bytes(&sft->run.model, longest));
    run_plan_phase(plan, RUN_ALWAYS);
    run_plan_host_bytes(plan, "samples ahead, at most", run_plan_ahead);
    if (freeze.vision_tower && freeze.projector)
        run_plan_host_bytes(plan, "vision features, at most", (double)config->vision_cache_memory);
    run_plan_end(plan);
    print_what_to_lower(sft, plan);
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
        print_memory(&sft, &plan);
    }
    run_close(&sft.run);
    return status;
}
