/* The model in a checkpoint folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "model/checkpoint_write.h"
#include "tensor/float16.h"
#include "train/checkpoint_parts.h"

const char *const checkpoint_copied[] = {"generation_config.json",
                                         "preprocessor_config.json",
                                         "video_preprocessor_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "query_template.txt",
                                         NULL};

/* ---- The model --------------------------------------------------------------------------------------- */

/* What the callback of checkpoint_write_tensors works with. */
struct model_source {
    const struct checkpoint_content *content;
    float *piece; /* f32 elements before they are rounded */
    size_t capacity;
};

static float *piece_of(struct model_source *source, int64_t count, struct error *err) {
    if (memory_grow(&source->piece, &source->capacity, (size_t)count, sizeof *source->piece, "a checkpoint",
                    err) != STATUS_OK)
        return NULL;
    return source->piece;
}

static void round_elements(const float *from, int64_t count, uint16_t *to) {
    for (int64_t i = 0; i < count; i++) to[i] = float_to_bf16(from[i]);
}

/* Elements of a stored tensor, from the source's file, as f32. */
static void stored_elements(const struct stored_tensor *stored, int64_t first, int64_t count, float *to) {
    const unsigned char *from = stored->data + (size_t)first * stored->type->size;
    if (stored->type->dtype == DTYPE_F32) {
        memcpy(to, from, (size_t)count * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, from + 2 * i, sizeof half);
        to[i] = stored->type->dtype == DTYPE_BF16 ? float_from_bf16(half) : float_from_f16(half);
    }
}

/* The stored tensor of a parameter, by either of its names. */
static const struct stored_tensor *find_stored(const struct safetensors *source,
                                               const struct parameter *parameter) {
    char old[PARAMETER_NAME_SIZE];
    const struct stored_tensor *stored = safetensors_find(source, parameter->name);
    if (stored) return stored;
    parameter_old_name(parameter->name, old);
    return safetensors_find(source, old);
}

static enum status read_model(void *state, size_t index, int64_t first, int64_t count, void *elements,
                              struct error *err) {
    struct model_source *source = state;
    const struct checkpoint_content *content = source->content;
    const struct checkpoint_run *run = content->run;
    float *values = run->dtype == DTYPE_F32 ? elements : piece_of(source, count, err);
    if (!values) return STATUS_FAILED;
    if (run->trained[index]) {
        enum status status =
            content->reader.read(content->reader.state, index, CHECKPOINT_WEIGHT, first, count, values, err);
        if (status != STATUS_OK) return status;
    } else {
        const struct stored_tensor *stored = find_stored(content->source, &run->parameters[index]);
        if (!stored) return error_set(err, "%s: no tensor %s", run->source, run->parameters[index].name);
        stored_elements(stored, first, count, values);
    }
    if (run->dtype == DTYPE_BF16) round_elements(values, count, elements);
    return STATUS_OK;
}

static enum status write_model(const struct checkpoint_content *content, const char *folder,
                               struct error *err) {
    const struct checkpoint_run *run = content->run;
    struct model_source source = {.content = content};
    struct checkpoint_entry *entries = memory_new(run->count, sizeof *entries, "a checkpoint", err);
    char(*names)[PARAMETER_NAME_SIZE] = memory_new(run->count, sizeof *names, "a checkpoint", err);
    enum status status = entries && names ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) {
        for (size_t i = 0; i < run->count; i++)
            entries[i] = checkpoint_entry_of(&run->parameters[i], run->dtype, names[i]);
        const struct checkpoint_source from = {read_model, &source};
        status = checkpoint_write_tensors(folder, entries, run->count, from, run->shard_bytes, err);
    }
    free(source.piece);
    free(entries);
    free(names);
    return status;
}

/* ---- The folder -------------------------------------------------------------------------------------- */

static enum status write_one(const char *folder, const char *name, const char *data, size_t length,
                             struct error *err) {
    char *path = file_join(folder, name, err);
    enum status status = path ? file_write(path, data, length, err) : STATUS_FAILED;
    free(path);
    return status;
}

static bool is_given(const struct checkpoint_content *content, const char *name) {
    for (size_t i = 0; i < content->file_count; i++)
        if (strcmp(content->files[i].name, name) == 0) return true;
    return false;
}

static enum status write_files(const struct checkpoint_content *content, const char *folder,
                               struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && checkpoint_copied[i]; i++) {
        const struct copied_file *file = &content->copied[i];
        if (file->data && !is_given(content, file->name))
            status = write_one(folder, file->name, file->data, file->length, err);
    }
    for (size_t i = 0; status == STATUS_OK && i < content->file_count; i++)
        status =
            write_one(folder, content->files[i].name, content->files[i].data, content->files[i].length, err);
    return status;
}

/* The source's config.json with the type that the weights have now, under the key that it has. */
static enum status write_config(const struct checkpoint_content *content, const char *folder,
                                struct error *err) {
    json_t *config = json_deep_copy(content->source_config);
    const char *type = content->run->dtype == DTYPE_F32 ? "float32" : "bfloat16";
    static const char *const parts[] = {NULL, "text_config", "vision_config"};
    static const char *const keys[] = {"torch_dtype", "dtype"};
    bool failed = !config;
    for (size_t p = 0; p < sizeof parts / sizeof *parts && !failed; p++) {
        json_t *object = parts[p] ? json_object_get(config, parts[p]) : config;
        for (size_t k = 0; k < sizeof keys / sizeof *keys && !failed; k++)
            if (json_object_get(object, keys[k]))
                failed = json_object_set_new(object, keys[k], json_string(type)) != 0;
    }
    enum status status = failed ? error_set(err, "out of memory for config.json")
                                : json_write_file(folder, "config.json", config, err);
    json_decref(config);
    return status;
}

enum status checkpoint_write_folder(const struct checkpoint_content *content, const char *folder,
                                    struct error *err) {
    enum status status = write_files(content, folder, err);
    if (status == STATUS_OK) status = write_config(content, folder, err);
    if (status == STATUS_OK) status = write_model(content, folder, err);
    if (status == STATUS_OK) folder_sync(folder);
    return status;
}
