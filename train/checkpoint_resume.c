/* Going on from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

enum { PIECE_ELEMENTS = 1 << 20 };

/* A difference between the run's settings and the checkpoint's. */
static enum status check_configuration(const char *folder, const json_t *saved, const json_t *wanted,
                                       struct error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)wanted, key, value) {
        const json_t *other = json_object_get(saved, key);
        if (other && json_equal(other, value)) continue;
        char *ours = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        char *theirs = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        error_usage(err,
                    "%s: it was trained with %s %s, not %s; a run is resumed with the settings it began with",
                    folder, key, theirs ? theirs : "unset", ours ? ours : "?");
        free(ours);
        free(theirs);
        return STATUS_USAGE;
    }
    return STATUS_OK;
}

/* Adds the shard that a process has of a part, which starts at *next; it may have none. */
static enum status add_piece(struct checkpoint_tensors *tensors, const struct checkpoint_run *run,
                             const struct safetensors *stored, struct checkpoint_piece piece, int64_t *next,
                             struct error *err) {
    const struct parameter *parameter = &run->parameters[piece.index];
    char name[STATE_NAME_SIZE];
    checkpoint_part_name(parameter, piece.part, name);
    const struct stored_tensor *tensor = piece.stored = safetensors_find(stored, name);
    if (!tensor) return STATUS_OK;
    if (tensor->rank != 2 || tensor->type->dtype != DTYPE_F32 || !tensor->type->usable ||
        (tensor->shape[1] != parameter->cols && parameter->rows > 1))
        return error_set(err, "%s: %s has another shape: it is of another model", tensors->folder, name);
    piece.shard = (struct shard){*next, tensor->shape[0] * tensor->shape[1]};
    *next += piece.shard.count;
    if (memory_grow(&tensors->pieces, &tensors->capacity, tensors->count + 1, sizeof piece, "a checkpoint",
                    err) != STATUS_OK)
        return STATUS_FAILED;
    tensors->pieces[tensors->count++] = piece;
    return STATUS_OK;
}

/* The shards of process `process`; checksums are in the same order. */
static enum status add_pieces(struct checkpoint_tensors *tensors, const struct checkpoint_run *run,
                              int process, const json_t *sums, int64_t *next, struct error *err) {
    const struct safetensors *stored = &tensors->stored[process];
    size_t before = tensors->count;
    for (size_t i = 0; i < run->count; i++)
        for (size_t part = 0; run->trained[i] && part < checkpoint_part_count(run); part++) {
            const struct checkpoint_piece piece = {
                .index = i,
                .part = (enum checkpoint_part)part,
                .checksum = (uint32_t)json_integer_value(json_array_get(sums, tensors->count))};
            enum status status =
                add_piece(tensors, run, stored, piece, &next[i * CHECKPOINT_MOST_PARTS + part], err);
            if (status != STATUS_OK) return status;
        }
    if (tensors->count - before != stored->count)
        return error_set(err, "%s: %zu tensors, not %zu: other parts were trained", tensors->folder,
                         stored->count, tensors->count - before);
    return STATUS_OK;
}

/* Whether the shards make up all parts: `next` is how far they went. */
static enum status check_whole(const struct checkpoint_tensors *tensors, const struct checkpoint_run *run,
                               const json_t *sums, const int64_t *next, struct error *err) {
    for (size_t i = 0; i < run->count; i++)
        for (size_t part = 0; run->trained[i] && part < checkpoint_part_count(run); part++) {
            const struct parameter *parameter = &run->parameters[i];
            int64_t found = next[i * CHECKPOINT_MOST_PARTS + part];
            char name[STATE_NAME_SIZE];
            checkpoint_part_name(parameter, (enum checkpoint_part)part, name);
            if (found == 0)
                return error_set(err,
                                 "%s: it holds no %s: it is of another model, or other parts were trained",
                                 tensors->folder, name);
            if (found != parameter->rows * parameter->cols)
                return error_set(err, "%s: %s has another shape: it is of another model", tensors->folder,
                                 name);
        }
    if (json_array_size(sums) != tensors->count)
        return error_set(err, "%s: %zu tensors, but %zu checksums", tensors->folder, tensors->count,
                         json_array_size(sums));
    return STATUS_OK;
}

static enum status find_tensors(struct checkpoint_tensors *tensors, const struct checkpoint_run *run,
                                const json_t *sums, struct error *err) {
    int64_t *next = memory_new(run->count * CHECKPOINT_MOST_PARTS, sizeof *next, "a checkpoint", err);
    enum status status = next ? STATUS_OK : STATUS_FAILED;
    for (int r = 0; status == STATUS_OK && r < tensors->processes; r++)
        status = add_pieces(tensors, run, r, sums, next, err);
    if (status == STATUS_OK) status = check_whole(tensors, run, sums, next, err);
    free(next);
    return status;
}

static void tensors_free(struct checkpoint_tensors *tensors) {
    if (!tensors) return;
    for (int r = 0; tensors->stored && r < tensors->processes; r++) safetensors_close(&tensors->stored[r]);
    free(tensors->stored);
    free(tensors->pieces);
    free(tensors->folder);
    free(tensors);
}

static enum status open_stored(struct checkpoint_tensors *tensors, struct error *err) {
    enum status status = STATUS_OK;
    for (int r = 0; status == STATUS_OK && r < tensors->processes; r++) {
        char *path = checkpoint_state_path(tensors->folder, r, tensors->processes, err);
        status = path ? safetensors_open(path, &tensors->stored[r], err) : STATUS_FAILED;
        free(path);
    }
    return status;
}

static enum status open_tensors(const char *folder, const struct checkpoint_run *run, const json_t *json,
                                struct checkpoint_tensors **result, struct error *err) {
    long long processes;
    if (json_get_integer(json, "processes", 1, CHECKPOINT_PROCESSES, 1, &processes, folder, err) != STATUS_OK)
        return STATUS_FAILED;
    struct checkpoint_tensors *tensors = memory_new(1, sizeof *tensors, "a checkpoint", err);
    *result = tensors;
    if (!tensors) return STATUS_FAILED;
    tensors->stored = memory_new((size_t)processes, sizeof *tensors->stored, "a checkpoint", err);
    tensors->processes = (int)processes;
    tensors->folder = memory_text(folder, strlen(folder), "a checkpoint", err);
    enum status status = tensors->stored && tensors->folder ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) status = open_stored(tensors, err);
    if (status == STATUS_OK) status = find_tensors(tensors, run, json_object_get(json, "checksums"), err);
    return status;
}

enum status checkpoint_resume_open(const char *folder, const struct checkpoint_run *run,
                                   struct checkpoint_resume *resume, struct error *err) {
    json_t *json = NULL;
    *resume = (struct checkpoint_resume){0};
    enum status status = checkpoint_complete(folder, &json, err);
    if (status == STATUS_OK) status = open_tensors(folder, run, json, &resume->tensors, err);
    if (status == STATUS_OK)
        status = check_configuration(folder, json_object_get(json, "configuration"), run->configuration, err);
    if (status == STATUS_OK) {
        resume->step = json_integer_value(json_object_get(json, "step"));
        resume->state = json_incref(json_object_get(json, "state"));
    } else {
        checkpoint_resume_close(resume);
    }
    json_decref(json);
    return status;
}

/* A stored tensor, a few elements at a time, through aligned memory. */
static enum status give_piece(const struct checkpoint_tensors *tensors, const struct checkpoint_piece *piece,
                              struct checkpoint_sink sink, float *elements, struct error *err) {
    uint32_t checksum = 0;
    for (int64_t first = 0; first < piece->shard.count; first += PIECE_ELEMENTS) {
        int64_t left = piece->shard.count - first, count = left < PIECE_ELEMENTS ? left : PIECE_ELEMENTS;
        size_t bytes = (size_t)count * sizeof *elements;
        memcpy(elements, piece->stored->data + (size_t)first * sizeof *elements, bytes);
        checksum = crc32c(checksum, elements, bytes);
        enum status status = sink.write(sink.state, piece->index, piece->part, piece->shard.first + first,
                                        count, elements, err);
        if (status != STATUS_OK) return status;
    }
    if (checksum != piece->checksum)
        return error_set(err, "%s: %s is damaged: its checksum is not the one it was written with",
                         tensors->folder, piece->stored->name);
    return STATUS_OK;
}

enum status checkpoint_resume_read(const struct checkpoint_resume *resume, struct checkpoint_sink sink,
                                   struct error *err) {
    const struct checkpoint_tensors *tensors = resume->tensors;
    float *elements = memory_new(PIECE_ELEMENTS, sizeof *elements, "a checkpoint", err);
    enum status status = elements ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < tensors->count; i++) {
        const struct checkpoint_piece *piece = &tensors->pieces[i];
        struct shard wanted = sink.wanted ? sink.wanted(sink.state, piece->index) : piece->shard;
        if (shard_common(wanted, piece->shard).count > 0)
            status = give_piece(tensors, piece, sink, elements, err);
    }
    free(elements);
    return status;
}

void checkpoint_resume_close(struct checkpoint_resume *resume) {
    json_decref(resume->state);
    tensors_free(resume->tensors);
    *resume = (struct checkpoint_resume){0};
}
