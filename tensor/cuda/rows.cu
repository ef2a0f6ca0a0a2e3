/* Copies and sums of rows. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/values.cuh"

/* ---- Element by element ------------------------------------------------------------------------------ */

/* out = x, or out += x. */
template <int WIDTH, bool ADD>
static __global__ void copy_kernel(struct tensor out, struct tensor x, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= x.cols) return;
    float values[WIDTH], old[WIDTH];
    load_run(values, x, p.row, p.col);
    if (ADD) {
        load_run(old, out, p.row, p.col);
        for (int i = 0; i < WIDTH; i++) values[i] += old[i];
    }
    store_run(out, p.row, p.col, values);
}

template <bool ADD> static void copy(struct device *device, struct tensor out, struct tensor x) {
    if (is_contiguous(out) && is_contiguous(x)) out = flat(out), x = flat(x);
    bool wide = is_wide(out) && is_wide(x);
    struct row_grid g = row_grid(x.rows, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? copy_kernel<RUN, ADD> : copy_kernel<1, ADD>, g.grid, g.threads, 0, out, x,
                g.blocks_a_row);
}

void cuda_convert(struct device *device, struct tensor out, struct tensor x) {
    copy<false>(device, out, x);
}

void cuda_add(struct device *device, struct tensor out, struct tensor x) {
    copy<true>(device, out, x);
}

/* A pitch may not have more than 31 bits; what is contiguous needs none. */
void cuda_clear(struct device *device, struct tensor out) {
    size_t size = dtype_size(out.dtype), bytes = (size_t)out.cols * size;
    cudaStream_t stream = cuda_state(device)->stream;
    cudaError_t error = is_contiguous(out) ? cudaMemsetAsync(out.data, 0, (size_t)out.rows * bytes, stream)
                                           : cudaMemset2DAsync(out.data, (size_t)out.stride * size, 0, bytes,
                                                               (size_t)out.rows, stream);
    cuda_check(device, error, "clear");
}

/* ---- By index ---------------------------------------------------------------------------------------- */

/* out[r] = x[index[r]]. */
template <int WIDTH>
static __global__ void gather_kernel(struct tensor out, struct tensor x, const int32_t *index,
                                     unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, WIDTH);
    int32_t from = index[p.row];
    if (p.col >= out.cols || is_fault(fault, FAULT_GATHER, p.row, from, 0, x.rows)) return;
    float values[WIDTH];
    load_run(values, x, from, p.col);
    store_run(out, p.row, p.col, values);
}

void cuda_gather_rows(struct device *device, struct tensor out, struct tensor table, struct tensor index) {
    bool wide = is_wide(out) && is_wide(table);
    struct row_grid g = row_grid(out.rows, out.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? gather_kernel<RUN> : gather_kernel<1>, g.grid, g.threads, 0, out, table,
                (const int32_t *)index.data, g.blocks_a_row, cuda_state(device)->fault);
}

/* out[index[r]] = x[r]. */
template <int WIDTH>
static __global__ void scatter_kernel(struct tensor out, struct tensor x, const int32_t *index,
                                      unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, WIDTH);
    int32_t to = index[p.row];
    if (p.col >= out.cols || is_fault(fault, FAULT_SCATTER, p.row, to, 0, out.rows)) return;
    float values[WIDTH];
    load_run(values, x, p.row, p.col);
    store_run(out, to, p.col, values);
}

void cuda_scatter_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    bool wide = is_wide(out) && is_wide(x);
    struct row_grid g = row_grid(x.rows, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? scatter_kernel<RUN> : scatter_kernel<1>, g.grid, g.threads, 0, out, x,
                (const int32_t *)index.data, g.blocks_a_row, cuda_state(device)->fault);
}

/* The blocks of a row that is the first of its index add all rows of that index, in order; the others do
 * nothing. */
template <int WIDTH>
static __global__ void scatter_add_kernel(struct tensor out, struct tensor x, const int32_t *index,
                                          unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, WIDTH);
    int32_t to = index[p.row];
    bool earlier = to == -1 || is_fault(fault, FAULT_SCATTER_ADD, p.row, to, -1, out.rows);
    for (int64_t r = threadIdx.x; r < p.row && !earlier; r += blockDim.x) earlier = index[r] == to;
    if (__syncthreads_or(earlier) || p.col >= x.cols) return;
    float sum[WIDTH], values[WIDTH];
    load_run(sum, out, to, p.col);
    for (int64_t r = p.row; r < x.rows; r++) {
        if (index[r] != to) continue;
        load_run(values, x, r, p.col);
        for (int i = 0; i < WIDTH; i++) sum[i] += values[i];
    }
    store_run(out, to, p.col, sum);
}

void cuda_scatter_add_rows(struct device *device, struct tensor out, struct tensor x, struct tensor index) {
    bool wide = is_wide(out) && is_wide(x);
    struct row_grid g = row_grid(x.rows, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? scatter_add_kernel<RUN> : scatter_add_kernel<1>, g.grid, g.threads, 0, out, x,
                (const int32_t *)index.data, g.blocks_a_row, cuda_state(device)->fault);
}
