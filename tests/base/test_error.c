#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void kinds(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, "%s: %d", "file", 3), STATUS_FAILED);
    assert_string_equal(err.message, "file: 3");
    assert_int_equal(error_usage(&err, "wrong"), STATUS_USAGE);
    assert_string_equal(err.message, "wrong");
    assert_int_equal(error_no_memory(&err, "none for %s", "it"), STATUS_FAILED);
    assert_string_equal(err.message, "none for it");
    assert_true(err.no_memory);
    error_prefix(&err, "place");
    assert_true(err.no_memory);
    error_set(&err, "else");
    assert_false(err.no_memory);
}

static void stays_on_one_line(void **state) {
    (void)state;
    struct error err;
    error_set(&err, "a\nb\tc\x7f");
    assert_string_equal(err.message, "a?b?c?");
    error_prefix(&err, "x\ny");
    assert_string_equal(err.message, "x?y: a?b?c?");
}

static void prefix_cuts_what_is_too_long(void **state) {
    (void)state;
    struct error err;
    char longest[ERROR_MESSAGE_SIZE * 2];
    memset(longest, 'm', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    error_set(&err, "%s", longest);
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_SIZE - 1);
    error_prefix(&err, "place");
    assert_int_equal(strlen(err.message), ERROR_MESSAGE_SIZE - 1);
    assert_memory_equal(err.message, "place: mmm", 10);

    error_set(&err, "cause");
    error_prefix(&err, "%s", longest); /* no room for any prefix: the cause stays */
    assert_string_equal(err.message, "cause");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(kinds), cmocka_unit_test(stays_on_one_line),
                                       cmocka_unit_test(prefix_cuts_what_is_too_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
