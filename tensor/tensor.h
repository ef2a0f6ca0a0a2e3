/* Tensors: two-dimensional views of memory that belongs to a device.
 *
 * There is no batch dimension: the tokens of all samples lie in one packed [tokens, width] matrix. A view
 * owns nothing. `data` is an address of the device's memory: nothing above tensor/ may read or write
 * through it, only the operations of tensor/ops.h and the transfers of tensor/device.h do.
 */
#ifndef VS2_TENSOR_TENSOR_H
#define VS2_TENSOR_TENSOR_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_U8 };

/* F16 is a storage type of checkpoints: convert() reads it, no other operation does. U8 is that of frames:
 * resize_frame and cut_patches alone take it. */
static inline size_t dtype_size(enum dtype dtype) {
    if (dtype == DTYPE_U8) return 1;
    return dtype == DTYPE_F32 || dtype == DTYPE_I32 ? 4 : 2;
}

const char *dtype_name(enum dtype dtype);

struct tensor {
    void *data; /* NULL: no tensor */
    enum dtype dtype;
    int64_t rows;
    int64_t cols;
    int64_t stride; /* elements from one row to the next, at least cols */
};

/* A view of contiguous rows at a device address. */
static inline struct tensor tensor_at(void *data, enum dtype dtype, int64_t rows, int64_t cols) {
    return (struct tensor){data, dtype, rows, cols, cols};
}

/* Rows [first, first + count). */
static inline struct tensor tensor_rows(struct tensor t, int64_t first, int64_t count) {
    assert(first >= 0 && count >= 0 && first + count <= t.rows);
    if (t.data) t.data = (char *)t.data + (size_t)(first * t.stride) * dtype_size(t.dtype);
    t.rows = count;
    return t;
}

/* Columns [first, first + count) of every row. */
static inline struct tensor tensor_cols(struct tensor t, int64_t first, int64_t count) {
    assert(first >= 0 && count >= 0 && first + count <= t.cols);
    if (t.data) t.data = (char *)t.data + (size_t)first * dtype_size(t.dtype);
    t.cols = count;
    return t;
}

/* The same elements in another shape; the rows must be contiguous. */
static inline struct tensor tensor_reshape(struct tensor t, int64_t rows, int64_t cols) {
    assert(t.stride == t.cols && rows * cols == t.rows * t.cols);
    t.rows = rows;
    t.cols = t.stride = cols;
    return t;
}

#endif
