#include "train/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/communicator.h"
#include "train/config_read.h"

static void free_values(struct config_values *values) {
    free(values->deepspeed);
    free(values->resume);
    config_names_free(&values->report_to);
    free(values->reward_weights.numbers);
}

void train_config_free(struct train_config *config) {
    char *const strings[] = {config->notes,
                             config->model,
                             config->device,
                             config->dataset_dir,
                             config->media_dir,
                             config->output_dir,
                             config->vision_cache_dir,
                             config->logging_dir,
                             config->resume_folder,
                             config->grpo.question_template,
                             config->grpo.rollouts,
                             config->eval_benchmark,
                             config->eval_data,
                             config->eval_videos};
    for (size_t i = 0; i < sizeof(strings) / sizeof *strings; i++) free(strings[i]);
    config_names_free(&config->datasets);
    config_names_free(&config->eval_datasets);
    config_names_free(&config->grpo.reward_funcs);
    free(config->grpo.reward_weights);
    *config = (struct train_config){0};
}

bool train_config_knows(const char *name) {
    struct config_match match;
    return config_key_find(name, ~0u, &match);
}

static enum status store_defaults(const struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    const struct config_group *group;
    enum train_stage stage = reader->stages & 1u << TRAIN_STAGE_GRPO ? TRAIN_STAGE_GRPO : TRAIN_STAGE_SFT;
    enum status status = STATUS_OK;
    for (size_t g = 0; (group = config_group_at(g)) && status == STATUS_OK; g++) {
        if (group->role != CONFIG_USED || !(group->stages & reader->stages)) continue;
        for (size_t i = 0; i < group->count && status == STATUS_OK; i++)
            status = config_store_default(&group->keys[i], stage, values, err);
    }
    values->config.stage = stage;
    return status;
}

static enum status store_settings(const struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    for (size_t i = 0; i < reader->count; i++) {
        const struct config_setting *setting = &reader->settings[i];
        enum status status = STATUS_OK;
        if (setting->match.group->role == CONFIG_USED)
            status = config_store(setting->match.key, setting->node, values, err);
        else if (setting->match.group->role == CONFIG_FIXED)
            status = config_check_fixed(setting->match.key, setting->node, err);
        if (status == STATUS_USAGE) config_fail(reader, setting, err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static void note_ignored(struct config_reader *reader) {
    int count = 0;
    for (size_t i = 0; i < reader->count; i++) {
        if (reader->settings[i].match.group->role != CONFIG_IGNORED) continue;
        text_format(&reader->notes, "%s%s",
                    count++ ? ", " : "these keys have no meaning here: ", reader->settings[i].match.name);
    }
    if (count) text_append_string(&reader->notes, "\n");
}

/* What members have that keys without a default leave as they are. */
static struct config_values values_not_given(void) {
    return (struct config_values){
        .config = {.max_samples = INT64_MAX,
                   .zero_stage = -1,
                   .activation_memory = -1,
                   .data_seed = -1,
                   .min_lr = -1,
                   .grpo = {.max_prompt_length = INT64_MAX,
                            .video_fps = NAN,
                            .video_max_pixels = NAN,
                            .video_min_pixels = NAN,
                            .video_total_pixels = NAN,
                            .image_max_pixels = NAN,
                            .image_min_pixels = NAN,
                            .epsilon_high = NAN,
                            .delta = NAN,
                            .importance_sampling_cap = NAN,
                            .eval_temperature = NAN}},
        .min_lr_rate = -1,
    };
}

enum status train_config_read(const char *path, const char *const *words, size_t count,
                              struct train_config *config, struct error *err) {
    struct config_reader reader = {.path = path};
    struct config_values values = values_not_given();
    enum status status = config_collect(&reader, words, count, err);
    if (status == STATUS_OK) status = store_defaults(&reader, &values, err);
    if (status == STATUS_OK) status = store_settings(&reader, &values, err);
    if (status == STATUS_OK) {
        note_ignored(&reader);
        status = config_resolve(&reader, &values, err);
    }
    if (status == STATUS_OK) {
        text_append_string(&reader.notes, "");
        values.config.notes = text_take(&reader.notes, "the notes", err);
        if (!values.config.notes) status = STATUS_FAILED;
    }
    config_reader_free(&reader);
    free_values(&values);
    if (status == STATUS_OK)
        *config = values.config;
    else
        train_config_free(&values.config);
    return status;
}

int64_t train_interval(double steps, int64_t total) {
    if (steps >= 1) return (int64_t)steps;
    int64_t interval = (int64_t)ceil((double)total * steps);
    return interval < 1 ? 1 : interval;
}

static int64_t divide_up(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

int64_t train_step_batches(const struct train_config *config) {
    return config->gradient_accumulation_steps * communicator_size(config->processes);
}

int64_t train_epoch_steps(const struct train_config *config, int64_t samples) {
    int64_t batches = divide_up(samples, config->per_device_train_batch_size);
    int64_t steps = divide_up(batches, train_step_batches(config));
    return steps > 1 ? steps : 1;
}

int64_t train_total_steps(const struct train_config *config, int64_t epoch_steps) {
    if (config->max_steps > 0) return config->max_steps;
    return (int64_t)ceil(config->num_train_epochs * (double)epoch_steps);
}
