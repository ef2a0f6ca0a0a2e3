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

/* Whether all indices lie in [0, limit); if not, the device has failed. */
static bool indices_valid(struct device *device, struct tensor index, int64_t limit, const char *operation) {
    const int32_t *values = index.data;
    for (int64_t i = 0; i < index.cols; i++) {
        if (values[i] < 0 || values[i] >= limit) {
            device_fail(device, "%s: index %lld is %d, not in [0, %lld)", operation, (long long)i,
                        (int)values[i], (long long)limit);
            return false;
        }
    }
    return true;
}

void cpu_gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index) {
    if (!indices_valid(device, index, table.rows, "gather_rows")) return;
    const struct row_kernels *row = cpu_kernels(device)->row;
    const int32_t *values = index.data;
#pragma omp parallel for if (worth_threads(out))
    for (int64_t r = 0; r < out.rows; r++)
        row->convert(tensor_row(out, r), out.dtype, tensor_row(table, values[r]), table.dtype, out.cols);
}

void cpu_scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    if (!indices_valid(device, index, out.rows, "scatter_rows")) return;
    const struct row_kernels *row = cpu_kernels(device)->row;
    const int32_t *values = index.data;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        row->convert(tensor_row(out, values[r]), out.dtype, tensor_row(x, r), x.dtype, x.cols);
}

void cpu_add(struct device *device, struct tensor out, struct tensor x) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        row->add(tensor_row(out, r), out.dtype, tensor_row(x, r), x.dtype, x.cols);
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
