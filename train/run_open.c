/* Everything up to the first step of a run, and the end of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "model/hub.h"
#include "train/communicator.h"
#include "train/run.h"

enum { CONFIG_LIMIT = 64 << 20 };

/* What a run that goes on from a checkpoint must share with it. */
static json_t *fingerprint(const struct train_run *run) {
    json_t *shared = run_fingerprint(run->config), *own = run->stage->fingerprint(run->stage->context);
    bool merged = shared && own && json_object_update(shared, own) == 0;
    json_decref(own);
    if (merged) return shared;
    json_decref(shared);
    return NULL;
}

static enum status describe_checkpoints(struct train_run *run, struct error *err) {
    const struct train_config *config = run->config;
    run->trained = run_trained(&run->optimizer, err);
    if (!run->trained) return STATUS_FAILED;
    run->checkpoints = (struct checkpoint_run){
        .processes = run->optimizer.stage > 0 ? config->processes : NULL,
        .output_dir = config->output_dir,
        .source = run->folder,
        .config = &run->model.config,
        .parameters = run->optimizer.parameters,
        .trained = run->trained,
        .count = run->optimizer.parameter_count,
        .dtype = config->save_dtype,
        .configuration = run->fingerprint,
        .only_model = config->save_only_model,
        .has_reference = run->tensors.reference != NULL,
        .total_limit = config->save_total_limit,
        .snapshot_limit = SIZE_MAX,
        .reader = run_state_reader(&run->tensors),
    };
    return STATUS_OK;
}

/* The folder to go on from, or NULL in *folder. */
static enum status choose_resume(struct train_run *run, char **folder, struct error *err) {
    const struct train_config *config = run->config;
    *folder = NULL;
    if (config->resume == TRAIN_RESUME_NEVER) return STATUS_OK;
    if (config->resume == TRAIN_RESUME_FOLDER) {
        *folder = memory_text(config->resume_folder, strlen(config->resume_folder), "a folder", err);
        return *folder ? STATUS_OK : STATUS_FAILED;
    }
    struct text notes = {0};
    enum status status = checkpoint_find(config->output_dir, folder, &notes, err);
    if (notes.data) progress_message(run->progress, "%s", notes.data);
    text_free(&notes);
    if (status == STATUS_OK && !*folder && config->resume == TRAIN_RESUME_NEWEST)
        status = error_usage(err, "%s: there is no complete checkpoint to resume from", config->output_dir);
    return status;
}

static enum status read_state(struct train_run *run, const struct checkpoint_resume *resume,
                              struct error *err) {
    enum status status = run_load_state(run, resume->state, err);
    if (status != STATUS_OK) return status;
    return checkpoint_resume_read(resume, run_state_sink(&run->tensors), err);
}

static enum status load_checkpoint(struct train_run *run, const char *folder, struct error *err) {
    struct checkpoint_resume resume;
    enum status status = run_agree(run, checkpoint_resume_open(folder, &run->checkpoints, &resume, err), err);
    if (status == STATUS_OK) status = run_agree(run, read_state(run, &resume, err), err);
    if (status == STATUS_OK) {
        optimizer_refresh(&run->optimizer);
        if (run->tensors.reference) optimizer_refresh(run->tensors.reference);
        run->optimizer.step = run->position.updates;
        run->saved_step = run->position.step;
        status = device_synchronize(&run->device, err);
    }
    checkpoint_resume_close(&resume);
    if (status == STATUS_OK)
        progress_message(run->progress, "resuming from %s, step %lld", folder, (long long)run->position.step);
    return status;
}

/* The output folder, for this run alone, without what a killed one left half done. */
static enum status prepare_folder(struct train_run *run, struct error *err) {
    const char *folder = run->config->output_dir;
    enum status status = folder_make(folder, err);
    if (status == STATUS_OK) status = folder_lock(folder, &run->lock, err);
    if (status == STATUS_OK) status = checkpoint_clean(folder, run->lock >= 0, err);
    return status;
}

/* A name that no process of this run has asked for yet, of a file that checkpoint_clean removes. */
static enum status name_mark(const struct train_run *run, char mark[64], struct error *err) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(mark, 64, "shared-%lld-%ld.tmp-%ld", (long long)now.tv_sec, now.tv_nsec, (long)getpid());
    char **marks = communicator_share(run->config->processes, mark, err);
    if (!marks) return STATUS_FAILED;
    snprintf(mark, 64, "%s", marks[0]);
    for (int r = 0; r < communicator_size(run->config->processes); r++) free(marks[r]);
    free(marks);
    return STATUS_OK;
}

/* Whether all processes see what process 0 writes in the output folder: before a step is computed, not when
 * the first checkpoint misses shards. */
static enum status check_shared(const struct train_run *run, struct error *err) {
    if (communicator_size(run->config->processes) == 1) return STATUS_OK;
    char name[64];
    enum status status = name_mark(run, name, err);
    if (status != STATUS_OK) return status;
    char *path = file_join(run->config->output_dir, name, err);
    status = path ? STATUS_OK : STATUS_FAILED;
    if (path && run_leads(run)) status = file_write(path, name, strlen(name), err);
    status = run_agree(run, status, err);
    if (status == STATUS_OK && path && access(path, F_OK) != 0)
        status = error_usage(err,
                             "output_dir must be the same folder for all processes: what process 0 writes in "
                             "%s is not there",
                             run->config->output_dir);
    status = run_agree(run, status, err);
    if (path && run_leads(run)) unlink(path);
    free(path);
    return status;
}

/* All must go on from the same checkpoint, or begin afresh. */
static enum status compare_resumed(const struct train_run *run, const char *folder, struct error *err) {
    const struct train_config *config = run->config;
    if (communicator_size(config->processes) == 1) return STATUS_OK;
    json_t *found = json_pack("{s:s?}", "checkpoint to go on from", folder);
    enum status status =
        run_agree(run, found ? STATUS_OK : error_set(err, "out of memory for a folder's name"), err);
    if (status == STATUS_OK)
        status = communicator_compare(config->processes, "the output folders of the processes", found, err);
    json_decref(found);
    const bool looked = folder && config->resume != TRAIN_RESUME_FOLDER;
    return status == STATUS_OK && looked ? check_shared(run, err) : status;
}

/* What the leading process writes beside checkpoints; `resumed` is the checkpoint to go on from, or NULL. */
static enum status open_log(struct train_run *run, const char *resumed, struct error *err) {
    const struct train_config *config = run->config;
    const struct train_log_settings settings = {
        .output_dir = config->output_dir,
        .max_steps = run->total_steps,
        .logging_steps = run->logging_steps,
        .save_steps = run->save_steps,
        .eval_steps = run->eval_steps,
        .train_batch_size = config->per_device_train_batch_size,
        .num_train_epochs = config->num_train_epochs,
        .tensorboard = config->tensorboard,
        .plot_loss = config->plot_loss,
    };
    run->log = train_log_open(&settings, resumed, err);
    if (!run->log) return STATUS_FAILED;
    return skipped_write(&run->skipped, config->output_dir, err);
}

/* And on what the model is: each may have its own copy of the folder. */
static enum status compare_models(const struct train_run *run, struct error *err) {
    char *path = file_join(run->folder, "config.json", err);
    json_t *model = path ? json_read_file(path, CONFIG_LIMIT, err) : NULL;
    enum status status = run_agree(run, model ? STATUS_OK : STATUS_FAILED, err);
    if (status == STATUS_OK)
        status = communicator_compare(run->config->processes, "config.json of the processes", model, err);
    json_decref(model);
    free(path);
    return status;
}

enum status run_compare_settings(const struct train_config *config, struct error *err) {
    if (communicator_size(config->processes) == 1) return STATUS_OK;
    json_t *settings = train_config_json(config);
    enum status status = settings ? STATUS_OK : error_set(err, "out of memory for the settings");
    status = communicator_agree(config->processes, status, err);
    if (status == STATUS_OK)
        status = communicator_compare(config->processes, "the settings of the processes", settings, err);
    json_decref(settings);
    return status;
}

enum status run_compare(struct train_run *run, struct error *err) {
    run->fingerprint = fingerprint(run);
    enum status status = run->fingerprint ? STATUS_OK : error_set(err, "out of memory for the settings");
    status = run_agree(run, status, err);
    if (status == STATUS_OK)
        status =
            communicator_compare(run->config->processes, "the data of the processes", run->fingerprint, err);
    return status == STATUS_OK ? compare_models(run, err) : status;
}

enum status run_open_outputs(struct train_run *run, struct error *err) {
    char *folder = NULL;
    enum status status = run_agree(run, run_leads(run) ? prepare_folder(run, err) : STATUS_OK, err);
    if (status == STATUS_OK) status = run_agree(run, describe_checkpoints(run, err), err);
    if (status == STATUS_OK && run->checkpoints.processes) status = check_shared(run, err);
    if (status == STATUS_OK) status = run_agree(run, choose_resume(run, &folder, err), err);
    if (status == STATUS_OK) status = compare_resumed(run, folder, err);
    if (status == STATUS_OK && folder) status = load_checkpoint(run, folder, err);
    if (status == STATUS_OK && run_leads(run)) status = open_log(run, folder, err);
    if (status == STATUS_OK && (run_leads(run) || run->checkpoints.processes)) {
        run->writer = checkpoint_writer_new(&run->checkpoints, err);
        if (!run->writer) status = STATUS_FAILED;
    }
    free(folder);
    return status;
}

void run_schedule(struct train_run *run, int64_t batches, int64_t epoch_steps) {
    const struct train_config *config = run->config;
    run->batches = batches;
    run->total_steps = train_total_steps(config, epoch_steps);
    const struct {
        int strategy;
        double steps;
        int64_t *to;
    } intervals[] = {
        {config->logging_strategy, config->logging_steps, &run->logging_steps},
        {config->save_strategy, config->save_steps, &run->save_steps},
        {config->eval_strategy, config->eval_steps, &run->eval_steps},
    };
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++)
        if (intervals[i].strategy != TRAIN_NEVER)
            *intervals[i].to = intervals[i].strategy == TRAIN_EVERY_EPOCH
                                   ? epoch_steps
                                   : train_interval(intervals[i].steps, run->total_steps);
    run->schedule = (struct schedule){
        .kind = schedule_find(config->lr_scheduler_type),
        .learning_rate = config->learning_rate,
        .min_learning_rate = config->min_lr,
        .steps = run->total_steps,
        .warmup_steps = schedule_warmup(run->total_steps, config->warmup_steps, config->warmup_ratio),
    };
}

void run_show_reading(void *progress, int64_t done, int64_t total) {
    progress_show(progress, "reading rows", done, total, NULL, 0, done == total);
}

enum status run_skip(struct train_run *run, struct row_place place, const char *reason, struct error *err) {
    return skipped_add(&run->news, place, reason, err);
}

enum status run_open_data(struct train_run *run, const struct train_config *config,
                          const struct run_stage *stage, struct error *err) {
    *run = (struct train_run){.config = config, .stage = stage, .lock = -1};
    run->progress = progress_new(run_leads(run) ? stderr : NULL, config->disable_tqdm, err);
    if (!run->progress) return STATUS_FAILED;
    run->folder = hub_find(config->model, err);
    if (!run->folder) return STATUS_FAILED;
    run->tokenizer = tokenizer_load(run->folder, err);
    if (!run->tokenizer) return STATUS_FAILED;
    enum status status = stage->open_data(stage->context, err);
    return status == STATUS_OK ? run_benchmark_open(run, &run->benchmark, err) : status;
}

void run_close(struct train_run *run) {
    run->stage->close(run->stage->context);
    run_benchmark_free(run->benchmark);
    checkpoint_writer_free(run->writer);
    train_log_free(run->log);
    json_decref(run->fingerprint);
    free(run->trained);
    pass_runner_free(run->runner);
    ahead_free(run->ahead);
    vision_cache_free(run->cache);
    if (run->optimizer.model) optimizer_close(&run->optimizer);
    if (run->model.device) model_close(&run->model);
    if (run->device.backend) device_close(&run->device);
    if (run->host.backend) device_close(&run->host);
    skipped_free(&run->skipped);
    skipped_free(&run->news);
    run_metrics_free(&run->metrics);
    tokenizer_free(run->tokenizer);
    free(run->template);
    free(run->folder);
    progress_free(run->progress);
    folder_unlock(run->lock);
}
