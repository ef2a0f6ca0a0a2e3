#include "model/blocks.h"

#include <math.h>

/* Rows of the MLP computed at once: enough for the matrix units, few enough for the caches. */
enum { MLP_ROWS = 1024 };

void linear_forward(struct device *device, struct tensor out, struct tensor x, struct tensor weight,
                    struct tensor bias) {
    matmul(device, out, x, weight, (struct matmul_options){.transpose_b = true, .bias = bias});
}

void mlp_forward(struct device *device, struct arena *arena, struct tensor out, struct tensor x,
                 const struct linear *gate, const struct linear *up, const struct linear *down) {
    if (x.rows == 0) return;
    struct arena_mark mark = arena_mark(arena);
    int64_t wide = gate->weight.rows;
    int64_t parts = (x.rows + MLP_ROWS - 1) / MLP_ROWS, rows = (x.rows + parts - 1) / parts;
    struct tensor both = arena_tensor(arena, x.dtype, rows, 2 * wide);
    struct tensor product = arena_tensor(arena, x.dtype, rows, wide);
    for (int64_t first = 0; first < x.rows; first += rows) {
        int64_t count = x.rows - first < rows ? x.rows - first : rows;
        struct tensor in = tensor_rows(x, first, count), gate_up = tensor_rows(both, 0, count);
        linear_forward(device, tensor_cols(gate_up, 0, wide), in, gate->weight, gate->bias);
        linear_forward(device, tensor_cols(gate_up, wide, wide), in, up->weight, up->bias);
        swiglu_forward(device, tensor_rows(product, 0, count), gate_up);
        linear_forward(device, tensor_rows(out, first, count), tensor_rows(product, 0, count), down->weight,
                       down->bias);
    }
    arena_release(arena, mark);
}

void rope_frequencies(double theta, int64_t width, float *frequencies) {
    for (int64_t i = 0; i < width / 2; i++) {
        float exponent = (float)(2 * i) / (float)width;
        frequencies[i] = 1.0f / (float)pow(theta, (double)exponent);
    }
}
