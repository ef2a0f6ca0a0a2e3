/* Copies, sums and reductions of rows. */
#include "tensor/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

void cpu_convert(struct device *device, struct tensor out, struct tensor x) {
    const struct row_kernels *row = cpu_kernels(device)->row;
    bool same = out.dtype == x.dtype;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++) {
        void *to = tensor_row(out, r);
        const void *from = tensor_row(x, r);
        if (same)
            memmove(to, from, (size_t)x.cols * dtype_size(x.dtype));
        else
            row->convert(to, out.dtype, from, x.dtype, x.cols);
    }
}

/* Whether all indices lie in [low, limit); if not, the device has failed. */
static bool indices_valid(struct device *device, struct tensor index, int32_t low, int64_t limit,
                          const char *operation) {
    const int32_t *values = index.data;
    for (int64_t i = 0; i < index.cols; i++) {
        if (values[i] < low || values[i] >= limit) {
            device_fail(device, "%s: index %lld is %d, not in [%d, %lld)", operation, (long long)i,
                        (int)values[i], (int)low, (long long)limit);
            return false;
        }
    }
    return true;
}

void cpu_gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index) {
    if (!indices_valid(device, index, 0, table.rows, "gather_rows")) return;
    const struct row_kernels *row = cpu_kernels(device)->row;
    const int32_t *values = index.data;
#pragma omp parallel for if (worth_threads(out))
    for (int64_t r = 0; r < out.rows; r++)
        row->convert(tensor_row(out, r), out.dtype, tensor_row(table, values[r]), table.dtype, out.cols);
}

void cpu_scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    if (!indices_valid(device, index, 0, out.rows, "scatter_rows")) return;
    const struct row_kernels *row = cpu_kernels(device)->row;
    const int32_t *values = index.data;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        row->convert(tensor_row(out, values[r]), out.dtype, tensor_row(x, r), x.dtype, x.cols);
}

/* Threads share the columns: each adds the rows of an index in order. */
void cpu_scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    enum { STRIP = 256 };
    if (!indices_valid(device, index, -1, out.rows, "scatter_add_rows")) return;
    const struct row_kernels *row = cpu_kernels(device)->row;
    const int32_t *values = index.data;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t c = 0; c < x.cols; c += STRIP) {
        int64_t count = x.cols - c < STRIP ? x.cols - c : STRIP;
        struct tensor to = tensor_cols(out, c, count), from = tensor_cols(x, c, count);
        for (int64_t r = 0; r < x.rows; r++)
            if (values[r] >= 0)
                row->add(tensor_row(to, values[r]), DTYPE_F32, tensor_row(from, r), x.dtype, count);
    }
}

void cpu_add(struct device *device, struct tensor out, struct tensor x) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        row->add(tensor_row(out, r), out.dtype, tensor_row(x, r), x.dtype, x.cols);
}

void cpu_clear(struct device *device, struct tensor out) {
    enum { PIECE = 65536 };
    (void)device;
    if (out.stride == out.cols) out = tensor_reshape(out, 1, out.rows * out.cols);
    size_t size = dtype_size(out.dtype);
    int64_t pieces = (out.cols + PIECE - 1) / PIECE;
#pragma omp parallel for if (worth_threads(out))
    for (int64_t i = 0; i < out.rows * pieces; i++) {
        int64_t begin = i % pieces * PIECE, count = out.cols - begin < PIECE ? out.cols - begin : PIECE;
        memset((char *)tensor_row(out, i / pieces) + (size_t)begin * size, 0, (size_t)count * size);
    }
}

/* The sum of what `kernel` makes of each row. Rows are cut into a fixed number of groups whose sums are
 * added in order, so that the bits do not depend on the number of threads. */
static void reduce(struct tensor out, struct tensor x, double (*kernel)(const void *, enum dtype, int64_t)) {
    enum { GROUPS = 64 };
    double sums[GROUPS] = {0};
#pragma omp parallel for if (worth_threads(x))
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t end = x.rows * (g + 1) / GROUPS;
        for (int64_t r = x.rows * g / GROUPS; r < end; r++)
            sums[g] += kernel(tensor_row(x, r), x.dtype, x.cols);
    }
    double total = 0;
    for (int g = 0; g < GROUPS; g++) total += sums[g];
    *(float *)out.data = (float)total;
}

void cpu_reduce_sum(struct device *device, struct tensor out, struct tensor x) {
    reduce(out, x, cpu_kernels(device)->row->sum);
}

void cpu_reduce_sum_squares(struct device *device, struct tensor out, struct tensor x) {
    reduce(out, x, cpu_kernels(device)->row->sum_squares);
}
