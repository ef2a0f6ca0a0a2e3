/* Norms, activations and rotary positions. */
#include <math.h>

#include "tensor/cpu/cpu.h"

static void keep_inverse(struct tensor inverse_rms, int64_t row, float value) {
    if (inverse_rms.data) ((float *)inverse_rms.data)[row] = value;
}

void cpu_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms, struct tensor x,
                         struct tensor weight, float epsilon) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++) {
        float inverse = row->rmsnorm(tensor_row(out, r), out.dtype, tensor_row(x, r), x.dtype, weight.data,
                                     x.cols, epsilon);
        keep_inverse(inverse_rms, r, inverse);
    }
}

void cpu_add_rmsnorm_forward(struct device *device, struct tensor out, struct tensor inverse_rms,
                             struct tensor residual, struct tensor x, struct tensor weight, float epsilon) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++) {
        void *sum = tensor_row(residual, r); /* stays in the cache between the two */
        row->add(sum, residual.dtype, tensor_row(x, r), x.dtype, x.cols);
        float inverse =
            row->rmsnorm(tensor_row(out, r), out.dtype, sum, residual.dtype, weight.data, x.cols, epsilon);
        keep_inverse(inverse_rms, r, inverse);
    }
}

void cpu_swiglu_forward(struct device *device, struct tensor out, struct tensor gate_up) {
    const struct row_kernels *row = cpu_kernels(device)->row;
    struct tensor up = tensor_cols(gate_up, out.cols, out.cols);
#pragma omp parallel for if (worth_threads(gate_up))
    for (int64_t r = 0; r < out.rows; r++)
        row->swiglu(tensor_row(out, r), out.dtype, tensor_row(gate_up, r), tensor_row(up, r), gate_up.dtype,
                    out.cols);
}

void cpu_gelu_forward(struct device *device, struct tensor out, struct tensor x) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t r = 0; r < x.rows; r++)
        row->gelu(tensor_row(out, r), out.dtype, tensor_row(x, r), x.dtype, x.cols);
}

void cpu_rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                    struct tensor axis, struct tensor inverse_frequency) {
    const int32_t *axes = axis.data;
    const float *frequency = inverse_frequency.data;
    for (int64_t i = 0; i < axis.cols; i++) {
        if (axes[i] < 0 || axes[i] >= positions.rows) {
            device_fail(device, "rope_table: axis %d, not in [0, %lld)", (int)axes[i],
                        (long long)positions.rows);
            return;
        }
    }
#pragma omp parallel for if (worth_threads(cosine))
    for (int64_t t = 0; t < cosine.rows; t++) {
        float *c = tensor_row(cosine, t), *s = tensor_row(sine, t);
        for (int64_t i = 0; i < cosine.cols; i++) {
            int32_t position = ((const int32_t *)tensor_row(positions, axes[i]))[t];
            float angle = (float)position * frequency[i]; /* in f32, as the reference rounds it */
            c[i] = cosf(angle);
            s[i] = sinf(angle);
        }
    }
}

void cpu_rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine,
                      int heads, bool inverse) {
    const struct row_kernels *row = cpu_kernels(device)->row;
#pragma omp parallel for if (worth_threads(x))
    for (int64_t t = 0; t < x.rows; t++)
        row->rope(tensor_row(x, t), x.dtype, tensor_row(cosine, t), tensor_row(sine, t),
                  inverse ? -1.0f : 1.0f, heads, cosine.cols);
}
