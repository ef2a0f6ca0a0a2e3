#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "model/hub.h"
#include "model/parameters.h"
#include "model/safetensors.h"
#include "tensor/ops.h"

enum {
    STAGING_BYTES = 8 << 20, /* of device memory for tensors that cannot be read where they lie */
    NAMES_IN_ERROR = 4,      /* of each kind of trouble */
    VECTOR_ALIGNMENT = 64,   /* bytes: vectors begin on cache lines */
};

struct checkpoint {
    struct safetensors stored;
    void **imports; /* a device address for each file; NULL: the device cannot read it in place */
    bool *in_use;   /* whether tensors of the model lie in the file */
    void **memory;  /* device memory of vectors, copies and conversions */
    size_t memory_count, memory_capacity;
    void *vectors; /* of these, the one that all vectors share */
};

/* What model_open works with. */
struct loader {
    struct model *model;
    struct checkpoint *checkpoint;
    const char *folder;
    parameter_test exact; /* NULL: none */
    const void *context;
    struct parameter *parameters;
    const struct stored_tensor **found; /* [count]: the stored tensor of each parameter */
    size_t count;
    char *vectors; /* of all norms and biases */
    size_t vector_bytes;
    void *staging;
    size_t staging_bytes;
};

/* ---- Matching names and shapes ----------------------------------------------------------------------- */

/* One kind of trouble with tensors: the first few by name, and how many in all. */
struct trouble {
    const char *what;
    size_t count;
    struct text names;
};

static void note(struct trouble *trouble, const char *format, const char *name, const char *detail) {
    if (trouble->count++ >= NAMES_IN_ERROR) return;
    if (trouble->count > 1) text_append_string(&trouble->names, ", ");
    text_format(&trouble->names, format, name, detail);
}

static int compare_parameters(const void *a, const void *b) {
    const struct parameter *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Buffers that old checkpoints hold and nobody needs, and the head of a model that uses its embedding. */
static bool is_harmless(const char *name, const struct model_config *config) {
    static const char suffix[] = ".inv_freq";
    size_t length = strlen(name);
    if (config->tied_embeddings && strcmp(name, "lm_head.weight") == 0) return true;
    return length >= sizeof suffix && strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

/* Finds the parameter of every stored tensor; `sorted` is the parameters by name. */
static void match_names(struct loader *loader, const struct parameter **sorted, struct trouble *surplus) {
    const struct safetensors *stored = &loader->checkpoint->stored;
    for (size_t i = 0; i < stored->count; i++) {
        struct parameter key;
        const struct parameter *wanted = &key;
        parameter_new_name(stored->tensors[i].name, key.name);
        const struct parameter **hit =
            bsearch(&wanted, sorted, loader->count, sizeof *sorted, compare_parameters);
        const struct stored_tensor **place = hit ? &loader->found[*hit - loader->parameters] : NULL;
        if (place && !*place)
            *place = &stored->tensors[i];
        else if (place)
            note(surplus, "%s (also stored as %s)", stored->tensors[i].name, (*place)->name);
        else if (!is_harmless(stored->tensors[i].name, &loader->model->config))
            note(surplus, "%s%s", stored->tensors[i].name, "");
    }
}

static bool same_shape(const struct stored_tensor *stored, const struct parameter *parameter) {
    return stored->rank == parameter->rank &&
           memcmp(stored->shape, parameter->shape, (size_t)stored->rank * sizeof *stored->shape) == 0;
}

static void check_parameters(struct loader *loader, struct trouble *missing, struct trouble *shapes,
                             struct trouble *types) {
    for (size_t i = 0; i < loader->count; i++) {
        const struct parameter *parameter = &loader->parameters[i];
        const struct stored_tensor *stored = loader->found[i];
        if (!stored) {
            bool head = strcmp(parameter->name, "lm_head.weight") == 0;
            note(missing, "%s%s", parameter->name, head ? " (tie_word_embeddings is false)" : "");
        } else if (!same_shape(stored, parameter)) {
            char have[256], want[256], detail[600];
            stored_shape_text(stored->rank, stored->shape, have, sizeof have);
            stored_shape_text(parameter->rank, parameter->shape, want, sizeof want);
            snprintf(detail, sizeof detail, "is %s, not %s", have, want);
            note(shapes, "%s %s", stored->name, detail);
        } else if (!stored->type->usable) {
            note(types, "%s is %s", stored->name, stored->type->name);
        }
    }
}

/* All troubles in one line. */
static enum status report(const char *folder, struct trouble *troubles, size_t kinds, struct error *err) {
    struct text line = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < kinds; i++) {
        struct trouble *trouble = &troubles[i];
        if (trouble->count == 0) continue;
        text_format(&line, "%s%s (%zu): %s", line.length ? "; " : "", trouble->what, trouble->count,
                    trouble->names.data ? trouble->names.data : "");
        if (trouble->count > NAMES_IN_ERROR)
            text_format(&line, " and %zu more", trouble->count - NAMES_IN_ERROR);
        status = STATUS_FAILED;
    }
    if (status != STATUS_OK) error_set(err, "%s: %s", folder, line.data ? line.data : "wrong tensors");
    text_free(&line);
    return status;
}

static enum status match(struct loader *loader, struct error *err) {
    struct trouble troubles[] = {
        {.what = "tensors missing"},
        {.what = "tensors of wrong shape"},
        {.what = "tensors of an unsupported type"},
        {.what = "tensors that do not belong to the model"},
    };
    const size_t kinds = sizeof troubles / sizeof *troubles;
    const struct parameter **sorted =
        memory_new(loader->count, sizeof *sorted, "the list of parameters", err);
    if (!sorted) return STATUS_FAILED;
    for (size_t i = 0; i < loader->count; i++) sorted[i] = &loader->parameters[i];
    qsort(sorted, loader->count, sizeof *sorted, compare_parameters);

    match_names(loader, sorted, &troubles[3]);
    check_parameters(loader, &troubles[0], &troubles[1], &troubles[2]);
    enum status status = report(loader->folder, troubles, kinds, err);
    for (size_t i = 0; i < kinds; i++) text_free(&troubles[i].names);
    free(sorted);
    return status;
}

/* ---- Moving to the device ---------------------------------------------------------------------------- */

/* Device memory that the checkpoint owns from now on. */
static void *own_memory(struct loader *loader, size_t bytes, const char *what, struct error *err) {
    struct checkpoint *checkpoint = loader->checkpoint;
    if (memory_grow(&checkpoint->memory, &checkpoint->memory_capacity, checkpoint->memory_count + 1,
                    sizeof *checkpoint->memory, what, err) != STATUS_OK)
        return NULL;
    void *memory = device_allocate(loader->model->device, bytes, what, err);
    if (memory) checkpoint->memory[checkpoint->memory_count++] = memory;
    return memory;
}

/* Lets the device read the mapped files. One that cannot gets its tensors by copies. The pages come from
 * disk meanwhile: without asking for it, each comes when it is first touched, several times slower. */
static void import_files(struct loader *loader) {
    struct checkpoint *checkpoint = loader->checkpoint;
    for (size_t i = 0; i < checkpoint->stored.file_count; i++) {
        const struct stored_file *file = &checkpoint->stored.files[i];
        struct error ignored;
        file_map_read_ahead(&file->map);
        checkpoint->imports[i] =
            device_import(loader->model->device, file->map.data, file->map.size, file->path, &ignored);
    }
}

/* The stored tensor as the device sees it in the imported file; no tensor when it cannot be used there. */
static struct tensor view(const struct loader *loader, const struct stored_tensor *stored, int64_t rows,
                          int64_t cols) {
    const struct checkpoint *checkpoint = loader->checkpoint;
    char *file = checkpoint->imports[stored->file];
    if (!file || !stored_tensor_aligned(stored)) return (struct tensor){0};
    size_t offset = (size_t)(stored->data - checkpoint->stored.files[stored->file].map.data);
    return tensor_at(file + offset, stored->type->dtype, rows, cols);
}

/* Converts through a piece of device memory, some rows at a time. */
static enum status convert_by_pieces(struct loader *loader, struct tensor out,
                                     const struct stored_tensor *stored, struct error *err) {
    struct device *device = loader->model->device;
    const size_t row_bytes = (size_t)out.cols * stored->type->size;
    const size_t wanted = row_bytes > STAGING_BYTES ? row_bytes : STAGING_BYTES;
    if (loader->staging_bytes < wanted) {
        device_release(device, loader->staging);
        loader->staging_bytes = 0;
        loader->staging = device_allocate(device, wanted, stored->name, err);
        if (!loader->staging) return STATUS_FAILED;
        loader->staging_bytes = wanted;
    }
    int64_t rows_at_once = (int64_t)(loader->staging_bytes / row_bytes);
    for (int64_t row = 0; row < out.rows; row += rows_at_once) {
        int64_t rows = out.rows - row < rows_at_once ? out.rows - row : rows_at_once;
        struct tensor piece = tensor_at(loader->staging, stored->type->dtype, rows, out.cols);
        device_write(device, piece, stored->data + (size_t)row * row_bytes);
        convert(device, tensor_rows(out, row, rows), piece);
    }
    return STATUS_OK;
}

/* Fills `out` from the stored tensor, converted to its type. */
static enum status fill(struct loader *loader, struct tensor out, const struct stored_tensor *stored,
                        struct error *err) {
    struct tensor source = view(loader, stored, out.rows, out.cols);
    if (out.dtype == stored->type->dtype)
        device_write(loader->model->device, out, stored->data);
    else if (source.data)
        convert(loader->model->device, out, source);
    else
        return convert_by_pieces(loader, out, stored, err);
    return STATUS_OK;
}

/* What a parameter is converted to, matrices unless the stored type serves. */
static enum dtype type_of(const struct loader *loader, const struct parameter *parameter) {
    bool operand = parameter->kind != PARAMETER_NORM && parameter->kind != PARAMETER_EMBEDDING;
    bool exact = loader->exact && loader->exact(loader->context, parameter);
    return operand && !exact ? loader->model->compute : DTYPE_F32;
}

/* Whether a matrix stored so can be used as it is where one of type `wanted` can. */
static bool type_serves(enum dtype stored, enum dtype wanted) {
    return stored == DTYPE_BF16 || (stored == DTYPE_F32 && wanted == DTYPE_F32);
}

static enum status load_matrix(struct loader *loader, const struct parameter *parameter,
                               const struct stored_tensor *stored, struct tensor *target, struct error *err) {
    enum dtype type = stored->type->dtype, wanted = type_of(loader, parameter);
    if (type_serves(type, wanted)) {
        *target = view(loader, stored, parameter->rows, parameter->cols);
        if (target->data) {
            loader->checkpoint->in_use[stored->file] = true;
            return STATUS_OK;
        }
    } else {
        type = wanted;
    }
    size_t bytes = (size_t)parameter->rows * (size_t)parameter->cols * dtype_size(type);
    void *memory = own_memory(loader, bytes, stored->name, err);
    if (!memory) return STATUS_FAILED;
    *target = tensor_at(memory, type, parameter->rows, parameter->cols);
    return fill(loader, *target, stored, err);
}

static bool is_vector(const struct parameter *parameter) {
    return parameter->kind == PARAMETER_NORM || parameter->kind == PARAMETER_BIAS;
}

static size_t vector_room(const struct loader *loader, const struct parameter *parameter) {
    size_t bytes = (size_t)parameter->cols * dtype_size(type_of(loader, parameter));
    return (bytes + VECTOR_ALIGNMENT - 1) / VECTOR_ALIGNMENT * VECTOR_ALIGNMENT;
}

/* One buffer for all vectors. */
static enum status make_vectors(struct loader *loader, struct error *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < loader->count; i++)
        if (is_vector(&loader->parameters[i])) bytes += vector_room(loader, &loader->parameters[i]);
    loader->checkpoint->vectors = loader->vectors = own_memory(loader, bytes, "norms and biases", err);
    return loader->vectors ? STATUS_OK : STATUS_FAILED;
}

static enum status load_vector(struct loader *loader, const struct parameter *parameter,
                               const struct stored_tensor *stored, struct tensor *target, struct error *err) {
    *target =
        tensor_at(loader->vectors + loader->vector_bytes, type_of(loader, parameter), 1, parameter->cols);
    loader->vector_bytes += vector_room(loader, parameter);
    return fill(loader, *target, stored, err);
}

/* Tied embeddings are the head too, where products take their type. */
static enum status tie_head(struct loader *loader, struct error *err) {
    struct model *model = loader->model;
    struct tensor embedding = model->language.embedding;
    model->language.head = embedding;
    if (type_serves(embedding.dtype, model->compute)) return STATUS_OK;
    size_t bytes = (size_t)embedding.rows * (size_t)embedding.cols * dtype_size(model->compute);
    void *memory = own_memory(loader, bytes, "the head", err);
    if (!memory) return STATUS_FAILED;
    model->language.head = tensor_at(memory, model->compute, embedding.rows, embedding.cols);
    convert(model->device, model->language.head, embedding);
    return STATUS_OK;
}

static enum status load_tensors(struct loader *loader, struct error *err) {
    for (size_t i = 0; i < loader->count; i++) {
        const struct parameter *parameter = &loader->parameters[i];
        struct tensor *target = parameter_tensor(loader->model, parameter);
        enum status status = is_vector(parameter)
                                 ? load_vector(loader, parameter, loader->found[i], target, err)
                                 : load_matrix(loader, parameter, loader->found[i], target, err);
        if (status != STATUS_OK) return status;
    }
    if (loader->model->config.tied_embeddings && tie_head(loader, err) != STATUS_OK) return STATUS_FAILED;
    return device_synchronize(loader->model->device, err);
}

/* Files of which everything was converted are of no more use. */
static void release_unused(struct loader *loader) {
    struct checkpoint *checkpoint = loader->checkpoint;
    for (size_t i = 0; i < checkpoint->stored.file_count; i++) {
        if (checkpoint->in_use[i]) continue;
        device_unimport(loader->model->device, checkpoint->imports[i]);
        checkpoint->imports[i] = NULL;
        file_unmap(&checkpoint->stored.files[i].map);
    }
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static enum status load(struct loader *loader, struct error *err) {
    struct model *model = loader->model;
    if (model_config_read(loader->folder, &model->config, err) != STATUS_OK) return STATUS_FAILED;
    struct checkpoint *checkpoint = memory_new(1, sizeof *checkpoint, "the checkpoint", err);
    if (!checkpoint) return STATUS_FAILED;
    model->checkpoint = loader->checkpoint = checkpoint;
    if (safetensors_open(loader->folder, &checkpoint->stored, err) != STATUS_OK) return STATUS_FAILED;

    size_t files = checkpoint->stored.file_count;
    loader->parameters = parameters_list(&model->config, &loader->count, err);
    if (!loader->parameters) return STATUS_FAILED;
    loader->found = memory_new(loader->count, sizeof *loader->found, "the list of tensors", err);
    if (!loader->found || match(loader, err) != STATUS_OK) return STATUS_FAILED;

    model->vision.blocks =
        memory_new((size_t)model->config.vision.depth, sizeof *model->vision.blocks, "vision blocks", err);
    if (!model->vision.blocks) return STATUS_FAILED;
    model->language.layers =
        memory_new((size_t)model->config.layers, sizeof *model->language.layers, "language layers", err);
    if (!model->language.layers) return STATUS_FAILED;
    checkpoint->imports = memory_new(files, sizeof *checkpoint->imports, "the list of files", err);
    if (!checkpoint->imports) return STATUS_FAILED;
    checkpoint->in_use = memory_new(files, sizeof *checkpoint->in_use, "the list of files", err);
    if (!checkpoint->in_use || make_vectors(loader, err) != STATUS_OK) return STATUS_FAILED;

    import_files(loader);
    if (load_tensors(loader, err) != STATUS_OK) return STATUS_FAILED;
    release_unused(loader);
    return STATUS_OK;
}

enum status model_open_exact(const char *name, struct device *device, enum dtype compute,
                             parameter_test exact, const void *context, struct model *model,
                             struct error *err) {
    *model = (struct model){.device = device, .compute = compute, .stream = compute};
    char *folder = hub_find(name, err);
    if (!folder) return STATUS_FAILED;
    struct loader loader = {.model = model, .folder = folder, .exact = exact, .context = context};
    enum status status = load(&loader, err);
    device_release(device, loader.staging);
    free(loader.found);
    free(loader.parameters);
    free(folder);
    if (status != STATUS_OK) model_close(model);
    return status;
}

enum status model_open(const char *name, struct device *device, enum dtype compute, struct model *model,
                       struct error *err) {
    return model_open_exact(name, device, compute, NULL, NULL, model, err);
}

void model_release(struct model *model, struct tensor tensor) {
    struct checkpoint *checkpoint = model->checkpoint;
    for (size_t i = 0; i < checkpoint->memory_count; i++) {
        if (checkpoint->memory[i] != tensor.data || tensor.data == checkpoint->vectors) continue;
        device_release(model->device, tensor.data);
        checkpoint->memory[i] = checkpoint->memory[--checkpoint->memory_count];
        return;
    }
}

void model_drop_pages(const struct model *model) {
    const struct safetensors *stored = &model->checkpoint->stored;
    for (size_t i = 0; i < stored->file_count; i++) file_map_drop(&stored->files[i].map);
}

void model_close(struct model *model) {
    struct checkpoint *checkpoint = model->checkpoint;
    if (checkpoint) {
        for (size_t i = 0; i < checkpoint->memory_count; i++)
            device_release(model->device, checkpoint->memory[i]);
        for (size_t i = 0; checkpoint->imports && i < checkpoint->stored.file_count; i++)
            device_unimport(model->device, checkpoint->imports[i]);
        safetensors_close(&checkpoint->stored);
        free(checkpoint->memory);
        free(checkpoint->imports);
        free(checkpoint->in_use);
        free(checkpoint);
    }
    free(model->vision.blocks);
    free(model->language.layers);
    *model = (struct model){0};
}
