#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"

enum {
    LENGTH_BYTES = 8,
    HEADER_LIMIT = 100000000, /* the limit of the reference implementation */
    INDEX_LIMIT = 100000000,
    FILE_LIMIT = 4096, /* shards of one checkpoint */
};

static const struct stored_type stored_types[] = {
    {"F32", 4, true, DTYPE_F32}, {"BF16", 2, true, DTYPE_BF16}, {"F16", 2, true, DTYPE_F16},
    {"F64", 8, false, 0},        {"I64", 8, false, 0},          {"I32", 4, false, 0},
    {"I16", 2, false, 0},        {"I8", 1, false, 0},           {"U64", 8, false, 0},
    {"U32", 4, false, 0},        {"U16", 2, false, 0},          {"U8", 1, false, 0},
    {"BOOL", 1, false, 0},       {"F8_E4M3", 1, false, 0},      {"F8_E5M2", 1, false, 0},
};

static const struct stored_type *find_type(const char *name) {
    for (size_t i = 0; i < sizeof stored_types / sizeof *stored_types; i++)
        if (strcmp(stored_types[i].name, name) == 0) return &stored_types[i];
    return NULL;
}

bool stored_tensor_aligned(const struct stored_tensor *tensor) {
    return (uintptr_t)tensor->data % tensor->type->size == 0;
}

const char *stored_shape_text(int rank, const int64_t *shape, char *text, size_t size) {
    size_t length = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && length < size; i++)
        length +=
            (size_t)snprintf(text + length, size - length, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (length < size) snprintf(text + length, size - length, "]");
    return text;
}

/* ---- One header -------------------------------------------------------------------------------------- */

/* Reads the shape and gives the bytes that it needs. */
static enum status read_shape(const json_t *shape, struct stored_tensor *tensor, size_t *bytes,
                              const char *path, struct error *err) {
    if (!json_is_array(shape))
        return error_set(err, "%s: tensor '%s': 'shape' must be a list", path, tensor->name);
    if (json_array_size(shape) > SAFETENSORS_MAX_RANK)
        return error_set(err, "%s: tensor '%s': more than %d dimensions", path, tensor->name,
                         SAFETENSORS_MAX_RANK);
    tensor->rank = (int)json_array_size(shape);
    *bytes = tensor->type->size;
    for (int i = 0; i < tensor->rank; i++) {
        const json_t *item = json_array_get(shape, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return error_set(err, "%s: tensor '%s': 'shape' must hold sizes", path, tensor->name);
        tensor->shape[i] = json_integer_value(item);
        if (__builtin_mul_overflow(*bytes, (size_t)tensor->shape[i], bytes))
            return error_set(err, "%s: tensor '%s': the shape is larger than any memory", path, tensor->name);
    }
    return STATUS_OK;
}

/* Reads data_offsets, which count from the end of the header, and checks them against the file. */
static enum status read_offsets(const json_t *offsets, const struct stored_file *file, size_t header_end,
                                size_t needed, struct stored_tensor *tensor, struct error *err) {
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return error_set(err, "%s: tensor '%s': 'data_offsets' must be two offsets", file->path,
                         tensor->name);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    size_t room = file->map.size - header_end;
    if (begin < 0 || end < begin)
        return error_set(err, "%s: tensor '%s': 'data_offsets' %lld to %lld run backwards", file->path,
                         tensor->name, (long long)begin, (long long)end);
    if ((unsigned long long)end > room)
        return error_set(err,
                         "%s: tensor '%s': its data ends at byte %lld of the %zu there are; is the file "
                         "cut short?",
                         file->path, tensor->name, (long long)end, room);
    if ((size_t)(end - begin) != needed) {
        char shape[256];
        return error_set(err, "%s: tensor '%s': %s %s needs %zu bytes, 'data_offsets' span %lld", file->path,
                         tensor->name, tensor->type->name,
                         stored_shape_text(tensor->rank, tensor->shape, shape, sizeof shape), needed,
                         (long long)(end - begin));
    }
    tensor->data = file->map.data + header_end + begin;
    tensor->bytes = needed;
    return STATUS_OK;
}

static enum status read_entry(const json_t *entry, const struct stored_file *file, size_t header_end,
                              struct stored_tensor *tensor, struct error *err) {
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    size_t needed = 0;
    if (!json_is_object(entry) || !type)
        return error_set(err, "%s: tensor '%s': not an object with 'dtype', 'shape' and 'data_offsets'",
                         file->path, tensor->name);
    tensor->type = find_type(type);
    if (!tensor->type)
        return error_set(err, "%s: tensor '%s': unknown dtype '%s'", file->path, tensor->name, type);
    if (read_shape(json_object_get(entry, "shape"), tensor, &needed, file->path, err) != STATUS_OK)
        return STATUS_FAILED;
    return read_offsets(json_object_get(entry, "data_offsets"), file, header_end, needed, tensor, err);
}

static int compare_places(const void *a, const void *b) {
    const struct stored_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty tensors first */
}

/* The tensors of one file lie one after another and fill it. */
static enum status check_layout(struct stored_tensor *tensors, size_t count, const struct stored_file *file,
                                size_t header_end, struct error *err) {
    const unsigned char *position = file->map.data + header_end;
    const unsigned char *end = file->map.data + file->map.size;
    qsort(tensors, count, sizeof *tensors, compare_places);
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].data < position)
            return error_set(err, "%s: tensors '%s' and '%s' overlap", file->path, tensors[i - 1].name,
                             tensors[i].name);
        if (tensors[i].data > position)
            return error_set(err, "%s: %zu bytes before tensor '%s' belong to no tensor", file->path,
                             (size_t)(tensors[i].data - position), tensors[i].name);
        position += tensors[i].bytes;
    }
    if (position != end)
        return error_set(err, "%s: the last %zu bytes belong to no tensor", file->path,
                         (size_t)(end - position));
    return STATUS_OK;
}

/* Parses the header's JSON; *end is where the data begins. */
static json_t *parse_header(const struct stored_file *file, size_t *end, struct error *err) {
    uint64_t length = 0;
    if (file->map.size < LENGTH_BYTES) {
        error_set(err, "%s: %zu bytes are no safetensors file", file->path, file->map.size);
        return NULL;
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | file->map.data[i];
    if (length > HEADER_LIMIT || length > file->map.size - LENGTH_BYTES) {
        error_set(err, "%s: a header of %llu bytes does not fit the file of %zu", file->path,
                  (unsigned long long)length, file->map.size);
        return NULL;
    }
    *end = LENGTH_BYTES + (size_t)length;
    json_t *header =
        json_read_text((const char *)file->map.data + LENGTH_BYTES, (size_t)length, file->path, err);
    if (header && !json_is_object(header)) {
        error_set(err, "%s: the header is no JSON object", file->path);
        json_decref(header);
        return NULL;
    }
    return header;
}

/* ---- The folder -------------------------------------------------------------------------------------- */

/* The checkpoint while its arrays grow. */
struct builder {
    struct safetensors *checkpoint;
    size_t file_capacity, tensor_capacity;
};

static enum status add_entries(struct builder *builder, size_t file_index, size_t header_end,
                               struct error *err) {
    struct safetensors *checkpoint = builder->checkpoint;
    const struct stored_file *file = &checkpoint->files[file_index];
    const char *name;
    json_t *entry;
    if (memory_grow(&checkpoint->tensors, &builder->tensor_capacity,
                    checkpoint->count + json_object_size(file->header), sizeof *checkpoint->tensors,
                    file->path, err) != STATUS_OK)
        return STATUS_FAILED;
    json_object_foreach(file->header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        struct stored_tensor *tensor = &checkpoint->tensors[checkpoint->count];
        *tensor = (struct stored_tensor){.name = name, .file = file_index};
        if (read_entry(entry, file, header_end, tensor, err) != STATUS_OK) return STATUS_FAILED;
        checkpoint->count++;
    }
    return STATUS_OK;
}

/* Maps FOLDER/NAME and takes in its tensors. */
static enum status add_file(struct builder *builder, const char *folder, const char *name,
                            struct error *err) {
    struct safetensors *checkpoint = builder->checkpoint;
    if (memory_grow(&checkpoint->files, &builder->file_capacity, checkpoint->file_count + 1,
                    sizeof *checkpoint->files, name, err) != STATUS_OK)
        return STATUS_FAILED;
    size_t index = checkpoint->file_count++, first = checkpoint->count, header_end;
    struct stored_file *file = &checkpoint->files[index];
    *file = (struct stored_file){.path = file_join(folder, name, err)};
    if (!file->path || file_map(file->path, &file->map, err) != STATUS_OK) return STATUS_FAILED;
    file->header = parse_header(file, &header_end, err);
    if (!file->header || add_entries(builder, index, header_end, err) != STATUS_OK) return STATUS_FAILED;
    return check_layout(checkpoint->tensors + first, checkpoint->count - first, file, header_end, err);
}

static int compare_names(const void *a, const void *b) {
    const struct stored_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Sorts by name and refuses two of one name. */
static enum status sort_tensors(struct safetensors *checkpoint, struct error *err) {
    struct stored_tensor *tensors = checkpoint->tensors;
    if (checkpoint->count == 0) return STATUS_OK;
    qsort(tensors, checkpoint->count, sizeof *tensors, compare_names);
    for (size_t i = 1; i < checkpoint->count; i++)
        if (strcmp(tensors[i - 1].name, tensors[i].name) == 0)
            return error_set(err, "%s: tensor '%s' is in %s too", checkpoint->files[tensors[i].file].path,
                             tensors[i].name, checkpoint->files[tensors[i - 1].file].path);
    return STATUS_OK;
}

/* A shard is a file of the folder itself: a hostile index must not reach elsewhere. */
static enum status check_shard_name(const char *shard, const char *tensor, const char *path,
                                    struct error *err) {
    if (!shard) return error_set(err, "%s: tensor '%s': the file name must be a string", path, tensor);
    if (!*shard || strchr(shard, '/') || strcmp(shard, ".") == 0 || strcmp(shard, "..") == 0)
        return error_set(err, "%s: tensor '%s': '%s' is no file name", path, tensor, shard);
    return STATUS_OK;
}

/* Opens every shard once; `shards` gets their numbers by name. */
static enum status add_shards(struct builder *builder, const char *folder, const json_t *map, json_t *shards,
                              const char *path, struct error *err) {
    const char *tensor;
    json_t *value;
    json_object_foreach((json_t *)map, tensor, value) {
        const char *shard = json_string_value(value);
        if (check_shard_name(shard, tensor, path, err) != STATUS_OK) return STATUS_FAILED;
        if (json_object_get(shards, shard)) continue;
        if (builder->checkpoint->file_count == FILE_LIMIT)
            return error_set(err, "%s: more than %d shards", path, FILE_LIMIT);
        if (json_object_set_new(shards, shard, json_integer((json_int_t)builder->checkpoint->file_count)) !=
            0)
            return error_set(err, "out of memory for %s", path);
        if (add_file(builder, folder, shard, err) != STATUS_OK) {
            error_prefix(err, "%s", path);
            return STATUS_FAILED;
        }
    }
    return STATUS_OK;
}

/* Every tensor that the index lists lies in the shard that it says. */
static enum status check_index(const struct safetensors *checkpoint, const json_t *map, const json_t *shards,
                               const char *path, struct error *err) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value) {
        const char *shard = json_string_value(value);
        const struct stored_tensor *tensor = safetensors_find(checkpoint, name);
        if (!tensor || (json_int_t)tensor->file != json_integer_value(json_object_get(shards, shard)))
            return error_set(err, "%s: tensor '%s' is not in %s", path, name, shard);
    }
    return STATUS_OK;
}

static enum status open_shards(struct builder *builder, const char *folder, const char *path,
                               struct error *err) {
    enum status status = STATUS_FAILED;
    json_t *shards = json_object();
    json_t *index = json_read_file(path, INDEX_LIMIT, err);
    if (!index) goto err;
    const json_t *map = json_object_get(index, "weight_map");
    if (!shards) {
        error_set(err, "out of memory for %s", path);
        goto err;
    }
    if (!json_is_object(map)) {
        error_set(err, "%s: no object 'weight_map'", path);
        goto err;
    }
    if (add_shards(builder, folder, map, shards, path, err) != STATUS_OK ||
        sort_tensors(builder->checkpoint, err) != STATUS_OK)
        goto err;
    status = check_index(builder->checkpoint, map, shards, path, err);
err:
    json_decref(index);
    json_decref(shards);
    return status;
}

static enum status open_folder(struct builder *builder, const char *folder, struct error *err) {
    static const char single[] = "model.safetensors", listed[] = "model.safetensors.index.json";
    enum status status = STATUS_FAILED;
    char *file = file_join(folder, single, err), *index = file_join(folder, listed, err);
    if (!file || !index) goto err;
    if (access(file, F_OK) == 0) {
        if (add_file(builder, folder, single, err) == STATUS_OK)
            status = sort_tensors(builder->checkpoint, err);
    } else if (access(index, F_OK) == 0) {
        status = open_shards(builder, folder, index, err);
    } else {
        error_set(err, "%s: no %s and no %s there", folder, single, listed);
    }
err:
    free(file);
    free(index);
    return status;
}

enum status safetensors_open(const char *folder, struct safetensors *checkpoint, struct error *err) {
    *checkpoint = (struct safetensors){0};
    struct builder builder = {.checkpoint = checkpoint};
    enum status status = open_folder(&builder, folder, err);
    if (status != STATUS_OK) safetensors_close(checkpoint);
    return status;
}

void safetensors_close(struct safetensors *checkpoint) {
    for (size_t i = 0; i < checkpoint->file_count; i++) {
        free(checkpoint->files[i].path);
        file_unmap(&checkpoint->files[i].map);
        json_decref(checkpoint->files[i].header);
    }
    free(checkpoint->files);
    free(checkpoint->tensors);
    *checkpoint = (struct safetensors){0};
}

const struct stored_tensor *safetensors_find(const struct safetensors *checkpoint, const char *name) {
    const struct stored_tensor key = {.name = name};
    if (checkpoint->count == 0) return NULL;
    return bsearch(&key, checkpoint->tensors, checkpoint->count, sizeof key, compare_names);
}
