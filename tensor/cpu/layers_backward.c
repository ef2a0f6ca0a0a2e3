/* The gradients of norms and activations. */
#include "tensor/cpu/cpu.h"

static struct typed_row row_of(struct tensor t, int64_t row) {
    return (struct typed_row){tensor_row(t, row), t.dtype};
}

void cpu_rmsnorm_backward(struct device *device, struct tensor d_x, struct tensor d_weight,
                          struct tensor d_out, struct tensor x, struct tensor weight,
                          struct tensor inverse_rms) {
    const struct gradient_kernels *gradient = cpu_kernels(device)->gradient;
    const float *inverses = inverse_rms.data;
    struct column_sums sums = {.groups = column_groups(x.rows)};
    if (d_weight.data && !column_sums_start(device, &sums, x.rows, x.cols)) return;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t g = 0; g < sums.groups; g++) {
        float *partial = d_weight.data ? column_sums_of_group(&sums, g) : NULL;
        int64_t end = x.rows * (g + 1) / sums.groups;
        for (int64_t r = x.rows * g / sums.groups; r < end; r++)
            gradient->rmsnorm(row_of(d_x, r), partial, row_of(d_out, r), row_of(x, r), weight.data,
                              inverses[r], x.cols);
    }
    if (d_weight.data) column_sums_finish(device, &sums, d_weight);
}

void cpu_swiglu_backward(struct device *device, struct tensor d_gate_up, struct tensor d_out,
                         struct tensor gate_up) {
    const struct gradient_kernels *gradient = cpu_kernels(device)->gradient;
    struct tensor up = tensor_cols(gate_up, d_out.cols, d_out.cols);
    struct tensor d_up = tensor_cols(d_gate_up, d_out.cols, d_out.cols);
#pragma omp parallel for if (worth_threads(gate_up))
    for (int64_t r = 0; r < d_out.rows; r++)
        gradient->swiglu(row_of(d_gate_up, r), row_of(d_up, r), row_of(d_out, r), row_of(gate_up, r),
                         row_of(up, r), d_out.cols);
}

void cpu_gelu_backward(struct device *device, struct tensor d_x, struct tensor d_out, struct tensor x) {
    const struct gradient_kernels *gradient = cpu_kernels(device)->gradient;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        gradient->gelu(row_of(d_x, r), row_of(d_out, r), row_of(x, r), x.cols);
}
