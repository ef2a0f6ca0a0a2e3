/* Sums over all elements and over rows. Each is cut into pieces by its shape alone; the pieces' sums are
 * added in order. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/block.cuh"

/* ---- All elements: in double ------------------------------------------------------------------------- */

static const int64_t PIECE = 16384, PIECES_MOST = 1024;
enum { SUM_THREADS = 256 };

/* partial[block]: the sum of pieces block, block + blocks, ...; a piece is up to PIECE columns of a row. */
template <int WIDTH, bool SQUARES> static __global__ void reduce_kernel(double *partial, struct tensor x) {
    double sum = 0;
    int64_t pieces = parts(x.cols, PIECE);
    for (int64_t i = blockIdx.x; i < x.rows * pieces; i += gridDim.x) {
        int64_t row = i / pieces, begin = i % pieces * PIECE;
        int64_t end = begin + PIECE < x.cols ? begin + PIECE : x.cols;
        for (int64_t c = begin + threadIdx.x * WIDTH; c < end; c += SUM_THREADS * WIDTH) {
            float values[WIDTH], part = 0;
            load_run(values, x, row, c);
            for (int j = 0; j < WIDTH; j++) part += SQUARES ? values[j] * values[j] : values[j];
            sum += (double)part;
        }
    }
    sum = block_join(sum, sum_of(), shared_floats());
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

static __global__ void join_kernel(struct tensor out, const double *partial, int count) {
    double sum = 0;
    for (int i = (int)threadIdx.x; i < count; i += SUM_THREADS) sum += partial[i];
    sum = block_join(sum, sum_of(), shared_floats());
    if (threadIdx.x == 0) *(float *)out.data = (float)sum;
}

template <bool SQUARES> static void reduce(struct device *device, struct tensor out, struct tensor x) {
    if (is_contiguous(x)) x = flat(x);
    int64_t pieces = x.rows * parts(x.cols, PIECE), blocks = pieces < PIECES_MOST ? pieces : PIECES_MOST;
    if (blocks == 0) blocks = 1; /* the sum of nothing */
    double *partial = (double *)cuda_workspace(device, (size_t)blocks * sizeof *partial);
    if (!partial) return;
    cuda_launch(device, is_wide(x) ? reduce_kernel<RUN, SQUARES> : reduce_kernel<1, SQUARES>,
                dim3((unsigned)blocks), SUM_THREADS, BLOCK_SCRATCH_BYTES, partial, x);
    cuda_launch(device, join_kernel, dim3(1), SUM_THREADS, BLOCK_SCRATCH_BYTES, out, partial, (int)blocks);
}

void cuda_reduce_sum(struct device *device, struct tensor out, struct tensor x) {
    reduce<false>(device, out, x);
}

void cuda_reduce_sum_squares(struct device *device, struct tensor out, struct tensor x) {
    reduce<true>(device, out, x);
}

/* ---- Over rows --------------------------------------------------------------------------------------- */

static const int64_t GROUP_ROWS = 64, GROUPS_MOST = 256;

/* partial[group, c] = the sum over the group's rows of d_out, times the normalised x when there is an x. */
template <int WIDTH>
static __global__ void columns_kernel(float *partial, struct tensor d_out, struct tensor x,
                                      const float *inverse_rms) {
    int64_t col = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (col >= d_out.cols) return;
    int64_t group = blockIdx.y, groups = gridDim.y;
    float sum[WIDTH] = {0}, d[WIDTH], values[WIDTH];
    for (int64_t r = d_out.rows * group / groups; r < d_out.rows * (group + 1) / groups; r++) {
        load_run(d, d_out, r, col);
        if (x.data) {
            load_run(values, x, r, col);
            for (int i = 0; i < WIDTH; i++) d[i] *= rounded(values[i] * inverse_rms[r], x.dtype);
        }
        for (int i = 0; i < WIDTH; i++) sum[i] += d[i];
    }
    for (int i = 0; i < WIDTH; i++) partial[group * d_out.cols + col + i] = sum[i];
}

static __global__ void columns_join_kernel(float *out, const float *partial, int64_t cols, int groups) {
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    float sum = 0;
    for (int g = 0; g < groups; g++) sum += partial[g * cols + col];
    out[col] += sum;
}

static void sum_columns(struct device *device, struct tensor out, struct tensor d_out, struct tensor x,
                        struct tensor inverse_rms) {
    int64_t groups = parts(d_out.rows, GROUP_ROWS);
    if (groups > GROUPS_MOST) groups = GROUPS_MOST;
    float *partial = (float *)cuda_workspace(device, (size_t)(groups * d_out.cols) * sizeof *partial);
    if (!partial) return;
    bool wide = is_wide(d_out) && (!x.data || is_wide(x));
    struct row_grid g = row_grid(1, d_out.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? columns_kernel<RUN> : columns_kernel<1>, dim3(g.grid.x, (unsigned)groups),
                g.threads, 0, partial, d_out, x, (const float *)inverse_rms.data);
    g = row_grid(1, d_out.cols, 1);
    cuda_launch(device, columns_join_kernel, g.grid, g.threads, 0, (float *)out.data, partial, d_out.cols,
                (int)groups);
}

void cuda_sum_rows(struct device *device, struct tensor out, struct tensor x) {
    struct tensor none = {};
    sum_columns(device, out, x, none, none);
}

void cuda_norm_weight_gradient(struct device *device, struct tensor d_weight, struct tensor d_out,
                               struct tensor x, struct tensor inverse_rms) {
    sum_columns(device, d_weight, d_out, x, inverse_rms);
}
