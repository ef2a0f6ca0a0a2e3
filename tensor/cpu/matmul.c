/* Matrix products. */
#include "tensor/cpu/cpu.h"

#include "tensor/float16.h"

static float element(struct tensor t, int64_t row, int64_t col) {
    const void *at = tensor_row(t, row);
    return t.dtype == DTYPE_F32 ? ((const float *)at)[col] : float_from_bf16(((const uint16_t *)at)[col]);
}

void cpu_matmul(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                struct matmul_options options) {
    (void)device;
    int64_t depth = options.transpose_a ? a.rows : a.cols;
#pragma omp parallel for collapse(2)
    for (int64_t m = 0; m < out.rows; m++) {
        for (int64_t n = 0; n < out.cols; n++) {
            float sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += (options.transpose_a ? element(a, k, m) : element(a, m, k)) *
                       (options.transpose_b ? element(b, n, k) : element(b, k, n));
            if (options.bias.data) sum += ((const float *)options.bias.data)[n];
            if (options.accumulate) sum += element(out, m, n);
            if (out.dtype == DTYPE_F32)
                ((float *)tensor_row(out, m))[n] = sum;
            else
                ((uint16_t *)tensor_row(out, m))[n] = float_to_bf16(sum);
        }
    }
}
