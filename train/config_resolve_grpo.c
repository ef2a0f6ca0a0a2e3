/* What the keys of stage grpo say together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "data/visual.h"
#include "train/config_read.h"

/* A key that was given, but has no effect without another. */
static enum status check_belongs(const struct config_reader *reader, const char *key, bool belongs,
                                 const char *to, struct error *err) {
    if (belongs || !config_is_given(reader, key)) return STATUS_OK;
    error_usage(err, "it belongs to %s", to);
    return config_fail_at(reader, key, err);
}

/* ---- Prompts ----------------------------------------------------------------------------------------- */

static enum status check_files(struct config_reader *reader, const struct train_config *config,
                               struct error *err) {
    if (config->datasets.count == 1 && config->eval_datasets.count <= 1) return STATUS_OK;
    error_usage(err, "one file is wanted, not several");
    return config_fail_at(reader, config->datasets.count > 1 ? "dataset" : "eval_dataset", err);
}

static enum status resolve_template(struct config_reader *reader, struct train_grpo *grpo,
                                    struct error *err) {
    enum { LARGEST_FILE = 1 << 20 };
    if (!grpo->question_template) return STATUS_OK;
    if (*grpo->question_template == '@') {
        char *text;
        size_t length;
        if (file_read(grpo->question_template + 1, LARGEST_FILE, &text, &length, err) != STATUS_OK)
            return config_fail_at(reader, "question_template", err);
        free(grpo->question_template);
        grpo->question_template = text;
    }
    if (strstr(grpo->question_template, "{problem}")) return STATUS_OK;
    error_usage(err, "there is no {problem} in it");
    return config_fail_at(reader, "question_template", err);
}

static enum status resolve_frames(struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    struct train_grpo *grpo = &values->config.grpo;
    grpo->frame_policy = visual_policy_names[values->frame_policy];
    bool qwen = strcmp(grpo->frame_policy, "qwen") == 0;
    enum status status = check_belongs(reader, "video_min_frames", qwen, "frame_policy: qwen", err);
    if (status == STATUS_OK)
        status = check_belongs(reader, "video_total_pixels", qwen, "frame_policy: qwen", err);
    if (status != STATUS_OK) return status;
    const struct {
        const char *low_name, *high_name;
        double low, high;
    } pairs[] = {
        {"video_min_pixels", "video_max_pixels", grpo->video_min_pixels, grpo->video_max_pixels},
        {"image_min_pixels", "image_max_pixels", grpo->image_min_pixels, grpo->image_max_pixels},
        {"min_pixels", "max_pixels", (double)grpo->min_pixels, (double)grpo->max_pixels},
        {"video_min_frames", "video_maxlen", (double)grpo->video_min_frames, (double)grpo->video_maxlen},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (!config_is_given(reader, pairs[i].low_name) || !config_is_given(reader, pairs[i].high_name))
            continue;
        if (pairs[i].low <= pairs[i].high) continue;
        error_usage(err, "it is below %s (%g)", pairs[i].low_name, pairs[i].low);
        return config_fail_at(reader, pairs[i].high_name, err);
    }
    return STATUS_OK;
}

/* ---- Rollouts and rewards ---------------------------------------------------------------------------- */

static enum status resolve_rollouts(struct config_reader *reader, struct config_values *values,
                                    struct error *err) {
    const struct train_config *config = &values->config;
    struct train_grpo *grpo = &values->config.grpo;
    int64_t accumulation = config->gradient_accumulation_steps;
    if (grpo->num_generations < 2) {
        error_usage(err, "one completion has nothing to be compared with: at least 2 are wanted");
        return config_fail_at(reader, "num_generations", err);
    }
    if (grpo->steps_per_generation == 0) grpo->steps_per_generation = accumulation;
    if (grpo->steps_per_generation % accumulation != 0) {
        error_usage(err, "%lld is no multiple of gradient_accumulation_steps (%lld)",
                    (long long)grpo->steps_per_generation, (long long)accumulation);
        return config_fail_at(reader, "steps_per_generation", err);
    }
    if (isnan(grpo->eval_temperature)) grpo->eval_temperature = grpo->temperature;
    if (!grpo->rollouts)
        return check_belongs(reader, "dynamic_sampling_rounds", grpo->dynamic_sampling,
                             "dynamic_sampling: true", err);
    error_usage(err, "recorded rollouts cannot be replaced (rollouts: %s)", grpo->rollouts);
    if (grpo->dynamic_sampling) return config_fail_at(reader, "dynamic_sampling", err);
    text_format(&reader->notes,
                "rollouts: completions and rewards are those of %s; what says how to sample and to reward is "
                "for evaluation\n",
                grpo->rollouts);
    return STATUS_OK;
}

/* Whether the list has the name; else it is appended with weight 1. */
static enum status want_reward(struct train_grpo *grpo, const char *name, struct error *err) {
    struct train_names *names = &grpo->reward_funcs;
    for (int64_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0) return STATUS_OK;
    size_t name_room = (size_t)names->count, weight_room = (size_t)names->count;
    const char *what = "the rewards";
    if (memory_grow(&names->names, &name_room, (size_t)names->count + 1, sizeof *names->names, what, err) !=
            STATUS_OK ||
        memory_grow(&grpo->reward_weights, &weight_room, (size_t)names->count + 1,
                    sizeof *grpo->reward_weights, what, err) != STATUS_OK)
        return STATUS_FAILED;
    char *copy = memory_text(name, strlen(name), what, err);
    if (!copy) return STATUS_FAILED;
    names->names[names->count] = copy;
    grpo->reward_weights[names->count++] = 1;
    return STATUS_OK;
}

static enum status resolve_rewards(struct config_reader *reader, struct config_values *values,
                                   struct error *err) {
    struct train_grpo *grpo = &values->config.grpo;
    int64_t count = grpo->reward_funcs.count, weights = values->reward_weights.count;
    if (weights > 0 && weights != count) {
        error_usage(err, "%lld weights for %lld reward_funcs", (long long)weights, (long long)count);
        return config_fail_at(reader, "reward_weights", err);
    }
    grpo->reward_weights = memory_new((size_t)count, sizeof *grpo->reward_weights, "the rewards", err);
    if (!grpo->reward_weights) return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++)
        grpo->reward_weights[i] = weights > 0 ? values->reward_weights.numbers[i] : 1;
    enum status status = values->len_control ? want_reward(grpo, "length", err) : STATUS_OK;
    if (status == STATUS_OK && values->temporal) status = want_reward(grpo, "temporal", err);
    return status;
}

/* ---- Loss -------------------------------------------------------------------------------------------- */

static enum status resolve_loss(struct config_reader *reader, struct config_values *values,
                                struct error *err) {
    enum { TRUE_IS_GROUP = 3, FALSE_IS_NONE = 4 }; /* in config_scale_names */
    struct train_grpo *grpo = &values->config.grpo;
    int scale = values->scale_rewards;
    grpo->scale_rewards = config_scale_names[scale == TRUE_IS_GROUP ? 0 : scale == FALSE_IS_NONE ? 2 : scale];
    grpo->loss_type = config_loss_names[values->loss_type];
    grpo->importance_sampling_level = config_level_names[values->importance_sampling_level];
    if (strcmp(grpo->loss_type, "gspo") == 0) {
        bool token = strcmp(grpo->importance_sampling_level, "token") == 0;
        if (token && config_is_given(reader, "importance_sampling_level")) {
            error_usage(err, "loss_type gspo has ratios of completions (sequence)");
            return config_fail_at(reader, "importance_sampling_level", err);
        }
        grpo->importance_sampling_level = "sequence";
    }
    if (isnan(grpo->epsilon_high)) grpo->epsilon_high = grpo->epsilon;
    if (grpo->max_kl == 0) grpo->max_kl = NAN;
    if (grpo->sync_ref_model && grpo->beta == 0) {
        error_usage(err, "at beta 0 there is no reference model");
        return config_fail_at(reader, "sync_ref_model", err);
    }
    enum status status =
        check_belongs(reader, "ref_model_mixup_alpha", grpo->sync_ref_model, "sync_ref_model: true", err);
    if (status == STATUS_OK)
        status =
            check_belongs(reader, "ref_model_sync_steps", grpo->sync_ref_model, "sync_ref_model: true", err);
    return status;
}

enum status config_resolve_grpo(struct config_reader *reader, struct config_values *values,
                                struct error *err) {
    struct train_config *config = &values->config;
    if (!values->shuffle_dataset) config->disable_shuffling = true;
    if (!config_is_given(reader, "plot_loss")) config->plot_loss = true; /* no such key there */
    enum status status = check_files(reader, config, err);
    if (status == STATUS_OK) status = resolve_template(reader, &config->grpo, err);
    if (status == STATUS_OK) status = resolve_frames(reader, values, err);
    if (status == STATUS_OK) status = resolve_rollouts(reader, values, err);
    if (status == STATUS_OK) status = resolve_rewards(reader, values, err);
    if (status == STATUS_OK) status = resolve_loss(reader, values, err);
    return status;
}
