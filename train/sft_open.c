/* Everything up to the first step of an SFT run, and the end of it. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/template.h"
#include "model/hub.h"
#include "model/vision.h"
#include "train/sft_run.h"

enum { PIECE_BYTES = 1 << 16 }; /* bytes of a tower's weights that are read at once */

static void show_measuring(void *context, int64_t done, int64_t total) {
    progress_show(context, "reading rows", done, total, NULL, 0, done == total);
}

static enum status make_encoding(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    const struct visual_policy *policy = visual_policy_find("llamafactory");
    sft->tokenizer = tokenizer_load(sft->folder, err);
    if (!sft->tokenizer) return STATUS_FAILED;
    sft->encoding = (struct sample_options){
        .tokenizer = sft->tokenizer,
        .visual = visual_options_default(policy),
        .cutoff = config->cutoff_len,
        .train_on_prompt = config->train_on_prompt,
        .mask_history = config->mask_history,
    };
    struct visual_options *visual = &sft->encoding.visual;
    visual->fps = config->video_fps;
    visual->max_frames = config->video_maxlen;
    visual->max_pixels = (double)config->video_max_pixels;
    visual->min_pixels = (double)config->video_min_pixels;
    visual->image_max_pixels = (double)config->image_max_pixels;
    visual->image_min_pixels = (double)config->image_min_pixels;
    visual->threads = 1; /* rows are read side by side */
    return patch_config_read(sft->folder, true, &visual->processor, err);
}

/* A hash of the frozen tower's weights: features of another tower must not come out of the cache's folder. */
static enum status hash_tower(struct sft *sft, uint64_t *hash, struct error *err) {
    unsigned char *piece = memory_new(PIECE_BYTES, 1, "the vision tower's weights", err);
    enum status status = piece ? STATUS_OK : STATUS_FAILED;
    *hash = 0xcbf29ce484222325u;
    for (size_t i = 0; status == STATUS_OK && i < sft->optimizer.parameter_count; i++) {
        const struct parameter *parameter = &sft->optimizer.parameters[i];
        if (strncmp(parameter->name, "model.visual.", 13) != 0) continue;
        struct tensor whole = *parameter_tensor(&sft->model, parameter);
        struct tensor flat = tensor_reshape(whole, 1, whole.rows * whole.cols);
        int64_t most = PIECE_BYTES / (int64_t)dtype_size(flat.dtype);
        for (int64_t first = 0; status == STATUS_OK && first < flat.cols; first += most) {
            int64_t count = flat.cols - first < most ? flat.cols - first : most;
            struct tensor part = tensor_cols(flat, first, count);
            part.stride = count;
            status = device_read(&sft->device, piece, part, err);
            size_t bytes = (size_t)count * dtype_size(flat.dtype);
            for (size_t b = 0; b < bytes; b += 2)
                *hash = (*hash ^ (uint64_t)(piece[b] | piece[b + 1] << 8)) * 0x100000001b3u;
        }
    }
    free(piece);
    return status;
}

/* Features are kept when no part of tower and merger is trained. */
static enum status make_cache(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    if (vision_is_trained(&sft->optimizer.gradients)) return STATUS_OK;
    if (config->vision_cache_memory == 0 && !config->vision_cache_dir) return STATUS_OK;
    uint64_t hash = 0;
    if (config->vision_cache_dir && hash_tower(sft, &hash, err) != STATUS_OK) return STATUS_FAILED;
    char tower[64];
    snprintf(tower, sizeof tower, "%016llx %s", (unsigned long long)hash, dtype_name(sft->model.compute));
    sft->cache = vision_cache_new((size_t)config->vision_cache_memory, config->vision_cache_dir, tower, err);
    return sft->cache ? STATUS_OK : STATUS_FAILED;
}

/* How long the run is, and when it logs, evaluates and saves. */
static enum status make_schedule(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    int64_t groups = sft->data.train.group_count, batch = config->per_device_train_batch_size;
    int64_t accumulation = config->gradient_accumulation_steps;
    sft->batches = (groups + batch - 1) / batch;
    sft->total_steps = train_total_steps(config, groups);
    int64_t epoch_steps = (sft->batches + accumulation - 1) / accumulation;
    const struct {
        int strategy;
        double steps;
        int64_t *to;
    } intervals[] = {
        {config->logging_strategy, config->logging_steps, &sft->logging_steps},
        {config->save_strategy, config->save_steps, &sft->save_steps},
        {config->eval_strategy, config->eval_steps, &sft->eval_steps},
    };
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++)
        if (intervals[i].strategy != TRAIN_NEVER)
            *intervals[i].to = intervals[i].strategy == TRAIN_EVERY_EPOCH
                                   ? epoch_steps
                                   : train_interval(intervals[i].steps, sft->total_steps);
    sft->schedule = (struct schedule){
        .kind = schedule_find(config->lr_scheduler_type),
        .learning_rate = config->learning_rate,
        .min_learning_rate = config->min_lr,
        .steps = sft->total_steps,
        .warmup_steps = schedule_warmup(sft->total_steps, config->warmup_steps, config->warmup_ratio),
    };
    sft->order = memory_new((size_t)groups, sizeof *sft->order, "the order of an epoch", err);
    return sft->order ? STATUS_OK : STATUS_FAILED;
}

struct freeze sft_freeze(const struct train_config *config) {
    return (struct freeze){config->freeze_vision_tower, config->freeze_multi_modal_projector,
                           config->freeze_language_model};
}

static enum status open_model(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    const struct freeze freeze = sft_freeze(config);
    enum status status = device_open(config->device, &sft->device, err);
    if (status != STATUS_OK) return status;
    status = model_open(sft->folder, &sft->device, config->bf16 ? DTYPE_BF16 : DTYPE_F32, &sft->model, err);
    if (status == STATUS_OK) status = optimizer_open(&sft->optimizer, &sft->model, &freeze, err);
    if (status == STATUS_OK) status = make_cache(sft, err);
    if (status != STATUS_OK) return status;
    const struct pass_settings settings = {
        .model = &sft->model,
        .gradients = &sft->optimizer.gradients,
        .cache = sft->cache,
        .recompute = config->gradient_checkpointing,
        .activation_bytes = config->activation_memory > 0 ? config->activation_memory : 0,
    };
    sft->runner = pass_runner_new(&settings, err);
    sft->peak = device_measure(&sft->device);
    return sft->runner ? STATUS_OK : STATUS_FAILED;
}

static enum status describe_checkpoints(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    sft->trained = sft_trained(&sft->optimizer, err);
    if (!sft->trained) return STATUS_FAILED;
    sft->fingerprint = sft_fingerprint(config, sft->data.train.row_count, sft->data.train.group_count,
                                       sft->data.train.tokens);
    if (!sft->fingerprint) return error_set(err, "out of memory for the settings of a checkpoint");
    sft->checkpoints = (struct checkpoint_run){
        .output_dir = config->output_dir,
        .source = sft->folder,
        .config = &sft->model.config,
        .parameters = sft->optimizer.parameters,
        .trained = sft->trained,
        .count = sft->optimizer.parameter_count,
        .dtype = config->save_dtype,
        .configuration = sft->fingerprint,
        .only_model = config->save_only_model,
        .total_limit = config->save_total_limit,
        .snapshot_limit = SIZE_MAX,
        .reader = sft_state_reader(&sft->optimizer),
    };
    return STATUS_OK;
}

/* The folder to go on from, or NULL in *folder. */
static enum status choose_resume(struct sft *sft, char **folder, struct error *err) {
    const struct train_config *config = sft->config;
    *folder = NULL;
    if (config->resume == TRAIN_RESUME_NEVER) return STATUS_OK;
    if (config->resume == TRAIN_RESUME_FOLDER) {
        *folder = memory_text(config->resume_folder, strlen(config->resume_folder), "a folder", err);
        return *folder ? STATUS_OK : STATUS_FAILED;
    }
    struct text notes = {0};
    enum status status = checkpoint_find(config->output_dir, folder, &notes, err);
    if (notes.data) progress_message(sft->progress, "%s", notes.data);
    text_free(&notes);
    if (status == STATUS_OK && !*folder && config->resume == TRAIN_RESUME_NEWEST)
        status = error_usage(err, "%s: there is no complete checkpoint to resume from", config->output_dir);
    return status;
}

static enum status load_checkpoint(struct sft *sft, const char *folder, struct error *err) {
    struct checkpoint_resume resume;
    enum status status = checkpoint_resume_open(folder, &sft->checkpoints, &resume, err);
    if (status != STATUS_OK) return status;
    status = sft_position_load(&sft->position, &sft->data.skipped, resume.state, err);
    if (status == STATUS_OK) status = checkpoint_resume_read(&resume, sft_state_sink(&sft->optimizer), err);
    if (status == STATUS_OK) {
        optimizer_refresh(&sft->optimizer);
        sft->optimizer.step = sft->position.updates;
        sft->saved_step = sft->position.step;
        status = device_synchronize(&sft->device, err);
    }
    checkpoint_resume_close(&resume);
    if (status == STATUS_OK)
        progress_message(sft->progress, "resuming from %s, step %lld", folder, (long long)sft->position.step);
    return status;
}

/* The query's template goes with the model, so that vs2-score asks what was trained. Not every data set has
 * one. */
static void recover_template(struct sft *sft) {
    struct template_found found;
    struct error none;
    if (template_recover(sft->data.dataset, &template_published_marks, &found, &none) != STATUS_OK) return;
    sft->template = found.text;
    if (found.fitting < found.rows)
        progress_message(sft->progress, "query_template.txt: %lld of %lld rows ask this way",
                         (long long)found.fitting, (long long)found.rows);
}

static enum status open_outputs(struct sft *sft, struct error *err) {
    const struct train_config *config = sft->config;
    char *folder = NULL;
    enum status status = checkpoint_clean(config->output_dir, err);
    if (status == STATUS_OK) status = describe_checkpoints(sft, err);
    if (status == STATUS_OK) status = choose_resume(sft, &folder, err);
    if (status == STATUS_OK && folder) status = load_checkpoint(sft, folder, err);
    const struct train_log_settings settings = {
        .output_dir = config->output_dir,
        .max_steps = sft->total_steps,
        .logging_steps = sft->logging_steps,
        .save_steps = sft->save_steps,
        .eval_steps = sft->eval_steps,
        .train_batch_size = config->per_device_train_batch_size,
        .num_train_epochs = config->num_train_epochs,
        .tensorboard = config->tensorboard,
        .plot_loss = config->plot_loss,
    };
    if (status == STATUS_OK) {
        sft->log = train_log_open(&settings, folder, err);
        if (!sft->log) status = STATUS_FAILED;
    }
    free(folder);
    if (status == STATUS_OK) {
        sft->writer = checkpoint_writer_new(&sft->checkpoints, err);
        if (!sft->writer) status = STATUS_FAILED;
    }
    if (status == STATUS_OK) status = skipped_write(&sft->data.skipped, config->output_dir, err);
    return status;
}

enum status sft_open_data(struct sft *sft, const struct train_config *config, struct error *err) {
    *sft = (struct sft){.config = config};
    sft->progress = progress_new(stderr, config->disable_tqdm, err);
    if (!sft->progress) return STATUS_FAILED;
    sft->folder = hub_find(config->model, err);
    if (!sft->folder) return STATUS_FAILED;
    enum status status = make_encoding(sft, err);
    if (status == STATUS_OK)
        status = sft_data_open(&sft->data, config, &sft->encoding, show_measuring, sft->progress, err);
    if (status == STATUS_OK) status = make_schedule(sft, err);
    return status;
}

enum status sft_open(struct sft *sft, const struct train_config *config, struct error *err) {
    enum status status = sft_open_data(sft, config, err);
    if (status == STATUS_OK) recover_template(sft);
    if (status == STATUS_OK) status = open_model(sft, err);
    if (status == STATUS_OK) status = open_outputs(sft, err);
    return status;
}

void sft_close(struct sft *sft) {
    stream_stop(sft->stream);
    checkpoint_writer_free(sft->writer);
    train_log_free(sft->log);
    json_decref(sft->fingerprint);
    free(sft->trained);
    pass_runner_free(sft->runner);
    vision_cache_free(sft->cache);
    if (sft->optimizer.model) optimizer_close(&sft->optimizer);
    if (sft->model.device) model_close(&sft->model);
    if (sft->device.backend) device_close(&sft->device);
    sft_data_close(&sft->data);
    tokenizer_free(sft->tokenizer);
    free(sft->order);
    free(sft->template);
    free(sft->folder);
    progress_free(sft->progress);
}
