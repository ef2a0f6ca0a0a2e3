/* Going on from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

enum { PIECE_ELEMENTS = 1 << 20 };

struct checkpoint_tensors {
    struct safetensors stored;
    const struct parameter *parameters;
    const struct stored_tensor **tensors; /* [count * CHECKPOINT_MOST_PARTS]; NULL: frozen */
    uint32_t *checksums;                  /* the same */
    size_t count;
    char *folder;
};

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

static enum status find_part(struct checkpoint_tensors *tensors, size_t index, enum checkpoint_part part,
                             struct error *err) {
    const struct parameter *parameter = &tensors->parameters[index];
    char name[STATE_NAME_SIZE];
    checkpoint_part_name(parameter, part, name);
    const struct stored_tensor *stored = safetensors_find(&tensors->stored, name);
    if (!stored)
        return error_set(err, "%s: it holds no %s: it is of another model, or other parts were trained",
                         tensors->folder, name);
    if (stored->rank != 2 || stored->shape[0] != parameter->rows || stored->shape[1] != parameter->cols ||
        stored->type->dtype != DTYPE_F32 || !stored->type->usable)
        return error_set(err, "%s: %s has another shape: it is of another model", tensors->folder, name);
    tensors->tensors[index * CHECKPOINT_MOST_PARTS + (size_t)part] = stored;
    return STATUS_OK;
}

static enum status find_tensors(struct checkpoint_tensors *tensors, const struct checkpoint_run *run,
                                const json_t *sums, struct error *err) {
    size_t found = 0;
    for (size_t i = 0; i < run->count; i++)
        for (size_t part = 0; run->trained[i] && part < checkpoint_part_count(run); part++) {
            enum status status = find_part(tensors, i, (enum checkpoint_part)part, err);
            if (status != STATUS_OK) return status;
            tensors->checksums[i * CHECKPOINT_MOST_PARTS + part] =
                (uint32_t)json_integer_value(json_array_get(sums, found++));
        }
    if (found != tensors->stored.count || found != json_array_size(sums))
        return error_set(err, "%s: %zu tensors, not %zu: other parts were trained", tensors->folder,
                         tensors->stored.count, found);
    return STATUS_OK;
}

static void tensors_free(struct checkpoint_tensors *tensors) {
    if (!tensors) return;
    safetensors_close(&tensors->stored);
    free(tensors->tensors);
    free(tensors->checksums);
    free(tensors->folder);
    free(tensors);
}

static enum status open_tensors(const char *folder, const struct checkpoint_run *run, const json_t *sums,
                                struct checkpoint_tensors **result, struct error *err) {
    struct checkpoint_tensors *tensors = memory_new(1, sizeof *tensors, "a checkpoint", err);
    *result = tensors;
    if (!tensors) return STATUS_FAILED;
    tensors->parameters = run->parameters;
    tensors->count = run->count;
    size_t parts = run->count * CHECKPOINT_MOST_PARTS;
    tensors->tensors = memory_new(parts, sizeof(*tensors->tensors), "a checkpoint", err);
    tensors->checksums = memory_new(parts, sizeof *tensors->checksums, "a checkpoint", err);
    tensors->folder = memory_text(folder, strlen(folder), "a checkpoint", err);
    char *inner = file_join(folder, checkpoint_state_folder, err);
    enum status status =
        tensors->tensors && tensors->checksums && tensors->folder && inner ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) status = safetensors_open(inner, &tensors->stored, err);
    if (status == STATUS_OK) status = find_tensors(tensors, run, sums, err);
    free(inner);
    return status;
}

enum status checkpoint_resume_open(const char *folder, const struct checkpoint_run *run,
                                   struct checkpoint_resume *resume, struct error *err) {
    json_t *json = NULL;
    *resume = (struct checkpoint_resume){0};
    enum status status = checkpoint_complete(folder, &json, err);
    if (status == STATUS_OK)
        status = open_tensors(folder, run, json_object_get(json, "checksums"), &resume->tensors, err);
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

/* One tensor, by pieces, through aligned memory. */
static enum status give_part(const struct checkpoint_tensors *tensors, size_t index,
                             enum checkpoint_part part, struct checkpoint_sink sink, float *piece,
                             struct error *err) {
    size_t place = index * CHECKPOINT_MOST_PARTS + (size_t)part;
    const struct stored_tensor *stored = tensors->tensors[place];
    int64_t elements = (int64_t)(stored->bytes / sizeof(float));
    uint32_t checksum = 0;
    for (int64_t first = 0; first < elements; first += PIECE_ELEMENTS) {
        int64_t count = elements - first < PIECE_ELEMENTS ? elements - first : PIECE_ELEMENTS;
        memcpy(piece, stored->data + (size_t)first * sizeof *piece, (size_t)count * sizeof *piece);
        checksum = crc32c(checksum, piece, (size_t)count * sizeof *piece);
        enum status status = sink.write(sink.state, index, part, first, count, piece, err);
        if (status != STATUS_OK) return status;
    }
    if (checksum != tensors->checksums[place])
        return error_set(err, "%s: %s is damaged: its checksum is not the one it was written with",
                         tensors->folder, stored->name);
    return STATUS_OK;
}

enum status checkpoint_resume_read(const struct checkpoint_resume *resume, struct checkpoint_sink sink,
                                   struct error *err) {
    const struct checkpoint_tensors *tensors = resume->tensors;
    float *piece = memory_new(PIECE_ELEMENTS, sizeof *piece, "a checkpoint", err);
    enum status status = piece ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < tensors->count * CHECKPOINT_MOST_PARTS; i++)
        if (tensors->tensors[i])
            status = give_part(tensors, i / CHECKPOINT_MOST_PARTS,
                               (enum checkpoint_part)(i % CHECKPOINT_MOST_PARTS), sink, piece, err);
    free(piece);
    return status;
}

void checkpoint_resume_close(struct checkpoint_resume *resume) {
    json_decref(resume->state);
    tensors_free(resume->tensors);
    *resume = (struct checkpoint_resume){0};
}
