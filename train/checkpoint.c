/* Saving: snapshots, and the thread that writes them. */
#include "train/checkpoint.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

enum { COPIED_LIMIT = 256 << 20, CONFIG_LIMIT = 64 << 20, COPIED_FILES = 16, NAME_SIZE = 64 };

/* What this process keeps, as it was when saving began: an array for each part of a trained parameter, or one
 * with only_model. */
struct snapshot {
    const struct checkpoint_run *run;
    float **parts; /* [count * CHECKPOINT_MOST_PARTS]; NULL where nothing is kept */
    size_t count;
};

struct checkpoint_writer {
    struct checkpoint_run run;
    struct safetensors source; /* of process 0, as is what follows */
    json_t *source_config;
    struct copied_file copied[COPIED_FILES];
    /* The checkpoint in the making; the thread's while `busy`. */
    bool pending; /* there is one, of all processes */
    bool busy;
    atomic_bool done; /* the thread is */
    pthread_t thread;
    int64_t step;
    char name[NAME_SIZE], *aside; /* its folder until it is complete */
    bool complete;
    struct snapshot snapshot;
    json_t *state;
    struct checkpoint_file *files; /* copies */
    size_t file_count;
    char *checksums;    /* of what this process wrote */
    enum status status; /* of its part */
    struct error error;
};

static bool is_first(const struct checkpoint_run *run) {
    return communicator_rank(run->processes) == 0;
}

/* How many parts of what it keeps this process writes. */
static int parts_written(const struct checkpoint_run *run) {
    if (!run->only_model) return (int)checkpoint_part_count(run);
    return checkpoint_is_shared(run) ? 0 : 1;
}

static size_t elements_kept(const struct checkpoint_run *run, size_t index) {
    return run->trained[index] ? (size_t)checkpoint_shard(run, index).count : 0;
}

size_t checkpoint_snapshot_bytes(const struct checkpoint_run *run) {
    size_t elements = 0;
    for (size_t i = 0; i < run->count; i++) elements += elements_kept(run, i);
    return elements * (size_t)parts_written(run) * sizeof(float);
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
    if (!is_first(run)) return writer;
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

/* Room for what is kept; without it the checkpoint is written from the reader itself. */
static bool snapshot_allocate(struct snapshot *snapshot, const struct checkpoint_run *run) {
    struct error none;
    if (checkpoint_snapshot_bytes(run) > run->snapshot_limit) return false;
    snapshot->run = run;
    snapshot->count = run->count;
    snapshot->parts =
        memory_new(run->count * CHECKPOINT_MOST_PARTS, sizeof *snapshot->parts, "a snapshot", &none);
    if (!snapshot->parts) return false;
    for (size_t i = 0; i < run->count; i++)
        for (int part = 0; elements_kept(run, i) > 0 && part < parts_written(run); part++) {
            float *room = memory_new(elements_kept(run, i), sizeof *room, "a snapshot", &none);
            if (!room) {
                snapshot_free(snapshot);
                return false;
            }
            snapshot->parts[i * CHECKPOINT_MOST_PARTS + (size_t)part] = room;
        }
    return true;
}

static enum status snapshot_take(struct snapshot *snapshot, struct error *err) {
    const struct checkpoint_run *run = snapshot->run;
    for (size_t place = 0; place < run->count * CHECKPOINT_MOST_PARTS; place++) {
        size_t index = place / CHECKPOINT_MOST_PARTS;
        if (!snapshot->parts[place]) continue;
        struct shard shard = checkpoint_shard(run, index);
        enum status status =
            run->reader.read(run->reader.state, index, (enum checkpoint_part)(place % CHECKPOINT_MOST_PARTS),
                             shard.first, shard.count, snapshot->parts[place], err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static enum status snapshot_read(void *state, size_t index, enum checkpoint_part part, int64_t first,
                                 int64_t count, float *elements, struct error *err) {
    (void)err;
    const struct snapshot *snapshot = state;
    first -= checkpoint_shard(snapshot->run, index).first;
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
        .step = writer->step,
        .state = writer->state,
    };
}

/* Gives the folder its name. */
static enum status publish(struct checkpoint_writer *writer, struct error *err) {
    enum status status = checkpoint_publish(writer->run.output_dir, writer->aside, writer->name, err);
    writer->complete = status == STATUS_OK;
    return status;
}

/* Makes a checkpoint out of what all have written. */
static enum status complete(struct checkpoint_writer *writer, char *const *checksums, struct error *err) {
    const struct checkpoint_run *run = &writer->run;
    struct checkpoint_content content = content_of(writer, run->reader);
    enum status status = STATUS_OK;
    if (!run->only_model) status = checkpoint_write_state(&content, writer->aside, checksums, err);
    if (status == STATUS_OK) status = publish(writer, err);
    if (status == STATUS_OK) status = checkpoint_limit(run->output_dir, run->total_limit, writer->step, err);
    return status;
}

/* What is left to be written, which the reader needs no other process for: of one process everything, else
 * this one's shards. */
static void write_own(struct checkpoint_writer *writer, struct checkpoint_reader reader) {
    struct checkpoint_content content = content_of(writer, reader);
    bool alone = !checkpoint_is_shared(&writer->run);
    struct error *err = &writer->error;
    enum status status = alone ? checkpoint_write_folder(&content, writer->aside, err) : STATUS_OK;
    if (status == STATUS_OK && !writer->run.only_model)
        status = checkpoint_write_shards(&content, writer->aside, &writer->checksums, err);
    if (status == STATUS_OK && alone) status = complete(writer, &writer->checksums, err);
    writer->status = status;
}

static void *write_in_thread(void *argument) {
    struct checkpoint_writer *writer = argument;
    write_own(writer, (struct checkpoint_reader){.read = snapshot_read, .state = &writer->snapshot});
    atomic_store(&writer->done, true);
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

static void join(struct checkpoint_writer *writer) {
    if (writer->busy) pthread_join(writer->thread, NULL);
    writer->busy = false;
}

/* Frees what the checkpoint was made from; of one that did not come to its end nothing stays. */
static void forget(struct checkpoint_writer *writer) {
    struct error ignored; /* another failure is the one to tell */
    join(writer);
    if (writer->aside && !writer->complete && is_first(&writer->run)) folder_remove(writer->aside, &ignored);
    writer->pending = writer->complete = false;
    snapshot_free(&writer->snapshot);
    json_decref(writer->state);
    writer->state = NULL;
    forget_files(writer);
    free(writer->aside);
    free(writer->checksums);
    writer->aside = writer->checksums = NULL;
}

/* ---- The end of a checkpoint ------------------------------------------------------------------------- */

/* All have written their shards: process 0 does the rest. */
static enum status complete_together(struct checkpoint_writer *writer, struct error *err) {
    struct communicator *processes = writer->run.processes;
    char **checksums = communicator_share(processes, writer->checksums ? writer->checksums : "[]", err);
    enum status status = checksums ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK && is_first(&writer->run)) status = complete(writer, checksums, err);
    for (int r = 0; checksums && r < communicator_size(processes); r++) free(checksums[r]);
    free(checksums);
    return communicator_agree(processes, status, err);
}

enum status checkpoint_wait(struct checkpoint_writer *writer, struct error *err) {
    if (!writer->pending) return STATUS_OK;
    join(writer);
    enum status status = writer->status;
    if (status != STATUS_OK) *err = writer->error;
    status = communicator_agree(writer->run.processes, status, err);
    if (status == STATUS_OK && checkpoint_is_shared(&writer->run)) status = complete_together(writer, err);
    forget(writer);
    return status;
}

enum status checkpoint_poll(struct checkpoint_writer *writer, struct error *err) {
    if (!writer->pending) return STATUS_OK;
    struct communicator *processes = writer->run.processes;
    double done = !writer->busy || atomic_load(&writer->done);
    enum status status = communicator_sum_values(processes, &done, 1, err);
    if (status != STATUS_OK || done < communicator_size(processes)) return status;
    return checkpoint_wait(writer, err);
}

/* ---- Saving ------------------------------------------------------------------------------------------ */

/* The thread takes no signals: they are for the one that trains. */
static bool start_thread(struct checkpoint_writer *writer) {
    sigset_t all, before;
    sigfillset(&all);
    atomic_store(&writer->done, false);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    writer->busy = pthread_create(&writer->thread, NULL, write_in_thread, writer) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return writer->busy;
}

/* The folder in which all write; it is called after process 0. */
static enum status name_aside(struct checkpoint_writer *writer, struct error *err) {
    char aside[NAME_SIZE + 32];
    double process = is_first(&writer->run) ? (double)getpid() : 0;
    enum status status = communicator_sum_values(writer->run.processes, &process, 1, err);
    if (status != STATUS_OK) return status;
    snprintf(aside, sizeof aside, "%s.tmp-%.0f", writer->name, process);
    writer->aside = file_join(writer->run.output_dir, aside, err);
    return writer->aside ? STATUS_OK : STATUS_FAILED;
}

/* What process 0 does before the others; `state` NULL: there will be no vs2_state/. */
static enum status prepare(struct checkpoint_writer *writer, const json_t *state,
                           const struct checkpoint_file *files, size_t count, struct error *err) {
    enum status status = copy_files(writer, files, count, err);
    if (status == STATUS_OK) status = folder_make(writer->aside, err);
    if (status != STATUS_OK || !state) return status;
    writer->state = json_deep_copy(state);
    if (!writer->state) return error_set(err, "out of memory for a checkpoint");
    return checkpoint_make_state(&writer->run, writer->aside, err);
}

/* Begins a folder of that name, when the one before is complete. */
static enum status begin(struct checkpoint_writer *writer, const char *name, const json_t *state,
                         const struct checkpoint_file *files, size_t count, struct error *err) {
    enum status status = checkpoint_wait(writer, err);
    if (status != STATUS_OK) return status;
    snprintf(writer->name, sizeof writer->name, "%s", name);
    status = name_aside(writer, err);
    if (status == STATUS_OK && is_first(&writer->run)) status = prepare(writer, state, files, count, err);
    status = communicator_agree(writer->run.processes, status, err);
    if (status != STATUS_OK) forget(writer);
    return status;
}

/* Process 0 writes the model; those that share it give it their weights. */
static enum status write_model(struct checkpoint_writer *writer, struct error *err) {
    const struct checkpoint_run *run = &writer->run;
    if (!is_first(run)) return run->reader.serve(run->reader.state, err);
    struct checkpoint_content content = content_of(writer, run->reader);
    struct error end;
    enum status status = checkpoint_write_folder(&content, writer->aside, err), ended = STATUS_OK;
    if (checkpoint_is_shared(run)) ended = run->reader.served(run->reader.state, &end);
    if (status == STATUS_OK && ended != STATUS_OK) *err = end;
    return status != STATUS_OK ? status : ended;
}

/* Writes what this process keeps: in the thread, if there is room for a snapshot. */
static void save_own(struct checkpoint_writer *writer) {
    struct checkpoint_reader reader = writer->run.reader;
    if (snapshot_allocate(&writer->snapshot, &writer->run)) {
        writer->status = snapshot_take(&writer->snapshot, &writer->error);
        if (writer->status != STATUS_OK || start_thread(writer)) return;
        reader = (struct checkpoint_reader){.read = snapshot_read, .state = &writer->snapshot};
    }
    write_own(writer, reader);
}

enum status checkpoint_save(struct checkpoint_writer *writer, int64_t step, const json_t *state,
                            const struct checkpoint_file *files, size_t count, struct error *err) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    enum status status = begin(writer, name, writer->run.only_model ? NULL : state, files, count, err);
    if (status != STATUS_OK) return status;
    writer->step = step;
    writer->pending = true;
    writer->status = STATUS_OK;
    if (checkpoint_is_shared(&writer->run)) writer->status = write_model(writer, &writer->error);
    if (writer->status == STATUS_OK) save_own(writer);
    return checkpoint_poll(writer, err);
}

enum status checkpoint_save_final(struct checkpoint_writer *writer, const struct checkpoint_file *files,
                                  size_t count, struct error *err) {
    const struct checkpoint_run *run = &writer->run;
    enum status status = begin(writer, checkpoint_final_ready, NULL, files, count, err);
    if (status != STATUS_OK) return status;
    status = communicator_agree(run->processes, write_model(writer, err), err);
    if (status == STATUS_OK && is_first(run)) {
        status = publish(writer, err);
        if (status == STATUS_OK) status = checkpoint_move_final(run->output_dir, err);
    }
    status = communicator_agree(run->processes, status, err);
    forget(writer);
    return status;
}

void checkpoint_writer_free(struct checkpoint_writer *writer) {
    if (!writer) return;
    forget(writer);
    safetensors_close(&writer->source);
    json_decref(writer->source_config);
    for (size_t i = 0; i < COPIED_FILES; i++) free(writer->copied[i].data);
    free(writer);
}
