/* Matrix products that cuBLASLt does not do: few rows, each row by itself; and the ends of products in f32.
 */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/block.cuh"

/* ---- Few rows: bound by reading the weights, which are read once ------------------------------------- */

enum {
    COLUMNS_A_BLOCK = 4, /* a warp each */
    FEW_ROWS = 16,       /* of a launch */
};

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

static void launch_few(struct device *device, struct tensor out, struct tensor a, struct tensor b,
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

/* ---- The same in bf16, on tensor cores --------------------------------------------------------------- */

enum {
    BF16_WARPS = 8,    /* of a block; they share its columns, and take turns along k */
    BF16_COLUMNS = 16, /* of a block */
    BF16_STEP = 32,    /* elements of k that a warp's lanes read at once, RUN each */
    BF16_STEPS = 4,    /* that a warp makes before the next one's turn */
    BF16_SUMS = 4,     /* of a lane, of each 8 rows */
};

/* RUN elements as they lie, or zeros; whether as a vector changes no value. */
static __device__ __forceinline__ uint4 run_bits(struct tensor t, int64_t row, int64_t col, bool wide) {
    uint4 bits = {0, 0, 0, 0};
    if (row >= t.rows || col >= t.cols) return bits;
    const unsigned short *at = (const unsigned short *)address(t, row, col);
    if (wide) return *(const uint4 *)at;
    bits.x = at[0] | (unsigned)at[1] << 16;
    bits.y = at[2] | (unsigned)at[3] << 16;
    bits.z = at[4] | (unsigned)at[5] << 16;
    bits.w = at[6] | (unsigned)at[7] << 16;
    return bits;
}

/* sum (16 columns of out by 8 rows) += what the lanes have read: of a pair of rows of b 16 bytes each, of a
 * row of a the same. Which two elements of k a lane has in a product is of no matter, as long as they are the
 * same of a and b. */
static __device__ __forceinline__ void add_products(float (&sum)[BF16_SUMS], const uint4 (&w)[2], uint4 x) {
    const unsigned first[] = {w[0].x, w[1].x, w[0].y, w[1].y}, second[] = {w[0].z, w[1].z, w[0].w, w[1].w};
    const unsigned low[] = {x.x, x.y}, high[] = {x.z, x.w};
    mma_bf16(sum, first, low);
    mma_bf16(sum, second, high);
}

/* out[m, n] of the warps' parts, which lie [warp, tile, sum, lane] (hardware.cuh says whose). */
template <int TILES>
static __device__ __forceinline__ void finish_narrow(struct tensor out, struct tensor bias, bool accumulate,
                                                     const float *part) {
    enum { PART = TILES * BF16_SUMS * WARP };
    for (int i = (int)threadIdx.x; i < PART; i += (int)blockDim.x) {
        int lane = i % WARP, which = i / WARP % BF16_SUMS;
        int64_t m = i / (BF16_SUMS * WARP) * 8 + lane % 4 * 2 + which % 2;
        int64_t n = (int64_t)blockIdx.x * BF16_COLUMNS + which / 2 * 8 + lane / 4;
        if (m >= out.rows || n >= out.cols) continue;
        float total = part[i];
        for (int warp = 1; warp < BF16_WARPS; warp++) total += part[warp * PART + i];
        if (bias.data) total += load(bias, 0, n);
        if (accumulate) total += load(out, m, n);
        store(out, m, n, total);
    }
}

/* Up to 8 TILES rows. In which order the products of an element are summed depends on k alone, and not on
 * READ, how many steps' reads are under way together. */
template <int TILES, int READ>
static __global__ void __launch_bounds__(BF16_WARPS *WARP, 2 /* blocks at least */)
    narrow_bf16_kernel(struct tensor out, struct tensor a, struct tensor b, struct tensor bias,
                       bool accumulate, bool wide_a) {
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int64_t row = lane / 4, n = (int64_t)blockIdx.x * BF16_COLUMNS + row;
    float sum[TILES][BF16_SUMS] = {}, *part = shared_floats();
    for (int64_t k = warp * BF16_STEPS * BF16_STEP + lane % 4 * RUN; k - lane % 4 * RUN < b.cols;
         k += BF16_WARPS * BF16_STEPS * BF16_STEP) {
#pragma unroll
        for (int begin = 0; begin < BF16_STEPS; begin += READ) {
            uint4 w[READ][2], x[READ][TILES];
#pragma unroll
            for (int s = 0; s < READ; s++) {
                int64_t at = k + (begin + s) * BF16_STEP;
                for (int i = 0; i < 2; i++) w[s][i] = run_bits(b, n + i * 8, at, true);
                for (int i = 0; i < TILES; i++) x[s][i] = run_bits(a, row + i * 8, at, wide_a);
            }
#pragma unroll
            for (int s = 0; s < READ; s++)
                for (int i = 0; i < TILES; i++) add_products(sum[i], w[s], x[s][i]);
        }
    }
    for (int i = 0; i < TILES * BF16_SUMS; i++)
        part[(warp * TILES * BF16_SUMS + i) * WARP + lane] = sum[i / BF16_SUMS][i % BF16_SUMS];
    __syncthreads();
    finish_narrow<TILES>(out, bias, accumulate, part);
}

template <int TILES, int READ>
static void launch_bf16(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                        struct matmul_options options) {
    const size_t shared = sizeof(float) * BF16_WARPS * TILES * BF16_SUMS * WARP;
    cuda_launch(device, narrow_bf16_kernel<TILES, READ>, dim3((unsigned)parts(out.cols, BF16_COLUMNS)),
                BF16_WARPS * WARP, shared, out, a, b, options.bias, options.accumulate, is_wide(a));
}

/* ------------------------------------------------------------------------------------------------------ */

void cuda_narrow_product(struct device *device, struct tensor out, struct tensor a, struct tensor b,
                         struct matmul_options options) {
    /* However a lies: a row has the same bits alone and among others. */
    if (a.dtype == DTYPE_BF16 && b.dtype == DTYPE_BF16 && is_wide(b)) {
        if (out.rows <= 8)
            launch_bf16<1, 4>(device, out, a, b, options);
        else if (out.rows <= 16)
            launch_bf16<2, 4>(device, out, a, b, options);
        else if (out.rows <= 32)
            launch_bf16<4, 2>(device, out, a, b, options);
        else
            launch_bf16<8, 1>(device, out, a, b, options);
        return;
    }
    for (int64_t first = 0; first < out.rows; first += FEW_ROWS) {
        int64_t count = out.rows - first;
        if (count > FEW_ROWS) count = FEW_ROWS;
        launch_few(device, tensor_rows(out, first, count), tensor_rows(a, first, count), b, options);
    }
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
