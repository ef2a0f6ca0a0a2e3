/* The optimizer's step: one pass over memory, rounded operation by operation as torch.optim.AdamW does it. */
#include "tensor/cuda/cuda.h"

#include <math.h>

#include "tensor/cuda/values.cuh"

/* What a step has in common for all elements; each computed in double, then rounded. */
struct factors {
    float gradient_scale;
    float keep;                     /* 1 - learning rate * decay */
    float first_weight;             /* 1 - beta1 */
    float second_keep, second_gain; /* beta2, 1 - beta2 */
    float second_root;              /* sqrt(1 - beta2^step) */
    float epsilon;
    float step_size; /* learning rate / (1 - beta1^step) */
};

static struct factors factors_of(struct adamw_options options) {
    double first_rest = 1 - pow(options.beta1, (double)options.step);
    double second_rest = 1 - pow(options.beta2, (double)options.step);
    struct factors f;
    f.gradient_scale = (float)options.gradient_scale;
    f.keep = (float)(1 - options.learning_rate * options.weight_decay);
    f.first_weight = (float)(1 - options.beta1);
    f.second_keep = (float)options.beta2;
    f.second_gain = (float)(1 - options.beta2);
    f.second_root = (float)sqrt(second_rest);
    f.epsilon = (float)options.epsilon;
    f.step_size = (float)(options.learning_rate / first_rest);
    return f;
}

/* torch's lerp starts from the nearer end. */
static __device__ __forceinline__ float lerp(float from, float to, float weight) {
    float difference = __fadd_rn(to, -from);
    return weight < 0.5f ? __fmaf_rn(weight, difference, from) : __fmaf_rn(weight - 1.0f, difference, to);
}

template <int WIDTH>
static __global__ void adamw_kernel(struct tensor weight, struct tensor first, struct tensor second,
                                    struct tensor gradient, struct tensor copy, struct factors f,
                                    unsigned blocks_a_row) {
    struct place p = place_in(blocks_a_row, WIDTH);
    if (p.col >= weight.cols) return;
    float w[WIDTH], m[WIDTH], v[WIDTH], g[WIDTH], zeros[WIDTH] = {0};
    load_run(w, weight, p.row, p.col);
    load_run(m, first, p.row, p.col);
    load_run(v, second, p.row, p.col);
    load_run(g, gradient, p.row, p.col);
    for (int i = 0; i < WIDTH; i++) {
        float scaled = __fmul_rn(g[i], f.gradient_scale);
        m[i] = lerp(m[i], scaled, f.first_weight);
        v[i] = __fmaf_rn(__fmul_rn(f.second_gain, scaled), scaled, __fmul_rn(v[i], f.second_keep));
        float root = __fadd_rn(__fdiv_rn(__fsqrt_rn(v[i]), f.second_root), f.epsilon);
        w[i] = __fadd_rn(__fmul_rn(w[i], f.keep), __fdiv_rn(__fmul_rn(-f.step_size, m[i]), root));
    }
    store_run(weight, p.row, p.col, w);
    store_run(first, p.row, p.col, m);
    store_run(second, p.row, p.col, v);
    store_run(gradient, p.row, p.col, zeros);
    if (copy.data) store_run(copy, p.row, p.col, w);
}

void cuda_adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                     struct tensor gradient, struct tensor copy, struct adamw_options options) {
    if (is_contiguous(weight) && is_contiguous(first) && is_contiguous(second) && is_contiguous(gradient) &&
        is_contiguous(copy)) {
        weight = flat(weight), first = flat(first), second = flat(second), gradient = flat(gradient);
        copy = flat(copy);
    }
    bool wide = is_wide(weight) && is_wide(first) && is_wide(second) && is_wide(gradient) &&
                (!copy.data || is_wide(copy));
    struct row_grid g = row_grid(weight.rows, weight.cols, wide ? RUN : 1);
    cuda_launch(device, wide ? adamw_kernel<RUN> : adamw_kernel<1>, g.grid, g.threads, 0, weight, first,
                second, gradient, copy, factors_of(options), g.blocks_a_row);
}
