/* Reads the tensors of a checkpoint folder: model.safetensors, or the shards that
 * model.safetensors.index.json lists. Files are mapped, not read; only their headers are parsed.
 *
 * The format (github.com/huggingface/safetensors): 8 bytes, the little-endian length N of the header; N
 * bytes of JSON {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {}}; then
 * the data, in which the tensors lie one after another without gaps.
 */
#ifndef VS2_MODEL_SAFETENSORS_H
#define VS2_MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/json.h"
#include "tensor/tensor.h"

enum { SAFETENSORS_MAX_RANK = 8 };

/* How elements are stored. Only some of the types are of use here; the others may stand in a file. */
struct stored_type {
    const char *name; /* as the file spells it: "BF16" */
    size_t size;      /* bytes an element */
    bool usable;      /* `dtype` holds */
    enum dtype dtype;
};

struct stored_tensor {
    const char *name;
    const struct stored_type *type;
    int rank; /* 0: a scalar */
    int64_t shape[SAFETENSORS_MAX_RANK];
    size_t file;               /* index of the file it lies in */
    const unsigned char *data; /* in the mapping; of any alignment */
    size_t bytes;
};

struct stored_file {
    char *path;
    struct file_map map;
    json_t *header; /* the tensors' names lie in it */
};

struct safetensors {
    struct stored_file *files;
    size_t file_count;
    struct stored_tensor *tensors; /* sorted by name */
    size_t count;
};

/* Opens the checkpoint of a folder. Every header is checked here: what the tensors say lies inside their
 * files, no two overlap, no two have one name, and every tensor of the index is there. Errors name file and
 * tensor. On failure nothing stays open. */
enum status safetensors_open(const char *folder, struct safetensors *checkpoint, struct error *err);
void safetensors_close(struct safetensors *checkpoint);

/* The tensor of that name, or NULL. */
const struct stored_tensor *safetensors_find(const struct safetensors *checkpoint, const char *name);

/* Whether the elements lie at a multiple of their size; others must be copied before use. */
bool stored_tensor_aligned(const struct stored_tensor *tensor);

/* "[2, 3]" in `text`, for messages; returns text. */
const char *stored_shape_text(int rank, const int64_t *shape, char *text, size_t size);

#endif
