/* RMSNorm: a block a row. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/block.cuh"

/* The row is read twice, the second time from the cache. */
template <int WIDTH>
static __global__ void norm_kernel(struct tensor out, float *inverse_rms, struct tensor residual,
                                   struct tensor x, const float *weight, float epsilon) {
    int64_t row = blockIdx.x, step = (int64_t)blockDim.x * WIDTH;
    float sum = 0, values[WIDTH], more[WIDTH];
    for (int64_t c = threadIdx.x * WIDTH; c < out.cols; c += step) {
        load_run(values, residual, row, c);
        if (x.data) {
            load_run(more, x, row, c);
            for (int i = 0; i < WIDTH; i++) values[i] = rounded(values[i] + more[i], residual.dtype);
            store_run(residual, row, c, values);
        }
        for (int i = 0; i < WIDTH; i++) sum += values[i] * values[i];
    }
    sum = block_join(sum, sum_of(), shared_floats());
    float inverse = 1 / sqrtf(sum / (float)out.cols + epsilon);
    for (int64_t c = threadIdx.x * WIDTH; c < out.cols; c += step) {
        load_run(values, residual, row, c); /* each thread what it stored itself */
        for (int i = 0; i < WIDTH; i++)
            values[i] = rounded(values[i] * inverse, residual.dtype) * weight[c + i];
        store_run(out, row, c, values);
    }
    if (inverse_rms && threadIdx.x == 0) inverse_rms[row] = inverse;
}

void cuda_add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                              struct tensor residual, struct tensor x, struct tensor weight, float epsilon) {
    bool wide = is_wide(out) && is_wide(residual) && (!x.data || is_wide(x));
    struct row_grid g = row_grid(1, out.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? norm_kernel<RUN> : norm_kernel<1>, dim3((unsigned)out.rows), g.threads,
                BLOCK_SCRATCH_BYTES, out, (float *)inverse_rms.data, residual, x, (const float *)weight.data,
                epsilon);
}

void cuda_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                          struct tensor x, struct tensor weight, float epsilon) {
    struct tensor none = {};
    cuda_add_rmsnorm_forward(device, out, inverse_rms, x, none, weight, epsilon);
}

/* With n = x * inverse and g = d_out * weight: d_x += inverse * (g - n * mean(g * n)). */
template <int WIDTH>
static __global__ void norm_backward_kernel(struct tensor d_x, struct tensor d_out, struct tensor x,
                                            const float *weight, const float *inverse_rms) {
    int64_t row = blockIdx.x, step = (int64_t)blockDim.x * WIDTH;
    float sum = 0, values[WIDTH], d[WIDTH], old[WIDTH], inverse = inverse_rms[row];
    for (int64_t c = threadIdx.x * WIDTH; c < x.cols; c += step) {
        load_run(values, x, row, c);
        load_run(d, d_out, row, c);
        for (int i = 0; i < WIDTH; i++) sum += d[i] * weight[c + i] * values[i];
    }
    float slope = block_join(sum, sum_of(), shared_floats()) / (float)x.cols * inverse * inverse;
    for (int64_t c = threadIdx.x * WIDTH; c < x.cols; c += step) {
        load_run(values, x, row, c);
        load_run(d, d_out, row, c);
        load_run(old, d_x, row, c);
        for (int i = 0; i < WIDTH; i++) old[i] += inverse * (d[i] * weight[c + i] - values[i] * slope);
        store_run(d_x, row, c, old);
    }
}

/* The weights' gradient first: d_x may be d_out. */
void cuda_rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight,
                           struct tensor d_out, struct tensor x, struct tensor weight,
                           struct tensor inverse_rms) {
    if (d_weight.data) cuda_norm_weight_gradient(device, d_weight, d_out, x, inverse_rms);
    bool wide = is_wide(d_x) && is_wide(d_out) && is_wide(x);
    struct row_grid g = row_grid(1, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? norm_backward_kernel<RUN> : norm_backward_kernel<1>, dim3((unsigned)x.rows),
                g.threads, BLOCK_SCRATCH_BYTES, d_x, d_out, x, (const float *)weight.data,
                (const float *)inverse_rms.data);
}
