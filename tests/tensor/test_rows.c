/* Copies, sums and reductions of rows against plain loops. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enum dtype floats[] = {DTYPE_F32, DTYPE_BF16};

/* Rows and columns at the edges: none, one, odd widths, wider than a block, enough for threads. */
static const int64_t shapes[][2] = {{0, 3}, {3, 0}, {1, 1}, {2, 7}, {5, 33}, {3, 700}, {64, 515}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void conversions_on(struct bench *bench) {
    for (int choice = 0; choice < 4 * SHAPES; choice++) {
        const int64_t *shape = shapes[choice / 4];
        struct arena_mark mark = arena_mark(&bench->arena);
        struct tensor x = random_tensor(bench, floats[choice & 1], shape[0], shape[1], choice % 3, 100, 1);
        struct tensor out = random_tensor(bench, floats[choice >> 1 & 1], shape[0], shape[1], 2, 1, 2);
        double *expected = values_read(bench, x);
        convert(&bench->device, out, x);
        assert_values(bench, out, expected, 0, 0);
        free(expected);
        arena_release(&bench->arena, mark);
    }
}

static void conversions(void **state) {
    (void)state;
    on_every_device(conversions_on);
}

/* Half precision and whole numbers come from checkpoints and prompts. */
static void other_types_on(struct bench *bench) {
    const uint16_t halves[5] = {0x0001, 0x3c00, 0xc000, 0x7bff, 0x8000};
    const double expected[5] = {0x1p-24, 1, -2, 65504, 0};
    struct tensor x = arena_upload(&bench->arena, DTYPE_F16, 1, 5, halves);
    for (int i = 0; i < 2; i++) {
        struct tensor out = arena_tensor(&bench->arena, floats[i], 1, 5);
        convert(&bench->device, out, x);
        assert_values(bench, out, expected, 0, 0);
    }
    const int32_t numbers[3] = {INT32_MIN, 7, INT32_MAX};
    struct tensor from = arena_upload(&bench->arena, DTYPE_I32, 1, 3, numbers);
    struct tensor to = arena_tensor(&bench->arena, DTYPE_I32, 1, 3);
    convert(&bench->device, to, from);
    assert_same_bits(bench, to, from);
}

static void other_types(void **state) {
    (void)state;
    on_every_device(other_types_on);
}

static void gather_and_scatter_on(struct bench *bench) {
    enum { TABLE = 9, ROWS = 5, COLS = 67 };
    const int32_t wanted[ROWS] = {8, 0, 3, 1, 7};
    struct tensor index = arena_upload(&bench->arena, DTYPE_I32, 1, ROWS, wanted);
    for (int choice = 0; choice < 4; choice++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        struct tensor table = random_tensor(bench, floats[choice & 1], TABLE, COLS, 1, 1, 1);
        struct tensor out = arena_tensor(&bench->arena, floats[choice >> 1], ROWS, COLS);
        double *from = values_read(bench, table), expected[TABLE * COLS];
        gather_rows(&bench->device, out, table, index);
        for (int r = 0; r < ROWS; r++)
            memcpy(expected + r * COLS, from + wanted[r] * COLS, COLS * sizeof *from);
        assert_values(bench, out, expected, 0, 0);

        struct tensor back = random_tensor(bench, floats[choice & 1], TABLE, COLS, 3, 1, 2);
        double *kept = values_read(bench, back), *moved = values_read(bench, out);
        scatter_rows(&bench->device, back, out, index);
        for (int r = 0; r < ROWS; r++) memcpy(kept + wanted[r] * COLS, moved + r * COLS, COLS * sizeof *kept);
        assert_values(bench, back, kept, 0, 0);
        free(from), free(kept), free(moved);
        arena_release(&bench->arena, mark);
    }
}

static void gather_and_scatter(void **state) {
    (void)state;
    on_every_device(gather_and_scatter_on);
}

/* An index out of range fails the device, says so, and stops what follows. */
static void bad_index(void **state) {
    (void)state;
    static const int32_t bad[] = {-1, 4};
    for (int i = 0; i < 4; i++) {
        struct bench bench;
        bench_open(&bench, i & 1 ? "guard" : "cpu");
        struct tensor table = random_tensor(&bench, DTYPE_F32, 4, 3, 0, 1, 1);
        struct tensor out = arena_upload(&bench.arena, DTYPE_F32, 1, 3, (const float[]){1, 2, 3});
        struct tensor index = arena_upload(&bench.arena, DTYPE_I32, 1, 1, &bad[i >> 1]);
        if (i == 0)
            gather_rows(&bench.device, out, table, index);
        else
            scatter_rows(&bench.device, table, out, index);
        struct error err;
        assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
        assert_null(arena_tensor(&bench.arena, DTYPE_F32, 1, 1).data);
        add(&bench.device, out, out);
        float back[3];
        assert_int_equal(device_read(&bench.device, back, out, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "not in [0, 4)"));
        bench_close(&bench);
    }
}

static void sums_on(struct bench *bench) {
    for (int choice = 0; choice < 4 * SHAPES; choice++) {
        const int64_t *shape = shapes[choice / 4];
        int64_t count = shape[0] * shape[1];
        struct arena_mark mark = arena_mark(&bench->arena);
        struct tensor out = random_tensor(bench, floats[choice & 1], shape[0], shape[1], 2, 1, 1);
        struct tensor x = random_tensor(bench, floats[choice >> 1 & 1], shape[0], shape[1], choice % 3, 1, 2);
        double *expected = values_read(bench, out), *more = values_read(bench, x);
        for (int64_t i = 0; i < count; i++) expected[i] += more[i];
        add(&bench->device, out, x);
        assert_values(bench, out, expected, 1e-7, 0);

        double sum = 0, squares = 0, magnitude = 0;
        for (int64_t i = 0; i < count; i++) {
            sum += more[i];
            squares += more[i] * more[i];
            magnitude += fabs(more[i]);
        }
        struct tensor total = arena_tensor(&bench->arena, DTYPE_F32, 1, 1);
        reduce_sum(&bench->device, total, x);
        assert_values(bench, total, &sum, 1e-7, 1e-12 * magnitude);
        reduce_sum_squares(&bench->device, total, x);
        assert_values(bench, total, &squares, 1e-7, 0);
        free(expected), free(more);
        arena_release(&bench->arena, mark);
    }
}

static void sums(void **state) {
    (void)state;
    on_every_device(sums_on);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions), cmocka_unit_test(other_types), cmocka_unit_test(gather_and_scatter),
        cmocka_unit_test(bad_index),   cmocka_unit_test(sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
