/* Saving: snapshots, and the thread that writes them. */
#include "train/checkpoint.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

enum { COPIED_LIMIT = 256 << 20, CONFIG_LIMIT = 64 << 20, COPIED_FILES = 16, NAME_SIZE = 64 };

/* The state as it was when saving began: an array for each part of a trained parameter, or one with
 * only_model. */
struct snapshot {
    float **parts; /* [count * CHECKPOINT_MOST_PARTS]; NULL where nothing is kept */
    size_t count;
};

struct checkpoint_writer {
    struct checkpoint_run run;
    struct safetensors source;
    json_t *source_config;
    struct copied_file copied[COPIED_FILES];
    /* The checkpoint in the making; the thread's while `busy`. */
    bool busy;
    pthread_t thread;
    int64_t step;
    struct snapshot snapshot;
    json_t *state;
    struct checkpoint_file *files; /* copies */
    size_t file_count;
    enum status status; /* of the last one, untold */
    struct error error;
};

static int parts_kept(const struct checkpoint_run *run) {
    return run->only_model ? 1 : (int)checkpoint_part_count(run);
}

static size_t elements_of(const struct parameter *parameter) {
    return (size_t)parameter->rows * (size_t)parameter->cols;
}

size_t checkpoint_snapshot_bytes(const struct checkpoint_run *run) {
    size_t elements = 0;
    for (size_t i = 0; i < run->count; i++)
        if (run->trained[i]) elements += elements_of(&run->parameters[i]);
    return elements * (size_t)parts_kept(run) * sizeof(float);
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static enum status read_copied(struct checkpoint_writer *writer, struct error *err) {
    for (size_t i = 0; checkpoint_copied[i]; i++) {
        struct copied_file *file = &writer->copied[i];
        file->name = checkpoint_copied[i];
        char *path = file_join(writer->run.source, file->name, err);
        enum status status = path ? STATUS_OK : STATUS_FAILED;
        if (path && access(path, F_OK) == 0)
            status = file_read(path, COPIED_LIMIT, &file->data, &file->length, err);
        free(path);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

struct checkpoint_writer *checkpoint_writer_new(const struct checkpoint_run *run, struct error *err) {
    struct checkpoint_writer *writer = memory_new(1, sizeof *writer, "checkpoints", err);
    if (!writer) return NULL;
    writer->run = *run;
    char *path = file_join(run->source, "config.json", err);
    if (path) writer->source_config = json_read_file(path, CONFIG_LIMIT, err);
    free(path);
    if (!writer->source_config || safetensors_open(run->source, &writer->source, err) != STATUS_OK ||
        read_copied(writer, err) != STATUS_OK || folder_make(run->output_dir, err) != STATUS_OK) {
        checkpoint_writer_free(writer);
        return NULL;
    }
    return writer;
}

/* ---- Snapshots --------------------------------------------------------------------------------------- */

static void snapshot_free(struct snapshot *snapshot) {
    for (size_t i = 0; snapshot->parts && i < snapshot->count * CHECKPOINT_MOST_PARTS; i++)
        free(snapshot->parts[i]);
    free(snapshot->parts);
    *snapshot = (struct snapshot){0};
}

/* Room for the state; without it the checkpoint is written from the reader itself. */
static bool snapshot_allocate(struct snapshot *snapshot, const struct checkpoint_run *run) {
    struct error none;
    if (checkpoint_snapshot_bytes(run) > run->snapshot_limit) return false;
    snapshot->count = run->count;
    snapshot->parts =
        memory_new(run->count * CHECKPOINT_MOST_PARTS, sizeof *snapshot->parts, "a snapshot", &none);
    if (!snapshot->parts) return false;
    for (size_t i = 0; i < run->count; i++)
        for (int part = 0; run->trained[i] && part < parts_kept(run); part++) {
            float *room = memory_new(elements_of(&run->parameters[i]), sizeof *room, "a snapshot", &none);
            if (!room) {
                snapshot_free(snapshot);
                return false;
            }
            snapshot->parts[i * CHECKPOINT_MOST_PARTS + (size_t)part] = room;
        }
    return true;
}

static enum status snapshot_take(struct snapshot *snapshot, const struct checkpoint_run *run,
                                 struct error *err) {
    for (size_t i = 0; i < run->count; i++)
        for (int part = 0; run->trained[i] && part < parts_kept(run); part++) {
            enum status status =
                run->reader.read(run->reader.state, i, (enum checkpoint_part)part, 0,
                                 (int64_t)elements_of(&run->parameters[i]),
                                 snapshot->parts[i * CHECKPOINT_MOST_PARTS + (size_t)part], err);
            if (status != STATUS_OK) return status;
        }
    return STATUS_OK;
}

static enum status snapshot_read(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                 int64_t count, float *elements, struct error *err) {
    (void)err;
    const struct snapshot *snapshot = state;
    memcpy(elements, snapshot->parts[index * CHECKPOINT_MOST_PARTS + (size_t)part] + first,
           (size_t)count * sizeof *elements);
    return STATUS_OK;
}

/* ---- Writing ----------------------------------------------------------------------------------------- */

static struct checkpoint_content content_of(struct checkpoint_writer *writer,
                                            struct checkpoint_reader reader) {
    return (struct checkpoint_content){
        .run = &writer->run,
        .source = &writer->source,
        .source_config = writer->source_config,
        .copied = writer->copied,
        .reader = reader,
        .files = writer->files,
        .file_count = writer->file_count,
    };
}

/* Writes a folder aside and gives it its name; a failure leaves nothing of it. */
static enum status write_aside(const struct checkpoint_content *content, const char *name,
                               struct error *err) {
    const char *output_dir = content->run->output_dir;
    char aside_name[NAME_SIZE];
    snprintf(aside_name, sizeof aside_name, "%s.tmp-%ld", name, (long)getpid());
    char *aside = file_join(output_dir, aside_name, err);
    enum status status = aside ? folder_make(aside, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = checkpoint_write_folder(content, aside, err);
    if (status == STATUS_OK) status = checkpoint_publish(output_dir, aside, name, err);
    if (status != STATUS_OK && aside) {
        struct error ignored; /* the first failure is the one to tell */
        folder_remove(aside, &ignored);
    }
    free(aside);
    return status;
}

static void write_checkpoint(struct checkpoint_writer *writer, struct checkpoint_reader reader) {
    struct checkpoint_content content = content_of(writer, reader);
    char name[NAME_SIZE];
    content.with_state = !writer->run.only_model;
    content.step = writer->step;
    content.state = writer->state;
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)writer->step);
    writer->status = write_aside(&content, name, &writer->error);
    if (writer->status == STATUS_OK)
        writer->status =
            checkpoint_limit(writer->run.output_dir, writer->run.total_limit, writer->step, &writer->error);
}

static void *write_in_thread(void *argument) {
    struct checkpoint_writer *writer = argument;
    write_checkpoint(writer, (struct checkpoint_reader){snapshot_read, &writer->snapshot});
    return NULL;
}

static void forget_files(struct checkpoint_writer *writer) {
    for (size_t i = 0; i < writer->file_count; i++) {
        free((char *)writer->files[i].name);
        free((char *)writer->files[i].data);
    }
    free(writer->files);
    writer->files = NULL;
    writer->file_count = 0;
}

static enum status copy_files(struct checkpoint_writer *writer, const struct checkpoint_file *files,
                              size_t count, struct error *err) {
    writer->files = memory_new(count, sizeof *writer->files, "a checkpoint", err);
    if (!writer->files) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) {
        struct checkpoint_file *copy = &writer->files[writer->file_count++];
        copy->name = memory_text(files[i].name, strlen(files[i].name), "a checkpoint", err);
        copy->data = memory_text(files[i].data, files[i].length, "a checkpoint", err);
        copy->length = files[i].length;
        if (!copy->name || !copy->data) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* Ends the thread and frees what the checkpoint was made from. */
static void join(struct checkpoint_writer *writer) {
    if (writer->busy) pthread_join(writer->thread, NULL);
    writer->busy = false;
    snapshot_free(&writer->snapshot);
    json_decref(writer->state);
    writer->state = NULL;
    forget_files(writer);
}

enum status checkpoint_wait(struct checkpoint_writer *writer, struct error *err) {
    join(writer);
    enum status status = writer->status;
    writer->status = STATUS_OK;
    if (status != STATUS_OK) *err = writer->error;
    return status;
}

/* The thread takes no signals: they are for the one that trains. */
static bool start_thread(struct checkpoint_writer *writer) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    writer->busy = pthread_create(&writer->thread, NULL, write_in_thread, writer) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return writer->busy;
}

enum status checkpoint_save(struct checkpoint_writer *writer, int64_t step, const json_t *state,
                            const struct checkpoint_file *files, size_t count, struct error *err) {
    enum status status = checkpoint_wait(writer, err);
    if (status == STATUS_OK) status = copy_files(writer, files, count, err);
    if (status != STATUS_OK) return status;
    writer->step = step;
    writer->state = json_deep_copy(state);
    if (!writer->state) return error_set(err, "out of memory for a checkpoint");
    if (snapshot_allocate(&writer->snapshot, &writer->run)) {
        status = snapshot_take(&writer->snapshot, &writer->run, err);
        if (status != STATUS_OK) return status;
        if (start_thread(writer)) return STATUS_OK;
    }
    write_checkpoint(writer, writer->run.reader);
    return checkpoint_wait(writer, err);
}

enum status checkpoint_save_final(struct checkpoint_writer *writer, const struct checkpoint_file *files,
                                  size_t count, struct error *err) {
    enum status status = checkpoint_wait(writer, err);
    if (status == STATUS_OK) status = copy_files(writer, files, count, err);
    if (status == STATUS_OK) {
        struct checkpoint_content content = content_of(writer, writer->run.reader);
        status = write_aside(&content, checkpoint_final_ready, err);
    }
    if (status == STATUS_OK) status = checkpoint_move_final(writer->run.output_dir, err);
    forget_files(writer);
    return status;
}

void checkpoint_writer_free(struct checkpoint_writer *writer) {
    if (!writer) return;
    join(writer);
    safetensors_close(&writer->source);
    json_decref(writer->source_config);
    for (size_t i = 0; i < COPIED_FILES; i++) free(writer->copied[i].data);
    free(writer);
}
