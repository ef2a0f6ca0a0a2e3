/* The optimizer's step against torch.optim.AdamW (tests/reference/adamw.py, whose layout and runs are
 * repeated here), and against its formula in double. */
#include "tests/tensor/support.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tensor/float16.h"

enum { COUNT = 203, STEPS = 4, RUNS = 3 };

static const struct adamw_options runs[RUNS] = {
    {5e-5, 0.9, 0.999, 1e-8, 0, 1, 1},
    {1e-3, 0.9, 0.95, 1e-8, 0.1, 0.37, 1},
    {1e-2, 0.3, 0.99, 1e-6, 0.01, 1, 1},
};

static const float *golden;

/* Within a few units in the last place of the value, or of the largest that a step adds (`step`); where the
 * processor has multiply-add, as the reference used, at most `allowed` of the values differ at all. */
static void assert_nearly_same(struct bench *bench, struct tensor t, const float *want, double step,
                               int allowed) {
    double *got = values_read(bench, t);
    int different = 0;
    for (int i = 0; i < COUNT; i++) {
        different += got[i] != (double)want[i];
        if (!(fabs(got[i] - (double)want[i]) <= 0x1p-20 * (fabs((double)want[i]) + step)))
            fail_msg("element %d is %.9g, not %.9g", i, got[i], (double)want[i]);
    }
    if (different > allowed && !strstr(device_describe(&bench->device).name, "generic"))
        fail_msg("%d of %d differ", different, COUNT);
    free(got);
}

static void equals_torch_on(struct bench *bench) {
    const float *at = golden;
    for (int run = 0; run < RUNS; run++) {
        struct arena *arena = &bench->arena;
        struct tensor weight = arena_upload(arena, DTYPE_F32, 1, COUNT, at);
        struct tensor first = arena_tensor(arena, DTYPE_F32, 1, COUNT);
        struct tensor second = arena_tensor(arena, DTYPE_F32, 1, COUNT);
        struct tensor copy = arena_tensor(arena, DTYPE_BF16, 1, COUNT);
        struct tensor rounded = arena_tensor(arena, DTYPE_BF16, 1, COUNT);
        clear(&bench->device, first);
        clear(&bench->device, second);
        struct adamw_options options = runs[run];
        at += COUNT;
        for (; options.step <= STEPS; options.step++, at += 2 * COUNT) {
            struct tensor gradient = arena_upload(arena, DTYPE_F32, 1, COUNT, at);
            adamw_step(&bench->device, weight, first, second, gradient, copy, options);
            /* The square root that torch takes from its library is the rounded one in 6 cases of 7 only. */
            assert_nearly_same(bench, weight, at + COUNT, options.learning_rate, 20 * (int)options.step);
            double zeros[COUNT] = {0};
            assert_values(bench, gradient, zeros, 0, 0);
            convert(&bench->device, rounded, weight);
            assert_same_bits(bench, copy, rounded);
        }
        assert_nearly_same(bench, first, at, 10, 0);
        assert_nearly_same(bench, second, at + COUNT, 100, 0);
        at += 2 * COUNT;
    }
}

static void equals_torch(void **state) {
    (void)state;
    struct file_map map;
    struct error err;
    if (file_map("tests/golden/tensor/adamw.bin", &map, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(map.size, (size_t)RUNS * (3 + 2 * STEPS) * COUNT * sizeof *golden);
    golden = (const float *)(const void *)map.data;
    on_every_device(equals_torch_on);
    file_unmap(&map);
}

/* Views with gaps, rows enough for threads; the third step of moments that are there already. */
static void check_formula(struct bench *bench, int64_t rows, int64_t cols, int64_t pad, bool copied) {
    struct arena_mark mark = arena_mark(&bench->arena);
    const struct adamw_options o = {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.5, 3};
    struct tensor weight = random_tensor(bench, DTYPE_F32, rows, cols, pad, 1, 1);
    struct tensor first = random_tensor(bench, DTYPE_F32, rows, cols, 0, 1, 2);
    struct tensor second = random_tensor(bench, DTYPE_F32, rows, cols, pad, 1, 3);
    struct tensor gradient = random_tensor(bench, DTYPE_F32, rows, cols, pad, 1, 4), none = {0};
    struct tensor copy = random_tensor(bench, DTYPE_BF16, rows, cols, 1, 1, 5);
    add(&bench->device, second, second);
    double *w = values_read(bench, weight), *m = values_read(bench, first), *g = values_read(bench, gradient);
    double *roots = values_read(bench, second);
    for (int64_t i = 0; i < rows * cols; i++) roots[i] = fabs(roots[i]);
    float *squares = malloc((size_t)(rows * cols + 1) * sizeof *squares);
    for (int64_t i = 0; i < rows * cols; i++) squares[i] = (float)roots[i];
    convert(&bench->device, second, arena_upload(&bench->arena, DTYPE_F32, rows, cols, squares));
    for (int64_t i = 0; i < rows * cols; i++) {
        m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i] * o.gradient_scale;
        double v = o.beta2 * roots[i] + (1 - o.beta2) * pow(g[i] * o.gradient_scale, 2);
        double root = sqrt(v / (1 - pow(o.beta2, 3))) + o.epsilon;
        w[i] = w[i] * (1 - o.learning_rate * o.weight_decay) -
               o.learning_rate * m[i] / (1 - pow(o.beta1, 3)) / root;
    }
    adamw_step(&bench->device, weight, first, second, gradient, copied ? copy : none, o);
    assert_values(bench, weight, w, 1e-6, 1e-6);
    assert_values(bench, first, m, 1e-6, 1e-7);
    if (copied) assert_values(bench, copy, w, 0, 1e-6);
    free(w), free(m), free(g), free(roots), free(squares);
    arena_release(&bench->arena, mark);
}

static void equals_formula_on(struct bench *bench) {
    check_formula(bench, 0, 5, 0, true);
    check_formula(bench, 1, 1, 0, true);
    check_formula(bench, 7, 33, 3, true);
    check_formula(bench, 2, 40000, 0, false);
    check_formula(bench, 65, 515, 1, false);
}

static void equals_formula(void **state) {
    (void)state;
    on_every_device(equals_formula_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_torch),
        cmocka_unit_test(equals_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
