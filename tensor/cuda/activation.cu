/* SwiGLU and GELU, element by element. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/values.cuh"

/* ---- SwiGLU: silu(g) = g s with s = 1 / (1 + e^-g), and silu'(g) = s (1 + g (1 - s)) ------------------ */

template <int WIDTH>
static __global__ void swiglu_kernel(struct tensor out, struct tensor gate_up, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= out.cols) return;
    float gate[WIDTH], up[WIDTH];
    load_run(gate, gate_up, p.row, p.col);
    load_run(up, gate_up, p.row, out.cols + p.col);
    for (int i = 0; i < WIDTH; i++) up[i] *= rounded(gate[i] / (1 + expf(-gate[i])), gate_up.dtype);
    store_run(out, p.row, p.col, up);
}

void cuda_swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up) {
    bool wide = is_wide(out) && is_wide(tensor_cols(gate_up, 0, out.cols));
    struct row_grid g = row_grid(out.rows, out.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? swiglu_kernel<RUN> : swiglu_kernel<1>, g.grid, g.threads, 0, out, gate_up,
                g.blocks_a_row);
}

/* A thread has read its elements when it writes: d_gate_up may be gate_up. */
template <int WIDTH>
static __global__ void swiglu_backward_kernel(struct tensor d_gate_up, struct tensor d_out,
                                              struct tensor gate_up, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= d_out.cols) return;
    float gate[WIDTH], up[WIDTH], d[WIDTH];
    load_run(gate, gate_up, p.row, p.col);
    load_run(up, gate_up, p.row, d_out.cols + p.col);
    load_run(d, d_out, p.row, p.col);
    for (int i = 0; i < WIDTH; i++) {
        float g = gate[i], s = 1 / (1 + expf(-g));
        gate[i] = d[i] * up[i] * (s * (1 + g * (1 - s)));
        up[i] = d[i] * rounded(g * s, gate_up.dtype);
    }
    store_run(d_gate_up, p.row, p.col, gate);
    store_run(d_gate_up, p.row, d_out.cols + p.col, up);
}

void cuda_swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                          struct tensor gate_up) {
    bool wide = is_wide(d_out) && is_wide(tensor_cols(gate_up, 0, d_out.cols)) &&
                is_wide(tensor_cols(d_gate_up, 0, d_out.cols));
    struct row_grid g = row_grid(d_out.rows, d_out.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? swiglu_backward_kernel<RUN> : swiglu_backward_kernel<1>, g.grid, g.threads, 0,
                d_gate_up, d_out, gate_up, g.blocks_a_row);
}

/* ---- GELU -------------------------------------------------------------------------------------------- */

static __device__ __forceinline__ float normal_below(float x) {
    return 0.5f * (1 + erff(x * 0.70710678118654752f));
}

template <int WIDTH>
static __global__ void gelu_kernel(struct tensor out, struct tensor x, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= x.cols) return;
    float values[WIDTH];
    load_run(values, x, p.row, p.col);
    for (int i = 0; i < WIDTH; i++) values[i] *= normal_below(values[i]);
    store_run(out, p.row, p.col, values);
}

void cuda_gelu_forward(struct device *device, struct tensor out, struct tensor x) {
    bool wide = is_wide(out) && is_wide(x);
    struct row_grid g = row_grid(x.rows, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? gelu_kernel<RUN> : gelu_kernel<1>, g.grid, g.threads, 0, out, x,
                g.blocks_a_row);
}

template <int WIDTH>
static __global__ void gelu_backward_kernel(struct tensor d_x, struct tensor d_out, struct tensor x,
                                            unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= x.cols) return;
    float values[WIDTH], d[WIDTH];
    load_run(values, x, p.row, p.col);
    load_run(d, d_out, p.row, p.col);
    for (int i = 0; i < WIDTH; i++) {
        float v = values[i], density = 0.39894228040143268f * expf(-0.5f * v * v);
        d[i] *= normal_below(v) + v * density;
    }
    store_run(d_x, p.row, p.col, d);
}

void cuda_gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x) {
    bool wide = is_wide(d_x) && is_wide(d_out) && is_wide(x);
    struct row_grid g = row_grid(x.rows, x.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? gelu_backward_kernel<RUN> : gelu_backward_kernel<1>, g.grid, g.threads, 0, d_x,
                d_out, x, g.blocks_a_row);
}
