/* Orders: permutations that the seed alone decides, and the split that validates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/order.h"

enum { COUNT = 1000 };

static void shuffle(uint64_t seed, enum order_use use, uint32_t round, int64_t order[COUNT]) {
    struct error err;
    assert_int_equal(order_shuffle(seed, use, round, COUNT, order, &err), STATUS_OK);
    char seen[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) {
        assert_in_range(order[i], 0, COUNT - 1);
        assert_int_equal(seen[order[i]]++, 0);
    }
}

/* Places in which two orders agree: about one of COUNT when they are independent. */
static int agreements(const int64_t *a, const int64_t *b) {
    int same = 0;
    for (int i = 0; i < COUNT; i++) same += a[i] == b[i];
    return same;
}

static void test_shuffle(void **state) {
    (void)state;
    int64_t a[COUNT], b[COUNT], sorted[COUNT];
    for (int i = 0; i < COUNT; i++) sorted[i] = i;
    shuffle(42, ORDER_EPOCH, 0, a);
    shuffle(42, ORDER_EPOCH, 0, b);
    assert_memory_equal(a, b, sizeof a);
    assert_true(agreements(a, sorted) < 10);
    shuffle(43, ORDER_EPOCH, 0, b);
    assert_true(agreements(a, b) < 10);
    shuffle(42, ORDER_EPOCH, 1, b);
    assert_true(agreements(a, b) < 10);
    shuffle(42, ORDER_CHOICE, 0, b);
    assert_true(agreements(a, b) < 10);
}

/* The first numbers of one order: they must not change from version to version, or runs cannot resume. */
static void test_pinned(void **state) {
    (void)state;
    int64_t order[COUNT];
    static const int64_t wanted[] = {183, 642, 128, 454, 266, 486, 77, 915};
    shuffle(42, ORDER_EPOCH, 0, order);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) assert_int_equal(order[i], wanted[i]);
}

static void test_epoch(void **state) {
    (void)state;
    int64_t order[5];
    struct error err;
    assert_int_equal(order_epoch(1, 7, false, 5, order, &err), STATUS_OK);
    for (int i = 0; i < 5; i++) assert_int_equal(order[i], i);
    assert_int_equal(order_epoch(1, 7, true, 0, order, &err), STATUS_OK);
}

static void check_split(int64_t count, double val_size, int64_t validation) {
    struct order_split split;
    struct error err;
    char seen[COUNT] = {0};
    assert_int_equal(order_split_make(count, val_size, 42, &split, &err), STATUS_OK);
    assert_int_equal(split.validation_count, validation);
    assert_int_equal(split.train_count, count - validation);
    for (int64_t i = 0; i < split.validation_count; i++) {
        seen[split.validation[i]]++;
        if (i > 0) assert_true(split.validation[i] > split.validation[i - 1]);
    }
    for (int64_t i = 0; i < split.train_count; i++) {
        seen[split.train[i]]++;
        if (i > 0) assert_true(split.train[i] > split.train[i - 1]);
    }
    for (int64_t i = 0; i < count; i++) assert_int_equal(seen[i], 1);
    order_split_free(&split);
}

static void test_split(void **state) {
    (void)state;
    struct order_split split;
    struct error err;
    check_split(100, 0, 0);
    check_split(100, 10, 10);
    check_split(100, 10.9, 10);
    check_split(101, 0.1, 11); /* rounded up, as train_test_split has it */
    check_split(10, 0.001, 1);
    check_split(0, 0, 0);
    static const double wrong[] = {1, -1, 100, 1000, 1e300, 0.999};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(order_split_make(100, wrong[i], 42, &split, &err), STATUS_USAGE);
    assert_int_equal(order_split_make(100, __builtin_nan(""), 42, &split, &err), STATUS_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_epoch),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
