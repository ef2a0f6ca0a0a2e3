/* Matrix products that cuBLASLt does not do: few rows, each row by itself; and the ends of products in f32.
 */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/block.cuh"

/* ---- Few rows: bound by reading the weights, which are read once ------------------------------------- */

enum { COLUMNS_A_BLOCK = 4 }; /* a warp each */

/* RUN elements from column `col` on, zeros past the end; whether as vectors changes no value. */
static __device__ __forceinline__ void load_piece(float (&x)[RUN], struct tensor t, int64_t row, int64_t col,
                                                  bool wide) {
    if (wide) {
        load_run(x, t, row, col);
    } else {
        for (int i = 0; i < RUN; i++) x[i] = col + i < t.cols ? load(t, row, col + i) : 0;
    }
}

/* A lane sums pieces of RUN products in a fixed order, whatever ROWS and the alignment are; then the lanes
 * are joined. */
template <int ROWS>
static __global__ void narrow_kernel(struct tensor out, struct tensor a, struct tensor b, struct tensor bias,
                                     bool accumulate, bool wide_a, bool wide_b) {
    int lane = (int)threadIdx.x % WARP;
    int64_t n = (int64_t)blockIdx.x * COLUMNS_A_BLOCK + threadIdx.x / WARP;
    if (n >= out.cols) return; /* the whole warp */
    float sum[ROWS] = {0}, x[RUN], w[RUN];
    for (int64_t k = lane * RUN; k < b.cols; k += WARP * RUN) {
        load_piece(w, b, n, k, wide_b);
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
            if (m >= out.rows) break;
            load_piece(x, a, m, k, wide_a);
            for (int i = 0; i < RUN; i++) sum[m] = __fmaf_rn(x[i], w[i], sum[m]);
        }
    }
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
        if (m >= out.rows) break;
        float total = warp_join(sum[m], sum_of());
        if (bias.data) total += load(bias, 0, n);
        if (lane != 0) continue;
        if (accumulate) total += load(out, m, n);
        store(out, m, n, total);
    }
}

void cuda_narrow_product(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                         struct matmul_options options) {
    void (*kernel)(struct tensor, struct tensor, struct tensor, struct tensor, bool, bool, bool) =
        out.rows <= 1   ? narrow_kernel<1>
        : out.rows <= 2 ? narrow_kernel<2>
        : out.rows <= 4 ? narrow_kernel<4>
        : out.rows <= 8 ? narrow_kernel<8>
                        : narrow_kernel<16>;
    cuda_launch(device, kernel, dim3((unsigned)parts(out.cols, COLUMNS_A_BLOCK)), COLUMNS_A_BLOCK * WARP, 0,
                out, a, b, options.bias, options.accumulate, is_wide(a), is_wide(b));
}

/* ---- The end of a product ---------------------------------------------------------------------------- */

static __global__ void finish_kernel(struct tensor out, struct tensor product, struct tensor bias,
                                     bool accumulate, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, 1);
    if (p.col >= out.cols) return;
    float value = product.data ? load(product, p.row, p.col) : 0;
    if (bias.data) value += load(bias, 0, p.col);
    if (accumulate) value += load(out, p.row, p.col);
    store(out, p.row, p.col, value);
}

void cuda_finish_product(struct device *device, struct tensor out, struct tensor product,
                         struct matmul_options options) {
    struct row_grid g = row_grid(out.rows, out.cols, 1);
    cuda_launch(device, finish_kernel, g.grid, g.threads, 0, out, product, options.bias, options.accumulate,
                g.blocks_a_row);
}
