#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/text.h"

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

/* How many allocations succeed before all fail; negative: all succeed. */
static int allowed = -1;

static int refuse(void) {
    if (allowed < 0) return 0;
    if (allowed == 0) return 1;
    allowed--;
    return 0;
}

void *__wrap_calloc(size_t count, size_t size) {
    return refuse() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *memory, size_t size) {
    return refuse() ? NULL : __real_realloc(memory, size);
}

static int allow_all(void **state) {
    (void)state;
    allowed = -1;
    return 0;
}

static void new_memory_is_zero(void **state) {
    (void)state;
    struct error err;
    unsigned char *memory = memory_new(3, 5, "test", &err);
    assert_non_null(memory);
    for (int i = 0; i < 15; i++) assert_int_equal(memory[i], 0);
    free(memory);
    void *empty = memory_new(0, 8, "test", &err);
    assert_non_null(empty);
    free(empty);
}

static void sizes_cannot_overflow(void **state) {
    (void)state;
    struct error err;
    assert_null(memory_new(SIZE_MAX / 2, 3, "a tensor", &err));
    assert_non_null(strstr(err.message, "out of memory for a tensor"));

    int *array = NULL;
    size_t capacity = 0;
    assert_int_equal(memory_grow(&array, &capacity, SIZE_MAX / 2, sizeof *array, "ids", &err), STATUS_FAILED);
    assert_int_equal(capacity, 0);
}

static void no_memory_is_an_error(void **state) {
    (void)state;
    struct error err;
    allowed = 0;
    assert_null(memory_new(1, 1, "x", &err));
    assert_null(memory_text("abc", 3, "x", &err));
}

static void grow_keeps_elements(void **state) {
    (void)state;
    struct error err;
    int *array = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(memory_grow(&array, &capacity, i + 1, sizeof *array, "ids", &err), STATUS_OK);
        array[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(array[i], i);
    allowed = 0;
    assert_int_equal(memory_grow(&array, &capacity, capacity + 1, sizeof *array, "ids", &err), STATUS_FAILED);
    assert_int_equal(array[999], 999); /* the old array is still there */
    allowed = -1;
    free(array);
}

static void text_grows(void **state) {
    (void)state;
    struct error err;
    struct text text = {0};
    for (int i = 0; i < 100; i++) text_format(&text, "%d,", i);
    text_append_string(&text, "end");
    assert_int_equal(text_check(&text, "x", &err), STATUS_OK);
    assert_int_equal(text.length, 10 * 2 + 90 * 3 + 3);
    char *taken = text_take(&text, "x", &err);
    assert_memory_equal(taken, "0,1,2,", 6);
    assert_string_equal(taken + 290, "end");
    assert_null(text.data);
    free(taken);

    taken = text_take(&text, "x", &err); /* an empty text is a string */
    assert_string_equal(taken, "");
    free(taken);
}

static void text_remembers_failure(void **state) {
    (void)state;
    struct error err;
    struct text text = {0};
    text_append_string(&text, "begun");
    allowed = 0;
    text_format(&text, "%100d", 1);
    allowed = -1;
    text_append_string(&text, "more");
    assert_int_equal(text_check(&text, "the report", &err), STATUS_FAILED);
    assert_string_equal(err.message, "out of memory for the report");
    assert_null(text_take(&text, "the report", &err));
    assert_null(text.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(new_memory_is_zero, allow_all),
        cmocka_unit_test_teardown(sizes_cannot_overflow, allow_all),
        cmocka_unit_test_teardown(no_memory_is_an_error, allow_all),
        cmocka_unit_test_teardown(grow_keeps_elements, allow_all),
        cmocka_unit_test_teardown(text_grows, allow_all),
        cmocka_unit_test_teardown(text_remembers_failure, allow_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
