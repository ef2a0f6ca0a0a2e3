/* Operations whose inner roundings must be PyTorch's and transformers': values made by
 * tests/reference/tensor.py, whose layouts are repeated here. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tensor/float16.h"

/* A golden file being read from its beginning to its end. */
struct golden {
    struct file_map map;
    size_t used;
};

static struct golden golden_open(const char *path) {
    struct golden golden = {0};
    struct error err = {0};
    if (file_map(path, &golden.map, &err) != STATUS_OK) fail_msg("%s", err.message);
    return golden;
}

static void golden_close(struct golden *golden) {
    assert_int_equal(golden->used, golden->map.size);
    file_unmap(&golden->map);
}

static struct tensor golden_next(struct golden *golden, struct bench *bench, enum dtype dtype, int64_t rows,
                                 int64_t cols) {
    size_t bytes = (size_t)(rows * cols) * dtype_size(dtype);
    assert_true(golden->map.size - golden->used >= bytes);
    const void *data = golden->map.data + golden->used;
    golden->used += bytes;
    return arena_upload(&bench->arena, dtype, rows, cols, data);
}

/* f32 within `tolerance` of the largest magnitude; bf16 equal but for one element in a hundred, which a
 * last bit of f32 tipped to the neighbouring value. Missing an inner rounding changes every third. */
static void assert_golden(struct bench *bench, struct tensor t, struct tensor expected, double tolerance) {
    assert_true(t.dtype == expected.dtype && t.rows == expected.rows && t.cols == expected.cols);
    double *values = values_read(bench, t), *wanted = values_read(bench, expected);
    int64_t count = t.rows * t.cols, different = 0;
    for (int64_t i = 0; i < count; i++) {
        if (t.dtype == DTYPE_F32) {
            assert_true(fabs(values[i] - wanted[i]) <= tolerance * (1 + fabs(wanted[i])));
        } else {
            different += values[i] != wanted[i];
            assert_true(fabs(values[i] - wanted[i]) <= 0x1p-7 * fabs(wanted[i]) + 1e-7);
        }
    }
    if (different * 100 > count) fail_msg("%lld of %lld differ", (long long)different, (long long)count);
    free(values), free(wanted);
}

enum { CONVERTED = 84, ROWS = 8, COLS = 200 };

static void conversion_on(struct bench *bench) {
    struct golden golden = golden_open("tests/golden/tensor/convert.bin");
    struct tensor x = golden_next(&golden, bench, DTYPE_F32, 1, CONVERTED);
    struct tensor expected = golden_next(&golden, bench, DTYPE_BF16, 1, CONVERTED);
    golden_close(&golden);
    struct tensor out = arena_tensor(&bench->arena, DTYPE_BF16, 1, CONVERTED);
    convert(&bench->device, out, x);
    double *values = values_read(bench, out), *wanted = values_read(bench, expected);
    for (int i = 0; i < CONVERTED; i++)
        assert_true(isnan(wanted[i]) ? isnan(values[i])
                                     : values[i] == wanted[i] && signbit(values[i]) == signbit(wanted[i]));
    free(values), free(wanted);
}

static void conversion(void **state) {
    (void)state;
    on_every_device(conversion_on);
}

static void rmsnorm_on(struct bench *bench) {
    struct device *device = &bench->device;
    struct golden golden = golden_open("tests/golden/tensor/rmsnorm.bin");
    struct tensor x = golden_next(&golden, bench, DTYPE_F32, ROWS, COLS);
    struct tensor weight = golden_next(&golden, bench, DTYPE_F32, 1, COLS);
    struct tensor expected = golden_next(&golden, bench, DTYPE_F32, ROWS, COLS);
    struct tensor out = arena_tensor(&bench->arena, DTYPE_F32, ROWS, COLS);
    rmsnorm_forward(device, out, (struct tensor){0}, x, weight, 1e-6f);
    assert_golden(bench, out, expected, 1e-6);

    x = golden_next(&golden, bench, DTYPE_BF16, ROWS, COLS);
    struct tensor delta = golden_next(&golden, bench, DTYPE_BF16, ROWS, COLS);
    weight = golden_next(&golden, bench, DTYPE_F32, 1, COLS);
    expected = golden_next(&golden, bench, DTYPE_BF16, ROWS, COLS);
    struct tensor sum = golden_next(&golden, bench, DTYPE_BF16, ROWS, COLS);
    struct tensor expected_sum = golden_next(&golden, bench, DTYPE_BF16, ROWS, COLS);
    golden_close(&golden);
    out = arena_tensor(&bench->arena, DTYPE_BF16, ROWS, COLS);
    rmsnorm_forward(device, out, (struct tensor){0}, x, weight, 1e-6f);
    assert_golden(bench, out, expected, 0);
    add_rmsnorm_forward(device, out, (struct tensor){0}, x, delta, weight, 1e-6f);
    assert_same_bits(bench, x, sum);
    assert_golden(bench, out, expected_sum, 0);
}

static void rmsnorm(void **state) {
    (void)state;
    on_every_device(rmsnorm_on);
}

static void activations_on(struct bench *bench) {
    struct golden golden = golden_open("tests/golden/tensor/activations.bin");
    static const enum dtype types[] = {DTYPE_F32, DTYPE_BF16};
    for (int i = 0; i < 2; i++) {
        struct tensor gate_up = golden_next(&golden, bench, types[i], ROWS, 2 * COLS);
        struct tensor swiglu = golden_next(&golden, bench, types[i], ROWS, COLS);
        struct tensor gelu = golden_next(&golden, bench, types[i], ROWS, 2 * COLS);
        struct tensor out = arena_tensor(&bench->arena, types[i], ROWS, COLS);
        swiglu_forward(&bench->device, out, gate_up);
        assert_golden(bench, out, swiglu, 1e-6);
        gelu_forward(&bench->device, gate_up, gate_up);
        assert_golden(bench, gate_up, gelu, 1e-6);
    }
    golden_close(&golden);
}

static void activations(void **state) {
    (void)state;
    on_every_device(activations_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(conversion), cmocka_unit_test(rmsnorm),
                                       cmocka_unit_test(activations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
