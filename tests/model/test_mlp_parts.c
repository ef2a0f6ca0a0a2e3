/* An MLP over more rows than are taken at once computes what it computes over few. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/blocks.h"
#include "tests/device.h"

enum { HIDDEN = 8, WIDE = 16, FEW = 300 };

static struct error err;

static float value(int64_t i) {
    return (float)sin(0.37 * (double)i);
}

static struct tensor filled(struct arena *arena, int64_t rows, int64_t cols, float scale) {
    float *values = malloc((size_t)(rows * cols) * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < rows * cols; i++) values[i] = scale * value(i + rows);
    struct tensor t = arena_upload(arena, DTYPE_F32, rows, cols, values);
    free(values);
    return t;
}

static struct tensor zeros(struct arena *arena, int64_t rows, int64_t cols) {
    return filled(arena, rows, cols, 0);
}

static struct mlp make_mlp(struct arena *arena, float scale) {
    return (struct mlp){.gate.weight = filled(arena, WIDE, HIDDEN, scale),
                        .up.weight = filled(arena, WIDE, HIDDEN, 2 * scale),
                        .down.weight = filled(arena, HIDDEN, WIDE, scale)};
}

/* What comes of it: out and d_x [rows, HIDDEN], and gradients. */
struct results {
    struct tensor out, d_x;
    struct mlp gradient;
};

/* Calls of at most `most` rows each. */
static struct results compute(struct device *device, struct arena *arena, int64_t rows, int64_t most,
                              bool keeps) {
    struct results results = {zeros(arena, rows, HIDDEN), zeros(arena, rows, HIDDEN), make_mlp(arena, 0)};
    const struct mlp mlp = make_mlp(arena, 0.4f);
    struct tensor x = filled(arena, rows, HIDDEN, 1), d_out = filled(arena, rows, HIDDEN, 0.3f);
    for (int64_t first = 0; first < rows; first += most) {
        int64_t count = rows - first < most ? rows - first : most;
        struct tensor in = tensor_rows(x, first, count), kept = {0};
        if (keeps) kept = zeros(arena, count, 2 * WIDE);
        mlp_forward(device, arena, tensor_rows(results.out, first, count), kept, in, &mlp);
        mlp_backward(device, arena, tensor_rows(results.d_x, first, count), tensor_rows(d_out, first, count),
                     kept, in, &mlp, &results.gradient);
    }
    return results;
}

static void check_near(struct device *device, struct tensor got, struct tensor wanted, double tolerance) {
    int64_t count = got.rows * got.cols;
    float *a = malloc((size_t)count * sizeof *a), *b = malloc((size_t)count * sizeof *b);
    double most = 0;
    assert_true(a && b);
    assert_int_equal(device_read(device, a, got, &err), STATUS_OK);
    assert_int_equal(device_read(device, b, wanted, &err), STATUS_OK);
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs((double)b[i]));
    assert_true(most > 0);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= tolerance * most))
            fail_msg("element %lld: %g, wanted %g", (long long)i, (double)a[i], (double)b[i]);
    free(a);
    free(b);
}

static void test_parts(void **state) {
    (void)state;
    struct device device;
    struct arena arena;
    test_device_open("cpu", &device);
    const int64_t part = matmul_part_rows(&device), rows = 2 * part + 77;
    assert_int_equal(mlp_part_rows(&device, part), part);
    assert_int_equal(mlp_part_rows(&device, rows), (rows + 2) / 3);
    arena_init(&arena, &device, 0);
    for (int keeps = 0; keeps < 2; keeps++) {
        struct results got = compute(&device, &arena, rows, rows, keeps);
        struct results wanted = compute(&device, &arena, rows, FEW, keeps);
        check_near(&device, got.out, wanted.out, 1e-6);
        check_near(&device, got.d_x, wanted.d_x, 1e-6);
        check_near(&device, got.gradient.gate.weight, wanted.gradient.gate.weight, 1e-5);
        check_near(&device, got.gradient.up.weight, wanted.gradient.up.weight, 1e-5);
        check_near(&device, got.gradient.down.weight, wanted.gradient.down.weight, 1e-5);
    }
    arena_free(&arena);
    device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
