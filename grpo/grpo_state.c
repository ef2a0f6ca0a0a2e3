/* What a checkpoint keeps of the run, and what a run that goes on from it must share with it. */
#include <math.h>

#include "grpo/grpo_run.h"

/* The sum of a list of settings, NULL when memory is short. */
static json_t *merge(json_t *const *parts, size_t count) {
    json_t *all = json_object();
    bool failed = !all;
    for (size_t i = 0; i < count; i++) {
        failed = failed || !parts[i] || json_object_update(all, parts[i]) != 0;
        json_decref(parts[i]);
    }
    if (!failed) return all;
    json_decref(all);
    return NULL;
}

static json_t *weights_json(const struct train_grpo *config) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < config->reward_funcs.count; i++)
        json_array_append_new(list, json_real(config->reward_weights[i]));
    return list;
}

static json_t *prompt_settings(const struct grpo *grpo) {
    const struct train_config *config = grpo->run.config;
    const struct train_grpo *own = &config->grpo;
    const struct visual_options *visual = &grpo->prompts.visual;
    return json_pack(
        "{s:o, s:I, s:s?, s:s?, s:I, s:s, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i}", "dataset",
        train_names_json(&config->datasets), "prompts of the data set",
        (json_int_t)grpo->problems.train.count, "rollouts", own->rollouts, "question_template",
        own->question_template, "max_prompt_length", (json_int_t)own->max_prompt_length, "frame_policy",
        own->frame_policy, "video_fps", visual->fps, "video_maxlen", (json_int_t)visual->max_frames,
        "video_min_frames", (json_int_t)visual->min_frames, "video_max_pixels",
        visual->budget_pixels > 0 ? visual->budget_pixels : visual->max_pixels, "video_min_pixels",
        visual->min_pixels, "video_total_pixels", visual->total_pixels, "image_max_pixels",
        visual->image_max_pixels, "image_min_pixels", visual->image_min_pixels, "max_pixels",
        visual->processor.max_pixels, "min_pixels", visual->processor.min_pixels, "second_per_grid",
        own->second_per_grid);
}

static json_t *rollout_settings(const struct grpo *grpo) {
    const struct train_grpo *own = &grpo->run.config->grpo;
    return json_pack("{s:I, s:I, s:I, s:f, s:f, s:I, s:f, s:f, s:I, s:I, s:b, s:I, s:o, s:o}", "seed",
                     (json_int_t)grpo->run.config->seed, "num_generations", (json_int_t)own->num_generations,
                     "max_completion_length", (json_int_t)own->max_completion_length, "temperature",
                     own->temperature, "top_p", own->top_p, "top_k", (json_int_t)own->top_k, "min_p",
                     own->min_p, "repetition_penalty", own->repetition_penalty, "num_iterations",
                     (json_int_t)own->num_iterations, "steps of a generation",
                     (json_int_t)grpo->generation_steps, "dynamic_sampling", own->dynamic_sampling,
                     "dynamic_sampling_rounds", (json_int_t)own->dynamic_sampling_rounds, "reward_funcs",
                     train_names_json(&own->reward_funcs), "reward_weights", weights_json(own));
}

static json_t *loss_settings(const struct grpo *grpo) {
    const struct train_grpo *own = &grpo->run.config->grpo;
    const struct loss_settings *loss = &grpo->loss;
    return json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f, s:o, s:b, s:f, s:b, s:f, s:I}", "loss_type",
                     own->loss_type, "scale_rewards", own->scale_rewards, "importance_sampling_level",
                     loss->sequence_level, "beta", loss->beta, "epsilon", loss->epsilon, "epsilon_high",
                     loss->epsilon_high, "delta", loss->delta, "importance_sampling_cap",
                     json_from_double(loss->importance_cap), "mask_truncated_completions",
                     own->mask_truncated_completions, "entropy_coef", loss->entropy_coef, "sync_ref_model",
                     own->sync_ref_model, "ref_model_mixup_alpha", own->ref_model_mixup_alpha,
                     "ref_model_sync_steps", (json_int_t)own->ref_model_sync_steps);
}

json_t *grpo_fingerprint(const void *context) {
    const struct grpo *grpo = context;
    json_t *const parts[] = {prompt_settings(grpo), rollout_settings(grpo), loss_settings(grpo)};
    return merge(parts, sizeof parts / sizeof *parts);
}

json_t *grpo_save(const void *context) {
    const struct grpo *grpo = context;
    return json_pack("{s:I, s:o}", "flat_steps", (json_int_t)grpo->flat_steps, "generation",
                     grpo->generation ? generation_save(grpo->generation) : json_null());
}

/* Makes the prompts again of those groups of the generation that are this process's. */
static enum status fetch_prompts(struct grpo *grpo, struct error *err) {
    struct generation *generation = grpo->generation;
    struct grpo_list own;
    enum status status = grpo_list_own(grpo, generation, &own, err);
    if (status == STATUS_OK) status = grpo_fetch(grpo, &grpo->problems.train, &own, err);
    grpo_list_free(&own);
    return status;
}

enum status grpo_load(void *context, const json_t *saved, struct error *err) {
    struct grpo *grpo = context;
    const json_t *generation = json_object_get(saved, "generation");
    long long flat_steps;
    enum status status =
        json_get_integer(saved, "flat_steps", 0, INT64_MAX, 0, &flat_steps, "the checkpoint's state", err);
    if (status != STATUS_OK) return status;
    grpo->flat_steps = flat_steps;
    if (!generation || json_is_null(generation)) return STATUS_OK;
    grpo->generation = generation_load(generation, grpo->rewards.count, err);
    if (!grpo->generation) return STATUS_FAILED;
    const struct grpo_position at = grpo_position(grpo);
    if (at.steps != grpo->generation->steps)
        return error_set(err, "the checkpoint's rollouts are not those of its step");
    status = generation_compare(grpo->generation, grpo->scale, err);
    return status == STATUS_OK ? fetch_prompts(grpo, err) : status;
}
