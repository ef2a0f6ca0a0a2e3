/* The files of one checkpoint folder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "model/checkpoint_write.h"
#include "tensor/float16.h"
#include "train/checkpoint_parts.h"

const char checkpoint_state_folder[] = "vs2_state";
const char checkpoint_state_file[] = "state.json";
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

void checkpoint_part_name(const struct parameter *parameter, enum checkpoint_part part,
                          char name[STATE_NAME_SIZE]) {
    static const char *const parts[] = {"weight", "first_moment", "second_moment", "reference"};
    snprintf(name, STATE_NAME_SIZE, "%s.%s", parameter->name, parts[part]);
}

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

/* ---- The training state ------------------------------------------------------------------------------ */

size_t checkpoint_part_count(const struct checkpoint_run *run) {
    return run->has_reference ? CHECKPOINT_MOST_PARTS : CHECKPOINT_PARTS;
}

/* The tensors of vs2_state/: `parts` a trained parameter. */
struct state_source {
    const struct checkpoint_content *content;
    size_t parts;
    const size_t *parameter; /* [tensors / parts] */
    uint32_t *checksums;     /* [tensors] */
};

static enum status read_state(void *state, size_t index, int64_t first, int64_t count, void *elements,
                              struct error *err) {
    struct state_source *source = state;
    const struct checkpoint_reader *reader = &source->content->reader;
    enum checkpoint_part part = (enum checkpoint_part)(index % source->parts);
    enum status status = reader->read(reader->state, source->parameter[index / source->parts], part, first,
                                      count, elements, err);
    if (status == STATUS_OK)
        source->checksums[index] =
            crc32c(first == 0 ? 0 : source->checksums[index], elements, (size_t)count * sizeof(float));
    return status;
}

/* {name: bytes} of all files in the folder, but those below it. */
static enum status list_sizes(const char *folder, const char *prefix, json_t *sizes, struct error *err) {
    struct folder_names list;
    if (folder_list(folder, &list, err) != STATUS_OK) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < list.count; i++) {
        struct stat info;
        char name[512];
        char *path = file_join(folder, list.names[i], err);
        snprintf(name, sizeof name, "%s%s", prefix, list.names[i]);
        if (!path || stat(path, &info) != 0)
            status = path ? error_set(err, "%s: it is gone", path) : STATUS_FAILED;
        else if (S_ISREG(info.st_mode) &&
                 json_object_set_new(sizes, name, json_integer((json_int_t)info.st_size)) != 0)
            status = error_set(err, "out of memory for a checkpoint");
        free(path);
    }
    folder_names_free(&list);
    return status;
}

static enum status write_state_file(const struct checkpoint_content *content, const char *folder,
                                    const char *inner, const uint32_t *checksums, size_t tensors,
                                    struct error *err) {
    json_t *sizes = json_object(), *sums = json_array();
    enum status status = sizes && sums ? STATUS_OK : error_set(err, "out of memory for a checkpoint");
    if (status == STATUS_OK) status = list_sizes(folder, "", sizes, err);
    if (status == STATUS_OK) status = list_sizes(inner, "vs2_state/", sizes, err);
    for (size_t i = 0; status == STATUS_OK && i < tensors; i++)
        if (json_array_append_new(sums, json_integer(checksums[i])) != 0)
            status = error_set(err, "out of memory for a checkpoint");
    if (status == STATUS_OK) {
        json_t *json = json_pack("{s:i, s:I, s:O, s:O, s:O, s:O}", "format", CHECKPOINT_FORMAT, "step",
                                 (json_int_t)content->step, "state", content->state, "configuration",
                                 content->run->configuration, "files", sizes, "checksums", sums);
        status = json_write_file(inner, checkpoint_state_file, json, err);
        json_decref(json);
    }
    json_decref(sizes);
    json_decref(sums);
    return status;
}

static enum status write_state_tensors(struct state_source *source, const char *inner, size_t tensors,
                                       struct error *err) {
    const struct checkpoint_run *run = source->content->run;
    struct checkpoint_entry *entries = memory_new(tensors, sizeof *entries, "a checkpoint", err);
    char(*names)[STATE_NAME_SIZE] = memory_new(tensors, sizeof *names, "a checkpoint", err);
    enum status status = entries && names ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < tensors; i++) {
        const struct parameter *parameter = &run->parameters[source->parameter[i / source->parts]];
        checkpoint_part_name(parameter, (enum checkpoint_part)(i % source->parts), names[i]);
        entries[i] = (struct checkpoint_entry){names[i], DTYPE_F32, 2, {parameter->rows, parameter->cols}};
    }
    const struct checkpoint_source from = {read_state, source};
    if (status == STATUS_OK)
        status = checkpoint_write_tensors(inner, entries, tensors, from, run->shard_bytes, err);
    free(entries);
    free(names);
    return status;
}

static enum status write_state(const struct checkpoint_content *content, const char *folder,
                               struct error *err) {
    const struct checkpoint_run *run = content->run;
    size_t *parameter = memory_new(run->count, sizeof *parameter, "a checkpoint", err), trained = 0;
    size_t parts = checkpoint_part_count(run);
    char *inner = file_join(folder, checkpoint_state_folder, err);
    uint32_t *checksums = memory_new(parts * run->count, sizeof *checksums, "a checkpoint", err);
    enum status status = parameter && inner && checksums ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK) status = folder_make(inner, err);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < run->count; i++)
            if (run->trained[i]) parameter[trained++] = i;
        struct state_source source = {content, parts, parameter, checksums};
        status = write_state_tensors(&source, inner, parts * trained, err);
    }
    if (status == STATUS_OK)
        status = write_state_file(content, folder, inner, checksums, parts * trained, err);
    if (status == STATUS_OK) folder_sync(inner);
    free(checksums);
    free(inner);
    free(parameter);
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
    if (status == STATUS_OK && content->with_state) status = write_state(content, folder, err);
    if (status == STATUS_OK) folder_sync(folder);
    return status;
}
