/* When the heuristics of cuBLASLt are asked: once for each shape of a product, on the emulated device, whose
 * cuBLASLt counts. That the values are right test_matmul shows, on every device. */
#include "tests/tensor/support.h"

#include "tests/emulator/hooks.h"

/* A product whose factors begin `offset` columns after an address that is aligned to 64 bytes. */
struct product {
    int64_t m, n, k;
    enum dtype dtype;
    struct matmul_options options; /* the bias is made here */
    bool bias;
    int64_t offset;
};

static const struct product usual = {80, 32, 64, DTYPE_BF16, {.transpose_b = true}, false, 0};

static struct tensor factor(struct bench *bench, const struct product *p, int64_t rows, int64_t cols,
                            bool transposed) {
    if (transposed) {
        int64_t other = rows;
        rows = cols, cols = other;
    }
    /* Rows are of a length that keeps their alignment. */
    struct tensor t = arena_tensor(&bench->arena, p->dtype, rows, (cols + p->offset + 31) / 32 * 32);
    clear(&bench->device, t);
    return tensor_cols(t, p->offset, cols);
}

/* Aligned to 256 bytes: more of a bias's alignment is part of a plan than the arena gives. */
static struct tensor bias_of(struct bench *bench, const struct product *p) {
    int64_t most = 256 / (int64_t)dtype_size(p->dtype);
    struct tensor room = arena_tensor(&bench->arena, p->dtype, 1, p->n + most);
    int64_t first = (int64_t)(-(uintptr_t)room.data % 256 / dtype_size(p->dtype));
    clear(&bench->device, room);
    return tensor_cols(room, first, p->n);
}

/* How often the heuristics are asked for the product. */
static int64_t asked(struct bench *bench, const struct product *p) {
    struct matmul_options options = p->options;
    struct tensor a = factor(bench, p, p->m, p->k, options.transpose_a);
    struct tensor b = factor(bench, p, p->k, p->n, options.transpose_b);
    struct tensor out = factor(bench, p, p->m, p->n, false);
    if (p->bias) options.bias = bias_of(bench, p);
    int64_t before = emulator_counted(EMULATOR_HEURISTICS);
    matmul(&bench->device, out, a, b, options);
    assert_false(bench->device.failed);
    return emulator_counted(EMULATOR_HEURISTICS) - before;
}

/* The first time and no other, wherever its tensors lie. */
static void assert_kept(struct bench *bench, const struct product *p) {
    assert_int_equal(asked(bench, p), 1);
    for (int i = 0; i < 3; i++) assert_int_equal(asked(bench, p), 0);
}

static void plans_are_kept_by_shape(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "emulated");
    assert_kept(&bench, &usual);
    struct product p = usual;
    p.options.accumulate = true; /* the same plan */
    assert_int_equal(asked(&bench, &p), 0);
    for (int choice = 0; choice < 9; choice++) {
        p = usual;
        if (choice == 0) p.m = 81;
        if (choice == 1) p.n = 33;
        if (choice == 2) p.k = 65;
        if (choice == 3) p.dtype = DTYPE_F32;
        if (choice == 4) p.options.transpose_a = true;
        if (choice == 5) p.options.transpose_b = false;
        if (choice == 6) p.bias = true;
        if (choice == 7) p.offset = 2; /* aligned to 4 bytes */
        if (choice == 8) p.offset = 4;
        assert_kept(&bench, &p);
        assert_int_equal(asked(&bench, &usual), 0);
    }
    bench_close(&bench);
}

/* More shapes than there are places: each is kept when it comes again at once, and most until later. */
static void plans_make_way(void **state) {
    (void)state;
    enum { MANY = 3000, FEW = 200 };
    struct bench bench;
    bench_open(&bench, "emulated");
    struct arena_mark mark = arena_mark(&bench.arena);
    struct product p = usual;
    p.k = 2;
    for (p.n = 1; p.n <= MANY; p.n++) {
        assert_int_equal(asked(&bench, &p), 1);
        assert_int_equal(asked(&bench, &p), 0);
        assert_int_equal(device_synchronize(&bench.device, &(struct error){0}), STATUS_OK);
        arena_release(&bench.arena, mark);
    }
    int64_t again = 0;
    for (p.n = MANY - FEW + 1; p.n <= MANY; p.n++) again += asked(&bench, &p);
    assert_true(again < FEW / 2);
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_kept_by_shape),
        cmocka_unit_test(plans_make_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
