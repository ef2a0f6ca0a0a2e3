/* The optimizer's step: one pass over memory, in pieces that threads share. */
#include <math.h>

#include "tensor/cpu/cpu.h"

enum { PIECE = 16384 };

static struct adamw_factors factors_of(struct adamw_options options) {
    double first_rest = 1 - pow(options.beta1, (double)options.step);
    double second_rest = 1 - pow(options.beta2, (double)options.step);
    return (struct adamw_factors){
        .gradient_scale = (float)options.gradient_scale,
        .keep = (float)(1 - options.learning_rate * options.weight_decay),
        .first_weight = (float)(1 - options.beta1),
        .second_keep = (float)options.beta2,
        .second_gain = (float)(1 - options.beta2),
        .second_root = (float)sqrt(second_rest),
        .epsilon = (float)options.epsilon,
        .step_size = (float)(options.learning_rate / first_rest),
    };
}

/* The same elements in one row, if no two rows have a gap between them. */
static struct tensor flat(struct tensor t, bool contiguous) {
    return contiguous && t.data ? tensor_at(t.data, t.dtype, 1, t.rows * t.cols) : t;
}

void cpu_adamw_step(struct device *device, struct tensor weight, struct tensor first, struct tensor second,
                    struct tensor gradient, struct tensor copy, struct adamw_options options) {
    const struct adamw_kernels *kernels = cpu_kernels(device)->adamw;
    const struct adamw_factors factors = factors_of(options);
    bool contiguous = weight.stride == weight.cols && first.stride == first.cols &&
                      second.stride == second.cols && gradient.stride == gradient.cols &&
                      (!copy.data || copy.stride == copy.cols);
    weight = flat(weight, contiguous), first = flat(first, contiguous), second = flat(second, contiguous);
    gradient = flat(gradient, contiguous), copy = flat(copy, contiguous);
    int64_t pieces = (weight.cols + PIECE - 1) / PIECE;
#pragma omp parallel for if (worth_threads(weight))
    for (int64_t i = 0; i < weight.rows * pieces; i++) {
        int64_t row = i / pieces, begin = i % pieces * PIECE;
        int64_t count = weight.cols - begin < PIECE ? weight.cols - begin : PIECE;
        struct adamw_arrays arrays = {
            (float *)tensor_row(weight, row) + begin, (float *)tensor_row(first, row) + begin,
            (float *)tensor_row(second, row) + begin, (float *)tensor_row(gradient, row) + begin, NULL};
        if (copy.data) arrays.copy = (uint16_t *)tensor_row(copy, row) + begin;
        kernels->step(arrays, &factors, count);
    }
}
