/* The plan of a GRPO run, without running it. */
#include <inttypes.h>
#include <stdio.h>

#include "grpo/grpo.h"
#include "grpo/grpo_run.h"
#include "model/kv_cache.h"
#include "train/run_plan.h"

static void print_data(const struct grpo *grpo) {
    const struct problem_set *train = &grpo->problems.train, *eval = &grpo->problems.eval;
    printf("data\n");
    printf("  prompts %" PRId64 ", tokens %" PRId64 ", longest prompt %" PRId64 "\n", train->count,
           train->tokens, train->longest);
    if (grpo->recorded)
        printf("  recorded rollouts: %" PRId64 " groups of %" PRId64 " steps\n", grpo->starts[grpo->steps],
               grpo->steps);
    if (eval->count > 0)
        printf("  held out: prompts %" PRId64 ", tokens %" PRId64 "\n", eval->count, eval->tokens);
    run_plan_skipped(&grpo->run);
}

static void print_steps(const struct grpo *grpo) {
    const struct train_config *config = grpo->run.config;
    const struct train_grpo *own = &config->grpo;
    int64_t prompts = train_step_batches(config) * config->per_device_train_batch_size;
    double mean = (double)grpo->problems.train.tokens / (double)grpo->problems.train.count;
    double completions = (double)(own->num_generations * own->max_completion_length);
    run_plan_steps(&grpo->run, "prompts");
    printf("  %" PRId64 " completions of a prompt, up to %" PRId64 " tokens each; rollouts last %" PRId64
           " steps, %" PRId64 " times\n",
           own->num_generations, own->max_completion_length, grpo->generation_steps, own->num_iterations);
    printf("  up to %.0f tokens a step, each prompt counted once\n", (double)prompts * (mean + completions));
}

/* The reference model's weights: read from the checkpoint, or, where it moves, f32 and copies of its own. */
static double reference_bytes(const struct grpo *grpo, const struct run_plan *plan) {
    double element = (double)dtype_size(run_dtype(grpo->run.config));
    double moved = grpo->run.config->grpo.sync_ref_model ? (double)dtype_size(DTYPE_F32) : 0;
    return element * (double)(plan->trained + plan->frozen) + moved * (double)plan->trained;
}

/* Patches of this process's prompts of a generation, which are kept until it is trained on; while it is drawn
 * also with their frames shuffled, where a reward wants that. */
static double patch_bytes(const struct grpo *grpo) {
    const struct train_config *config = grpo->run.config;
    const struct problem_set *train = &grpo->problems.train;
    int64_t prompts =
        grpo->generation_steps * config->gradient_accumulation_steps * config->per_device_train_batch_size;
    if (prompts > train->count) prompts = train->count;
    double columns = (double)patch_columns(&grpo->prompts.visual.processor);
    double copies = rewards_want_shuffled(&grpo->rewards) ? 2 : 1;
    return copies * (double)prompts * (double)train->most_patches * columns * (double)sizeof(float);
}

struct growth {
    const struct grpo *grpo;
    const struct run_plan *plan;
    const struct rollout *rollout; /* NULL: none are drawn */
};

/* Of the largest pass and the rollouts, with so many completions of a prompt. */
static enum status bytes_of_completions(const void *context, int64_t count, struct phase_bytes *bytes,
                                        struct error *err) {
    const struct growth *growth = context;
    const struct problem_set *train = &growth->grpo->problems.train;
    double cache = growth->rollout
                       ? (double)rollout_cache_bytes(growth->rollout, train->longest, count, train->count)
                       : 0;
    *bytes = (struct phase_bytes){{[RUN_GENERATES] = cache}};
    return run_plan_pass(growth->plan, grpo_largest_pass(growth->grpo, count), true,
                         &bytes->bytes[RUN_LEARNS], err);
}

/* What a process does with the memory by turns. */
static enum status print_turns(const struct grpo *grpo, struct run_plan *plan, const struct rollout *rollout,
                               struct error *err) {
    const struct problem_set *train = &grpo->problems.train;
    const int64_t completions = grpo->run.config->grpo.num_generations;
    const struct pass_size prompt = {.sequences = 1,
                                     .tokens = train->longest,
                                     .patches = train->most_patches,
                                     .completions = 1,
                                     .completion_tokens = 1};
    double reading, learning;
    enum status status = run_plan_pass(plan, prompt, false, &reading, err);
    if (status == STATUS_OK)
        status = run_plan_pass(plan, grpo_largest_pass(grpo, completions), true, &learning, err);
    if (status != STATUS_OK) return status;
    if (!grpo->recorded || plan->gathered_bytes > 0) run_plan_phase(plan, RUN_GENERATES);
    if (!grpo->recorded) {
        run_plan_bytes(plan, "keys and values of rollouts",
                       (double)rollout_cache_bytes(rollout, train->longest, completions, train->count));
        run_plan_bytes(plan, "activations: longest prompt", reading);
    }
    run_plan_phase(plan, RUN_LEARNS);
    run_plan_bytes(plan, "activations, logits: largest pass", learning);
    run_plan_phase(plan, RUN_ALWAYS);
    return STATUS_OK;
}

static enum status print_memory(const struct grpo *grpo, struct run_plan *plan, struct error *err) {
    const struct train_config *config = grpo->run.config;
    const struct freeze freeze = run_freeze(config);
    const struct rollout_settings settings = grpo_rollout_settings(grpo, config->grpo.temperature);
    struct rollout *rollout = rollout_new(&settings, err);
    if (!rollout) return STATUS_FAILED;
    run_plan_memory(plan);
    if (config->grpo.beta > 0) run_plan_bytes(plan, "reference model", reference_bytes(grpo, plan));
    enum status status = print_turns(grpo, plan, rollout, err);
    if (status != STATUS_OK) goto end;
    run_plan_host_bytes(plan, "patches of a generation, at most", patch_bytes(grpo));
    run_plan_host_bytes(plan, "prompts ahead, at most", run_plan_ahead);
    if (freeze.vision_tower && freeze.projector)
        run_plan_host_bytes(plan, "vision features, at most", (double)config->vision_cache_memory);
    run_plan_end(plan);
    const struct growth growth = {grpo, plan, grpo->recorded ? NULL : rollout};
    status = run_plan_lower_state(plan, grpo_largest_pass(grpo, config->grpo.num_generations), err);
    if (status == STATUS_OK)
        status = run_plan_lower_number(plan, "num_generations", 2, config->grpo.num_generations,
                                       bytes_of_completions, &growth, err);
end:
    rollout_free(rollout);
    return status;
}

enum status grpo_plan(const struct train_config *config, const struct gpu *gpu, struct error *err) {
    struct grpo grpo = {0};
    const struct run_stage stage = grpo_stage(&grpo);
    struct run_plan plan;
    enum status status = run_open_data(&grpo.run, config, &stage, err);
    if (status == STATUS_OK) status = run_plan_start(&plan, &grpo.run, gpu, err);
    if (status == STATUS_OK) {
        print_data(&grpo);
        print_steps(&grpo);
        status = print_memory(&grpo, &plan, err);
    }
    run_close(&grpo.run);
    return status;
}
