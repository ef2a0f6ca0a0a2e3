#include "grpo/grpo.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "grpo/grpo_run.h"
#include "train/communicator.h"

/* ---- Settings ---------------------------------------------------------------------------------------- */

static void set_unless_nan(double *setting, double value) {
    if (!isnan(value)) *setting = value;
}

static enum status make_prompt_settings(struct grpo *grpo, struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    const struct visual_policy *policy = visual_policy_find(config->frame_policy);
    grpo->prompts = (struct prompt_settings){
        .tokenizer = grpo->run.tokenizer,
        .template = config->question_template,
        .max_length = config->max_prompt_length,
        .visual = visual_options_default(policy),
        .unit_grid_time = config->second_per_grid == TRAIN_GRID_UNIT,
        .decode = rewards_want_shuffled(&grpo->rewards),
    };
    struct visual_options *visual = &grpo->prompts.visual;
    bool budget = visual->budget_pixels > 0; /* the policy has a limit of its own kind */
    set_unless_nan(&visual->fps, config->video_fps);
    set_unless_nan(budget ? &visual->budget_pixels : &visual->max_pixels, config->video_max_pixels);
    set_unless_nan(&visual->min_pixels, config->video_min_pixels);
    set_unless_nan(&visual->total_pixels, config->video_total_pixels);
    set_unless_nan(&visual->image_max_pixels, config->image_max_pixels);
    set_unless_nan(&visual->image_min_pixels, config->image_min_pixels);
    if (config->video_maxlen > 0) visual->max_frames = config->video_maxlen;
    if (config->video_min_frames > 0) visual->min_frames = config->video_min_frames;
    visual->threads = 1; /* prompts are made side by side */
    grpo->run.visual = visual;
    enum status status = patch_config_read(grpo->run.folder, true, &visual->processor, err);
    if (config->max_pixels > 0) visual->processor.max_pixels = (double)config->max_pixels;
    if (config->min_pixels > 0) visual->processor.min_pixels = (double)config->min_pixels;
    return status;
}

static void make_loss_settings(struct grpo *grpo) {
    const struct train_config *config = grpo->run.config;
    const struct train_grpo *own = &config->grpo;
    grpo->loss = (struct loss_settings){
        .kind = loss_find(own->loss_type),
        .epsilon = own->epsilon,
        .epsilon_high = own->epsilon_high,
        .delta = isnan(own->delta) ? 0 : own->delta,
        .beta = own->beta,
        .sequence_level = strcmp(own->importance_sampling_level, "sequence") == 0,
        .entropy_coef = own->entropy_coef,
        .importance_cap = own->importance_sampling_cap,
        .max_completion_length = own->max_completion_length,
    };
    for (int i = 0; scale_rewards_names[i]; i++)
        if (strcmp(own->scale_rewards, scale_rewards_names[i]) == 0) grpo->scale = (enum scale_rewards)i;
    grpo->generation_steps = own->steps_per_generation / config->gradient_accumulation_steps;
    grpo->reads_old = grpo->generation_steps * own->num_iterations > 1;
}

/* ---- Data -------------------------------------------------------------------------------------------- */

static enum status open_recorded(struct grpo *grpo, struct error *err) {
    const struct recorded_settings settings = {
        .path = grpo->run.config->grpo.rollouts,
        .rows = grpo->problems.rows,
        .tokenizer = grpo->run.tokenizer,
        .generation = &grpo->generation_config,
        .logprobs = !isnan(grpo->loss.importance_cap),
    };
    grpo->recorded = recorded_open(&settings, err);
    return grpo->recorded ? STATUS_OK : STATUS_FAILED;
}

/* Room for the rows of an epoch, and where its steps begin. */
static enum status make_epoch(struct grpo *grpo, struct error *err) {
    const struct train_config *config = grpo->run.config;
    const struct recorded *recorded = grpo->recorded;
    int64_t each = train_step_batches(config) * config->per_device_train_batch_size;
    int64_t rows =
        recorded ? recorded_starts(recorded)[recorded_steps(recorded)] : grpo->problems.train.count;
    grpo->steps = recorded ? recorded_steps(recorded) : train_epoch_steps(config, rows);
    grpo->rows = memory_new((size_t)rows, sizeof *grpo->rows, "the order of an epoch", err);
    grpo->starts = memory_new((size_t)grpo->steps + 1, sizeof *grpo->starts, "the order of an epoch", err);
    if (!grpo->rows || !grpo->starts) return STATUS_FAILED;
    for (int64_t s = 0; s <= grpo->steps; s++)
        grpo->starts[s] = recorded ? recorded_starts(recorded)[s] : s * each < rows ? s * each : rows;
    for (int64_t i = 0; recorded && i < rows; i++) grpo->rows[i] = recorded_rows(recorded)[i];
    return STATUS_OK;
}

static enum status make_rewards(struct grpo *grpo, struct error *err) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    int64_t count = config->reward_funcs.count;
    enum status status = rewards_init(&grpo->rewards, (const char *const *)config->reward_funcs.names, count,
                                      config->reward_weights, count, config->reward_timeout, err);
    if (status != STATUS_OK) return status;
    grpo->eval_names = memory_new((size_t)count, sizeof(char *), "the rewards", err);
    if (!grpo->eval_names) return STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        struct text name = {0};
        text_format(&name, "eval_rewards/%s", grpo->rewards.list[i].name);
        grpo->eval_names[i] = text_take(&name, "the rewards", err);
        if (!grpo->eval_names[i]) status = STATUS_FAILED;
    }
    return status;
}

static enum status open_data(void *context, struct error *err) {
    struct grpo *grpo = context;
    struct train_run *run = &grpo->run;
    const struct train_grpo *config = &run->config->grpo;
    enum status status = make_rewards(grpo, err);
    if (status == STATUS_OK) status = generation_config_read(run->folder, &grpo->generation_config, err);
    if (status == STATUS_OK) status = make_prompt_settings(grpo, err);
    if (status == STATUS_OK)
        status = problems_open(&grpo->problems, run->config, &grpo->prompts, &run->skipped, run_show_reading,
                               run->progress, err);
    if (status != STATUS_OK) return status;
    make_loss_settings(grpo);
    if (config->rollouts) status = open_recorded(grpo, err);
    if (status == STATUS_OK) status = make_epoch(grpo, err);
    if (status != STATUS_OK) return status;
    int64_t steps = grpo->steps * config->num_iterations;
    run_schedule(run, steps, steps); /* position.batch counts steps of the epoch */
    run->evaluates = grpo->problems.eval.count > 0;
    return STATUS_OK;
}

/* ---- The model --------------------------------------------------------------------------------------- */

/* Whose memory rollouts share. On a host they give theirs back instead, which then are pages of anybody's. */
static struct pass_runner *lender(const struct grpo *grpo) {
    struct pass_runner *runner = grpo->run.runner; /* NULL: this is a plan, which opens no device */
    return runner && device_describe(&grpo->run.device).own_memory ? runner : NULL;
}

struct rollout_settings grpo_rollout_settings(const struct grpo *grpo, double temperature) {
    const struct train_config *config = grpo->run.config;
    const struct train_grpo *own = &config->grpo;
    return (struct rollout_settings){
        .model = &grpo->run.model,
        .cache = grpo->run.cache,
        .temperature = temperature,
        .top_p = own->top_p,
        .top_k = own->top_k,
        .min_p = own->min_p,
        .repetition_penalty = own->repetition_penalty,
        .seed = (uint64_t)config->seed,
        .max_new_tokens = own->max_completion_length,
        .stop_tokens = grpo->generation_config.stop_tokens,
        .stop_token_count = grpo->generation_config.stop_token_count,
        .sequences = own->rollout_batch_size,
        .cache_bytes = own->rollout_cache_memory,
        .lender = lender(grpo),
    };
}

struct pass_reading grpo_reading(const struct grpo *grpo) {
    return (struct pass_reading){.temperature = grpo->run.config->grpo.temperature};
}

struct pass_size grpo_largest_pass(const struct grpo *grpo, int64_t completions) {
    const struct train_grpo *config = &grpo->run.config->grpo;
    const int64_t prompt = grpo->problems.train.longest;
    const int64_t groups = config->pass_tokens / (prompt + completions * config->max_completion_length);
    return (struct pass_size){.sequences = groups > 1 ? groups : 1,
                              .tokens = prompt,
                              .patches = grpo->problems.train.most_patches,
                              .completions = completions,
                              .completion_tokens = config->max_completion_length};
}

/* Memory for the longest pass of a step, and for what is there while completions are drawn. How long recorded
 * ones are is not known before they are read. */
static enum status reserve(struct grpo *grpo, struct error *err) {
    if (!grpo->rollout) return STATUS_OK;
    struct train_run *run = &grpo->run;
    const struct freeze freeze = run_freeze(run->config);
    const int64_t completions = run->config->grpo.num_generations;
    const struct problem_set *train = &grpo->problems.train;
    const int64_t cache = rollout_cache_bytes(grpo->rollout, train->longest, completions, train->count);
    const int64_t whole = optimizer_gathered_bytes(&run->model, run->optimizer.parameters,
                                                   run->optimizer.parameter_count, &freeze, run_sharing(run));
    return run_reserve(run, grpo_largest_pass(grpo, completions), (size_t)(cache + whole), err);
}

static enum status open_models(void *context, struct error *err) {
    struct grpo *grpo = context;
    const struct train_grpo *config = &grpo->run.config->grpo;
    grpo->prompts.model = &grpo->run.model;
    grpo->prompts.cache = grpo->run.cache;
    if (!grpo->recorded) {
        const struct rollout_settings settings = grpo_rollout_settings(grpo, config->temperature);
        grpo->rollout = rollout_new(&settings, err);
        if (!grpo->rollout) return STATUS_FAILED;
    }
    enum status status = STATUS_OK;
    if (config->beta != 0) status = reference_open(&grpo->reference, &grpo->run, config->sync_ref_model, err);
    return status == STATUS_OK ? reserve(grpo, err) : status;
}

static void announce(const void *context) {
    const struct grpo *grpo = context;
    const struct train_run *run = &grpo->run;
    if (grpo->recorded)
        progress_message(run->progress,
                         "%lld recorded groups, %lld steps; %lld of the parameters are trained",
                         (long long)grpo->starts[grpo->steps], (long long)run->total_steps,
                         (long long)run->optimizer.elements);
    else
        progress_message(run->progress,
                         "%lld prompts, %lld completions of each, %lld steps; %lld of the parameters are "
                         "trained",
                         (long long)grpo->problems.train.count, (long long)run->config->grpo.num_generations,
                         (long long)run->total_steps, (long long)run->optimizer.elements);
}

static void close_stage(void *context) {
    struct grpo *grpo = context;
    prompt_stream_stop(grpo->stream);
    generation_free(grpo->generation);
    recorded_close(grpo->recorded);
    rollout_free(grpo->rollout);
    reference_close(&grpo->reference);
    for (int64_t i = 0; grpo->eval_names && i < grpo->rewards.count; i++) free(grpo->eval_names[i]);
    free(grpo->eval_names);
    rewards_free(&grpo->rewards);
    problems_close(&grpo->problems);
    free(grpo->rows);
    free(grpo->starts);
}

/* ---- Places ------------------------------------------------------------------------------------------ */

struct grpo_position grpo_position(const struct grpo *grpo) {
    int64_t iterations = grpo->run.config->grpo.num_iterations, step = grpo->run.position.batch;
    int64_t first = step / (grpo->generation_steps * iterations) * grpo->generation_steps;
    int64_t left = grpo->steps - first, within = step - first * iterations;
    int64_t steps = left < grpo->generation_steps ? left : grpo->generation_steps;
    return (struct grpo_position){first, steps, within % steps, within / steps};
}

bool grpo_owns(const struct grpo *grpo, const int64_t *starts, int64_t step, int64_t slot) {
    const struct communicator *processes = grpo->run.config->processes;
    int64_t batch = (slot - starts[step]) / grpo->run.config->per_device_train_batch_size;
    return batch % communicator_size(processes) == communicator_rank(processes);
}

enum status grpo_list_own(const struct grpo *grpo, const struct generation *generation,
                          struct grpo_list *list, struct error *err) {
    size_t slots = (size_t)generation_slots(generation);
    *list = (struct grpo_list){.groups = memory_new(slots, sizeof(struct grpo_group *), "a generation", err)};
    if (!list->groups) return STATUS_FAILED;
    for (int64_t s = 0; s < generation->steps; s++)
        for (int64_t i = generation->starts[s]; i < generation->starts[s + 1]; i++)
            if (generation->groups[i].row >= 0 && grpo_owns(grpo, generation->starts, s, i))
                list->groups[list->count++] = &generation->groups[i];
    return STATUS_OK;
}

void grpo_list_free(struct grpo_list *list) {
    free(list->groups);
    *list = (struct grpo_list){0};
}

/* ---- The stage --------------------------------------------------------------------------------------- */

struct run_stage grpo_stage(struct grpo *grpo) {
    static const char *const shown[] = {"reward", "kl", "completion_length", NULL};
    return (struct run_stage){
        .context = grpo,
        .sample_name = "prompts",
        .shown = shown,
        .open_data = open_data,
        .open = open_models,
        .announce = announce,
        .fingerprint = grpo_fingerprint,
        .gradients = grpo_gradients,
        .save = grpo_save,
        .load = grpo_load,
        .evaluate = grpo_evaluate,
        .close = close_stage,
    };
}

enum status grpo_run(const struct train_config *config, struct error *err) {
    struct grpo grpo = {0};
    const struct run_stage stage = grpo_stage(&grpo);
    return train_run(&grpo.run, config, &stage, err);
}
