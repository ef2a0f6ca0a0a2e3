/* Rotary positions. */
#include "tensor/cuda/cuda.h"

#include "tensor/cuda/values.cuh"

static __global__ void rope_table_kernel(struct tensor cosine, struct tensor sine, struct tensor positions,
                                         const int32_t *axis, const float *inverse_frequency,
                                         unsigned blocks_a_row, struct cuda_fault *fault) {
    struct place p = place_in(blocks_a_row, 1);
    if (p.col >= cosine.cols || is_fault(fault, FAULT_AXIS, p.col, axis[p.col], 0, positions.rows)) return;
    int32_t position = ((const int32_t *)positions.data)[axis[p.col] * positions.stride + p.row];
    float angle = (float)position * inverse_frequency[p.col]; /* in f32, as the reference rounds it */
    store(cosine, p.row, p.col, cosf(angle));
    store(sine, p.row, p.col, sinf(angle));
}

void cuda_rope_table(struct device *device, struct tensor cosine, struct tensor sine, struct tensor positions,
                     struct tensor axis, struct tensor inverse_frequency) {
    struct row_grid g = row_grid(cosine.rows, cosine.cols, 1);
    cuda_launch(device, rope_table_kernel, g.grid, g.threads, 0, cosine, sine, positions,
                (const int32_t *)axis.data, (const float *)inverse_frequency.data, g.blocks_a_row,
                cuda_state(device)->fault);
}

/* A thread turns WIDTH pairs of one head; heads follow each other in a row's threads, as one has few pairs.
 */
template <int WIDTH>
static __global__ void rope_kernel(struct tensor x, struct tensor cosine, struct tensor sine, float direction,
                                   int heads, unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    unsigned half = (unsigned)cosine.cols, head = (unsigned)p.col / half, col = (unsigned)p.col % half;
    int64_t first = (int64_t)head * 2 * half + col;
    if (head >= (unsigned)heads) return;
    float a[WIDTH], b[WIDTH], c[WIDTH], s[WIDTH];
    load_run(a, x, p.row, first);
    load_run(b, x, p.row, first + half);
    load_run(c, cosine, p.row, col);
    load_run(s, sine, p.row, col);
    for (int i = 0; i < WIDTH; i++) {
        float turn = direction * s[i], one = a[i], two = b[i];
        a[i] = one * c[i] - two * turn;
        b[i] = two * c[i] + one * turn;
    }
    store_run(x, p.row, first, a);
    store_run(x, p.row, first + half, b);
}

void cuda_rope_forward(struct device *device, struct tensor x, struct tensor cosine, struct tensor sine,
                       int heads, bool inverse) {
    bool wide = is_wide(tensor_cols(x, 0, cosine.cols)) && is_wide(cosine) && is_wide(sine);
    struct row_grid g = row_grid(x.rows, heads * cosine.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? rope_kernel<RUN> : rope_kernel<1>, g.grid, g.threads, 0, x, cosine, sine,
                inverse ? -1.0f : 1.0f, heads, g.blocks_a_row);
}
