#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "eval/benchmark.h"
#include "tensor/device.h"
#include "train/config_read.h"
#include "train/schedule.h"

enum status config_fail_at(const struct config_reader *reader, const char *key, struct error *err) {
    const struct config_setting *setting = config_setting_find(reader, key);
    if (setting) return config_fail(reader, setting, err);
    error_prefix(err, "%s", key);
    if (reader->path) error_prefix(err, "%s", reader->path);
    return STATUS_USAGE;
}

/* ---- Keys that must be there ------------------------------------------------------------------------- */

static enum status check_required(struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    const struct train_config *config = &values->config;
    if (!config->model) {
        error_usage(err, "a checkpoint must be named: a folder or a hub name");
        return config_fail_at(reader, "model_name_or_path", err);
    }
    bool none = config->datasets.count == 1 && strcmp(config->datasets.names[0], "None") == 0;
    if (!config->datasets.count || none) {
        if (config->stage == TRAIN_STAGE_GRPO)
            error_usage(err, "a JSON file of problems must be named; on the command line: dataset=FILE");
        else
            error_usage(err,
                        "a data set of %s/dataset_info.json must be named; on the command line: dataset=NAME",
                        config->dataset_dir);
        return config_fail_at(reader, "dataset", err);
    }
    if (!config->output_dir) {
        error_usage(err, "a folder must be named");
        return config_fail_at(reader, "output_dir", err);
    }
    return STATUS_OK;
}

/* ---- Model ------------------------------------------------------------------------------------------- */

/* The stage in a name such as "ds_z3_config.json" or "zero2.json"; -1: none. */
static int64_t stage_of_name(const char *path) {
    static const char *const marks[] = {"zero_stage", "zero", "stage", "z"};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof(marks) / sizeof *marks; i++) {
        for (const char *at = name; (at = strcasestr(at, marks[i])); at++) {
            const char *digit = at + strlen(marks[i]);
            if (*digit == '_' || *digit == '-') digit++;
            if (*digit >= '0' && *digit <= '3' && !(digit[1] >= '0' && digit[1] <= '9')) return *digit - '0';
        }
    }
    return -1;
}

/* What a DeepSpeed configuration says that means something here. */
struct deepspeed {
    int64_t stage;
    bool offloads;      /* the optimizer's state to the host's memory */
    bool tells_overlap; /* overlap_comm is true or false, not "auto" ... */
    bool overlaps;      /* ... and which of them */
};

static enum status read_overlap(const json_t *zero, struct deepspeed *deepspeed, const char *path,
                                struct error *err) {
    const json_t *value = json_object_get(zero, "overlap_comm");
    const char *word = json_string_value(value);
    if (!value || (word && strcmp(word, "auto") == 0)) return STATUS_OK;
    if (!json_is_boolean(value))
        return error_usage(err, "%s: overlap_comm is neither true nor false nor \"auto\"", path);
    deepspeed->tells_overlap = true;
    deepspeed->overlaps = json_is_true(value);
    return STATUS_OK;
}

static enum status read_deepspeed(const char *path, struct deepspeed *deepspeed, struct error *err) {
    enum { LARGEST_FILE = 1 << 20 };
    json_t *json = json_read_file(path, LARGEST_FILE, err);
    if (!json) return STATUS_USAGE;
    long long value = 0;
    enum status status = STATUS_OK;
    const json_t *zero = json_object_get(json, "zero_optimization");
    if (!json_is_object(json) || (zero && !json_is_object(zero)))
        status = error_usage(err, "%s: not a DeepSpeed configuration", path);
    else if (zero)
        status = json_get_integer(zero, "stage", 0, 3, 0, &value, path, err);
    const char *to = json_string_value(json_object_get(json_object_get(zero, "offload_optimizer"), "device"));
    *deepspeed = (struct deepspeed){.stage = value, .offloads = to && strcmp(to, "none") != 0};
    if (status == STATUS_OK) status = read_overlap(zero, deepspeed, path, err);
    json_decref(json);
    return status == STATUS_OK ? STATUS_OK : STATUS_USAGE;
}

/* Stage, overlap_comm and offload_optimizer are those of `deepspeed`, unless keys of their own give them. */
static enum status resolve_deepspeed(struct config_reader *reader, struct config_values *values,
                                     struct error *err) {
    const char *path = values->deepspeed;
    struct deepspeed found = {.stage = path ? stage_of_name(path) : -1};
    bool missing = path && access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
    if (path && !missing && read_deepspeed(path, &found, err) != STATUS_OK)
        return config_fail_at(reader, "deepspeed", err);
    if (missing) text_format(&reader->notes, "deepspeed: %s is not there; ", path);
    if (missing && found.stage < 0)
        text_append_string(&reader->notes, "its name tells no ZeRO stage, so it is stage 0\n");
    if (missing && found.stage >= 0)
        text_format(&reader->notes, "by its name it is ZeRO stage %lld\n", (long long)found.stage);
    if (!config_is_given(reader, "offload_optimizer")) values->config.offload_optimizer = found.offloads;
    if (!config_is_given(reader, "overlap_comm")) {
        values->config.overlap_exchanges = found.overlaps;
        values->config.overlap_unsaid = !found.tells_overlap;
    }
    int64_t *stage = &values->config.zero_stage;
    if (*stage < 0) *stage = found.stage < 0 ? 0 : found.stage;
    bool generates = values->config.stage == TRAIN_STAGE_GRPO || values->config.eval_benchmark;
    if (*stage == 3 && generates)
        text_append_string(
            &reader->notes,
            "ZeRO stage 3: while it generates the model is whole in every process; the numbers "
            "are those of other stages\n");
    return STATUS_OK;
}

static enum status resolve_device(struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    char **device = &values->config.device;
    if (device_name_check(*device, err) != STATUS_OK) return config_fail_at(reader, "device", err);
    if (!values->use_cpu) return STATUS_OK;
    if (strncmp(*device, "cuda", 4) == 0) {
        error_usage(err, "it contradicts device: %s", *device);
        return config_fail_at(reader, "use_cpu", err);
    }
    free(*device);
    *device = memory_text("cpu", 3, "the configuration", err);
    return *device ? STATUS_OK : STATUS_FAILED;
}

static enum status resolve_model(struct config_reader *reader, struct config_values *values,
                                 struct error *err) {
    struct train_config *config = &values->config;
    enum status status = resolve_device(reader, values, err);
    if (status != STATUS_OK) return status;
    bool f32 = values->save_dtype == CONFIG_SAVE_AUTO ? !config->bf16 : values->save_dtype == CONFIG_SAVE_F32;
    config->save_dtype = f32 ? DTYPE_F32 : DTYPE_BF16;
    if (config->freeze_vision_tower && config->freeze_multi_modal_projector &&
        config->freeze_language_model) {
        error_usage(err,
                    "vision tower, projector and language model are all frozen: nothing is left to train");
        return config_fail_at(reader, "freeze_language_model", err);
    }
    return resolve_deepspeed(reader, values, err);
}

/* ---- Data and memory --------------------------------------------------------------------------------- */

static enum status check_pixels(const struct config_reader *reader, const struct train_config *config,
                                struct error *err) {
    if (config->image_max_pixels < config->image_min_pixels) {
        error_usage(err, "it is below image_min_pixels (%lld)", (long long)config->image_min_pixels);
        return config_fail_at(reader, "image_max_pixels", err);
    }
    if (config->video_max_pixels < config->video_min_pixels) {
        error_usage(err, "it is below video_min_pixels (%lld)", (long long)config->video_min_pixels);
        return config_fail_at(reader, "video_max_pixels", err);
    }
    return STATUS_OK;
}

static enum status resolve_data(struct config_reader *reader, struct config_values *values,
                                struct error *err) {
    struct train_config *config = &values->config;
    if (config->stage == TRAIN_STAGE_GRPO) return config_resolve_grpo(reader, values, err);
    if (!config->media_dir) {
        config->media_dir = memory_text(config->dataset_dir, strlen(config->dataset_dir), "a path", err);
        if (!config->media_dir) return STATUS_FAILED;
    }
    if (config->mask_history && config->train_on_prompt) {
        error_usage(err, "it contradicts train_on_prompt");
        return config_fail_at(reader, "mask_history", err);
    }
    config->packing = config->packing || config->neat_packing;
    return check_pixels(reader, config, err);
}

static enum status resolve_memory(struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    struct train_config *config = &values->config;
    if (values->disable_gradient_checkpointing) config->gradient_checkpointing = false;
    if (!config->gradient_checkpointing && config->activation_memory >= 0) {
        error_usage(err, "without gradient_checkpointing all activations are kept");
        return config_fail_at(reader, "activation_memory", err);
    }
    if (config->freeze_vision_tower) return STATUS_OK;
    error_usage(err,
                "features of a vision tower that is trained cannot be kept (freeze_vision_tower: false)");
    if (config->vision_cache_dir) return config_fail_at(reader, "vision_cache_dir", err);
    if (config->vision_cache_memory && config_setting_find(reader, "vision_cache_memory"))
        return config_fail_at(reader, "vision_cache_memory", err);
    config->vision_cache_memory = 0;
    return STATUS_OK;
}

/* ---- Optimization ------------------------------------------------------------------------------------ */

static enum status resolve_schedule(struct config_reader *reader, struct config_values *values,
                                    struct error *err) {
    static const char min_lr[] = "lr_scheduler_kwargs.min_lr", rate[] = "lr_scheduler_kwargs.min_lr_rate";
    struct train_config *config = &values->config;
    config->lr_scheduler_type = schedule_names[values->lr_scheduler];
    bool wanted = strcmp(config->lr_scheduler_type, "cosine_with_min_lr") == 0;
    bool both = config->min_lr >= 0 && values->min_lr_rate >= 0;
    if (both || (!wanted && values->min_lr_rate >= 0)) {
        error_usage(err, both ? "it and min_lr are given; one is wanted"
                              : "it belongs to lr_scheduler_type: cosine_with_min_lr");
        return config_fail_at(reader, rate, err);
    }
    if (!wanted && config->min_lr >= 0) {
        error_usage(err, "it belongs to lr_scheduler_type: cosine_with_min_lr");
        return config_fail_at(reader, min_lr, err);
    }
    if (values->min_lr_rate >= 0) config->min_lr = values->min_lr_rate * config->learning_rate;
    if (wanted && config->min_lr < 0) {
        error_usage(err, "cosine_with_min_lr wants lr_scheduler_kwargs: {min_lr: ...} or min_lr_rate");
        return config_fail_at(reader, "lr_scheduler_type", err);
    }
    if (wanted && config->min_lr > config->learning_rate) {
        error_usage(err, "it is above learning_rate (%g)", config->learning_rate);
        return config_fail_at(reader, min_lr, err);
    }
    if (!wanted) config->min_lr = 0;
    return STATUS_OK;
}

static enum status resolve_optimization(struct config_reader *reader, struct config_values *values,
                                        struct error *err) {
    struct train_config *config = &values->config;
    if (config->max_steps <= 0) config->max_steps = -1;
    if (config->data_seed < 0) config->data_seed = config->seed;
    return resolve_schedule(reader, values, err);
}

/* ---- Output ------------------------------------------------------------------------------------------ */

static enum status resolve_resume(struct config_reader *reader, struct config_values *values,
                                  struct error *err) {
    struct train_config *config = &values->config;
    bool wanted;
    config->resume = config->overwrite_output_dir ? TRAIN_RESUME_NEVER : TRAIN_RESUME_ANY;
    if (!values->resume) return STATUS_OK;
    const struct yaml_node node = {.kind = YAML_SCALAR, .text = values->resume};
    if (yaml_to_bool(&node, &wanted)) {
        config->resume = wanted ? TRAIN_RESUME_NEWEST : TRAIN_RESUME_NEVER;
        return STATUS_OK;
    }
    if (access(values->resume, F_OK) != 0) {
        error_usage(err, "%s: %s", values->resume, strerror(errno));
        return config_fail_at(reader, "resume_from_checkpoint", err);
    }
    config->resume = TRAIN_RESUME_FOLDER;
    config->resume_folder = values->resume;
    values->resume = NULL;
    return STATUS_OK;
}

static bool is_named(const char *const *names, const char *name) {
    for (; *names; names++)
        if (strcasecmp(*names, name) == 0) return true;
    return false;
}

static enum status resolve_reports(struct config_reader *reader, struct config_values *values,
                                   struct error *err) {
    static const char *const services[] = {"azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub",
                                           "dvclive",  "flyte",   "mlflow",     "neptune",  "swanlab",
                                           "trackio",  "wandb",   NULL};
    static const char *const written[] = {"tensorboard", "all", NULL};
    const struct train_names *names = &values->report_to;
    values->config.tensorboard = true;
    for (int64_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        if (strcasecmp(name, "none") == 0) {
            values->config.tensorboard = false;
        } else if (is_named(services, name)) {
            text_format(&reader->notes, "report_to: nothing goes to %s; the log is in output_dir\n", name);
        } else if (!is_named(written, name)) {
            error_usage(err, "'%.100s' is neither tensorboard nor none", name);
            return config_fail_at(reader, "report_to", err);
        }
    }
    return STATUS_OK;
}

/* ---- Evaluation -------------------------------------------------------------------------------------- */

/* The key that asks for an evaluation, or NULL. */
static const char *evaluation_key(const struct config_reader *reader, const struct train_config *config) {
    if (config->eval_strategy != TRAIN_NEVER)
        return config_setting_find(reader, "eval_strategy") ? "eval_strategy" : "eval_steps";
    if (config->eval_on_start) return "eval_on_start";
    return config->do_eval ? "do_eval" : NULL;
}

/* The three keys of a benchmark go together. */
static enum status resolve_benchmark(struct config_reader *reader, struct config_values *values,
                                     struct error *err) {
    const struct train_config *config = &values->config;
    const struct {
        const char *key, *value;
    } parts[] = {{"eval_benchmark", config->eval_benchmark},
                 {"eval_data", config->eval_data},
                 {"eval_videos", config->eval_videos}};
    enum { PARTS = sizeof parts / sizeof *parts };
    for (int i = 0; i < PARTS; i++)
        for (int k = 0; k < PARTS; k++)
            if (parts[i].value && !parts[k].value) {
                error_usage(err, "%s is missing", parts[k].key);
                return config_fail_at(reader, parts[i].key, err);
            }
    if (!config->eval_benchmark || benchmark_find(config->eval_benchmark, err)) return STATUS_OK;
    return config_fail_at(reader, "eval_benchmark", err);
}

static enum status resolve_evaluation(struct config_reader *reader, struct config_values *values,
                                      struct error *err) {
    struct train_config *config = &values->config;
    if (config->val_size > 1 && config->val_size != (double)(int64_t)config->val_size) {
        error_usage(err, "%g is neither a share of the samples nor a number of them", config->val_size);
        return config_fail_at(reader, "val_size", err);
    }
    if (config->eval_datasets.count && config->val_size > 0) {
        error_usage(err, "eval_dataset is given as well; one of them is wanted");
        return config_fail_at(reader, "val_size", err);
    }
    if (config->eval_steps > 0 && !config_setting_find(reader, "eval_strategy"))
        config->eval_strategy = TRAIN_EVERY_STEPS;
    if (config->eval_steps == 0) config->eval_steps = config->logging_steps;
    const char *key = evaluation_key(reader, config);
    if (key && !config->eval_datasets.count && config->val_size == 0 && !config->eval_benchmark) {
        error_usage(err,
                    "there is nothing to evaluate on: val_size, eval_dataset or eval_benchmark is missing");
        return config_fail_at(reader, key, err);
    }
    if (!key && config->eval_benchmark)
        text_append_string(&reader->notes, "eval_benchmark is never run: eval_strategy is no\n");
    if (!key && (config->eval_datasets.count || config->val_size > 0))
        text_append_string(&reader->notes, "validation samples are set apart, but never evaluated: "
                                           "eval_strategy is no\n");
    return STATUS_OK;
}

enum status config_resolve(struct config_reader *reader, struct config_values *values, struct error *err) {
    static enum status (*const parts[])(struct config_reader *, struct config_values *, struct error *) = {
        check_required, resolve_model,   resolve_data,      resolve_memory,     resolve_optimization,
        resolve_resume, resolve_reports, resolve_benchmark, resolve_evaluation,
    };
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof(parts) / sizeof *parts && status == STATUS_OK; i++)
        status = parts[i](reader, values, err);
    return status;
}
