#include "tensor/cpu/cpu.h"

#include <string.h>

enum { MOST_GROUPS = 64, GROUP_ROWS = 16, STRIP = 256 };

int64_t column_groups(int64_t rows) {
    int64_t groups = (rows + GROUP_ROWS - 1) / GROUP_ROWS;
    return groups < MOST_GROUPS ? groups : MOST_GROUPS;
}

bool column_sums_start(struct device *device, struct column_sums *sums, int64_t rows, int64_t cols) {
    sums->groups = column_groups(rows);
    sums->cols = cols;
    sums->stride = (cols + 15) / 16 * 16;
    sums->partial = cpu_workspace(device, sums->groups * sums->stride);
    return sums->partial != NULL;
}

float *column_sums_of_group(const struct column_sums *sums, int64_t group) {
    float *partial = sums->partial + group * sums->stride;
    memset(partial, 0, (size_t)sums->cols * sizeof *partial);
    return partial;
}

void column_sums_finish(struct device *device, const struct column_sums *sums, struct tensor out) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (sums->groups * sums->cols >= CPU_PARALLEL_ELEMENTS)
    for (int64_t c = 0; c < sums->cols; c += STRIP) {
        int64_t count = sums->cols - c < STRIP ? sums->cols - c : STRIP;
        float *total = sums->partial + c;
        for (int64_t g = 1; g < sums->groups; g++)
            row->add(total, DTYPE_F32, total + g * sums->stride, DTYPE_F32, count);
        row->add((float *)out.data + c, DTYPE_F32, total, DTYPE_F32, count);
    }
}

void cpu_sum_rows(struct device *device, struct tensor out, struct tensor x) {
    const struct row_kernels *row = cpu_kernels(device)->row;
    struct column_sums sums;
    if (!column_sums_start(device, &sums, x.rows, x.cols)) return;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t g = 0; g < sums.groups; g++) {
        float *partial = column_sums_of_group(&sums, g);
        int64_t end = x.rows * (g + 1) / sums.groups;
        for (int64_t r = x.rows * g / sums.groups; r < end; r++)
            row->add(partial, DTYPE_F32, tensor_row(x, r), x.dtype, x.cols);
    }
    column_sums_finish(device, &sums, out);
}
