/* Frame indices and sizes against the references' own formulas (tests/reference/video.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/json.h"
#include "data/frames.h"
#include "data/sizes.h"
#include "tests/data/support.h"

static json_t *golden;

static int load(void **state) {
    struct error err;
    (void)state;
    golden = json_read_file(support_golden("formulas.json"), 1 << 22, &err);
    return golden ? 0 : -1;
}

static int unload(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static double number(const json_t *row, size_t i) {
    return json_number_value(json_array_get(row, i));
}
static int64_t integer(const json_t *row, size_t i) {
    return json_integer_value(json_array_get(row, i));
}

static void check_indices(int64_t count, const int64_t *indices, const json_t *row, size_t at) {
    assert_int_equal(count, integer(row, at));
    assert_int_equal(support_crc(indices, (size_t)count * sizeof *indices), integer(row, at + 1));
}

static void test_indices(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    int64_t *indices = calloc(FRAMES_MAX, sizeof *indices);
    assert_non_null(indices);
    assert_true(json_array_size(json_object_get(golden, "frames")) > 1000);
    json_array_foreach(json_object_get(golden, "frames"), i, row) {
        struct frames_source source = {
            .total = integer(row, 0), .rate = number(row, 1), .duration = number(row, 2)};
        struct frames_wish wish = {.fps = number(row, 3), .min_frames = 4, .max_frames = integer(row, 4)};
        int64_t count = frames_llamafactory_count(&source, &wish);
        frames_llamafactory(source.total, count, indices);
        check_indices(count, indices, row, 5);
        count = frames_qwen_count(&source, &wish);
        if (count < 2) count = 0;
        frames_qwen(source.total, count, indices);
        check_indices(count, indices, row, 7);
    }
    free(indices);
}

typedef enum status smart(struct size from, int64_t factor, double min_pixels, double max_pixels,
                          struct size *to, struct error *err);

/* Sizes that vs2 refuses because they are absurd are no matter of the formulas. */
static void check_smart(smart *resize, const json_t *row, size_t at) {
    struct error err;
    struct size from = {.width = integer(row, 0), .height = integer(row, 1)};
    struct size wanted = {.width = integer(row, at), .height = integer(row, at + 1)};
    struct size to;
    enum status status = resize(from, 28, number(row, 2), number(row, 3), &to, &err);
    struct error ignored;
    if (size_check(from, &ignored) || size_check(wanted, &ignored)) {
        assert_int_equal(status, STATUS_FAILED);
        return;
    }
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(to.width, wanted.width);
    assert_int_equal(to.height, wanted.height);
}

static void test_smart_sizes(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "smart"), i, row) {
        check_smart(size_smart, row, 4);
        check_smart(size_smart_qwen, row, 6);
    }
    assert_true(i > 500);
}

static void test_llamafactory_sizes(void **state) {
    (void)state;
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(golden, "llamafactory"), i, row) {
        struct error err;
        struct size from = {.width = integer(row, 0), .height = integer(row, 1)};
        struct size steps[SIZE_MAX_STEPS];
        int count = -1;
        int own = -1;
        enum status status =
            size_llamafactory(from, number(row, 3), number(row, 2), steps, &count, &own, &err);
        if (integer(row, 4) < 0) {
            assert_int_equal(status, STATUS_FAILED);
            continue;
        }
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(own, integer(row, 4));
        assert_int_equal(count, (json_array_size(row) - 5) / 2);
        for (int k = 0; k < count; k++) {
            assert_int_equal(steps[k].width, integer(row, 5 + 2 * (size_t)k));
            assert_int_equal(steps[k].height, integer(row, 6 + 2 * (size_t)k));
        }
    }
    assert_true(i > 500);
}

static void test_absurd_sizes(void **state) {
    (void)state;
    struct error err;
    struct size to;
    assert_int_equal(size_check((struct size){0, 5}, &err), STATUS_FAILED);
    assert_int_equal(size_check((struct size){INT64_MAX, INT64_MAX}, &err), STATUS_FAILED);
    assert_int_equal(size_check((struct size){SIZE_MAX_SIDE, SIZE_MAX_SIDE}, &err), STATUS_FAILED);
    assert_int_equal(size_smart((struct size){2010, 10}, 28, 3136, 1e6, &to, &err), STATUS_FAILED);
    assert_string_equal(err.message, "2010 x 10 pixels: one side is over 200 times the other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_smart_sizes),
        cmocka_unit_test(test_llamafactory_sizes),
        cmocka_unit_test(test_absurd_sizes),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
