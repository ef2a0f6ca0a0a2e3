/* A checkpoint's f32 weights as a model folder. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

/* What the weights are read from. Each tensor is read from its beginning to its end. */
struct merge {
    const struct checkpoint_tensors *tensors;
    uint32_t checksum; /* of the piece that is being read, as far as it was */
};

/* The elements of [first, first + count) that lie in a piece. */
static enum status read_piece(struct merge *merge, const struct checkpoint_piece *piece, struct shard wanted,
                              float *elements, struct error *err) {
    struct shard common = shard_common(piece->shard, wanted);
    if (common.count == 0) return STATUS_OK;
    int64_t at = common.first - piece->shard.first;
    size_t bytes = (size_t)common.count * sizeof *elements;
    float *to = elements + (common.first - wanted.first);
    memcpy(to, piece->stored->data + (size_t)at * sizeof *elements, bytes);
    merge->checksum = crc32c(at == 0 ? 0 : merge->checksum, to, bytes);
    if (at + common.count < piece->shard.count || merge->checksum == piece->checksum) return STATUS_OK;
    return error_set(err, "%s: %s is damaged: its checksum is not the one it was written with",
                     merge->tensors->folder, piece->stored->name);
}

static enum status read_weight(void *state, size_t index, enum checkpoint_part part, int64_t first,
                               int64_t count, float *elements, struct error *err) {
    struct merge *merge = state;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < merge->tensors->count; i++) {
        const struct checkpoint_piece *piece = &merge->tensors->pieces[i];
        if (piece->index == index && piece->part == part)
            status = read_piece(merge, piece, (struct shard){first, count}, elements, err);
    }
    return status;
}

/* ---- What was trained -------------------------------------------------------------------------------- */

static bool has_part(const struct safetensors *stored, const struct parameter *parameter,
                     enum checkpoint_part part) {
    char name[STATE_NAME_SIZE];
    checkpoint_part_name(parameter, part, name);
    return safetensors_find(stored, name) != NULL;
}

/* Fills in run->trained and has_reference. */
static enum status find_trained(const char *folder, struct checkpoint_run *run, bool *trained,
                                struct error *err) {
    json_t *state = NULL;
    long long processes = 1;
    enum status status = checkpoint_complete(folder, &state, err);
    if (status == STATUS_OK)
        status = json_get_integer(state, "processes", 1, CHECKPOINT_PROCESSES, 1, &processes, folder, err);
    json_decref(state);
    for (int r = 0; status == STATUS_OK && r < processes; r++) {
        struct safetensors stored = {0};
        char *path = checkpoint_state_path(folder, r, (int)processes, err);
        status = path ? safetensors_open(path, &stored, err) : STATUS_FAILED;
        for (size_t i = 0; status == STATUS_OK && i < run->count; i++) {
            trained[i] |= has_part(&stored, &run->parameters[i], CHECKPOINT_WEIGHT);
            run->has_reference |= has_part(&stored, &run->parameters[i], CHECKPOINT_REFERENCE);
        }
        safetensors_close(&stored);
        free(path);
    }
    run->trained = trained;
    return status;
}

/* ------------------------------------------------------------------------------------------------------ */

/* Its own model files would no longer be those that it was written with. */
static enum status refuse_checkpoint(const char *output_dir, struct error *err) {
    char *inner = file_join(output_dir, checkpoint_state_folder, err);
    if (!inner) return STATUS_FAILED;
    bool found = access(inner, F_OK) == 0;
    free(inner);
    return found ? error_usage(err, "%s: a checkpoint that can be resumed; merge into another folder",
                               output_dir)
                 : STATUS_OK;
}

static enum status write_merged(struct checkpoint_run *run, struct error *err) {
    struct checkpoint_resume resume;
    enum status status = checkpoint_resume_open(run->source, run, &resume, err);
    if (status != STATUS_OK) return status;
    struct merge merge = {.tensors = resume.tensors};
    run->reader = (struct checkpoint_reader){.read = read_weight, .state = &merge};
    struct checkpoint_writer *writer = checkpoint_writer_new(run, err);
    status = writer ? checkpoint_save_final(writer, NULL, 0, err) : STATUS_FAILED;
    checkpoint_writer_free(writer);
    checkpoint_resume_close(&resume);
    return status;
}

enum status checkpoint_merge(const char *folder, const char *output_dir, size_t *trained, struct error *err) {
    struct model_config config;
    enum status status = refuse_checkpoint(output_dir, err);
    if (status == STATUS_OK) status = model_config_read(folder, &config, err);
    if (status != STATUS_OK) return status;
    struct checkpoint_run run = {
        .output_dir = output_dir, .source = folder, .config = &config, .dtype = DTYPE_F32};
    struct parameter *parameters = parameters_list(&config, &run.count, err);
    bool *is_trained = parameters ? memory_new(run.count, sizeof *is_trained, "a checkpoint", err) : NULL;
    json_t *nothing = json_object(); /* is to be equal: no run goes on */
    run.parameters = parameters;
    run.configuration = nothing;
    if (!is_trained || !nothing)
        status = is_trained ? error_set(err, "out of memory for a checkpoint") : STATUS_FAILED;
    if (status == STATUS_OK) status = find_trained(folder, &run, is_trained, err);
    if (status == STATUS_OK) status = write_merged(&run, err);
    *trained = 0;
    for (size_t i = 0; is_trained && i < run.count; i++) *trained += is_trained[i];
    json_decref(nothing);
    free(is_trained);
    free(parameters);
    return status;
}
