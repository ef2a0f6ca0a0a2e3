#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/wrap.h"

static void check(const char *text, size_t start, size_t indent, size_t width, const char *expected) {
    struct text out = {0};
    wrap_text(&out, text, start, indent, width);
    assert_string_equal(out.data ? out.data : "", expected);
    text_free(&out);
}

static void lines_break_at_spaces(void **state) {
    (void)state;
    check("", 0, 0, 10, "");
    check("aa bb cc", 0, 0, 5, "aa bb\ncc");
    check("aa  bb\n\n cc", 0, 2, 80, "  aa bb\n\n  cc");
    check("aaaaaaaaaaaa b", 0, 1, 5, " aaaaaaaaaaaa\n b");
    check("one two", 4, 4, 9, "one\n    two");
}

static void characters_count_their_columns(void **state) {
    (void)state;
    check("\xE8\xA7\x86\xE9\xA2\x91 ab", 0, 0, 6, "\xE8\xA7\x86\xE9\xA2\x91\nab"); /* two wide ones */
    assert_int_equal(wrap_columns("e\xCC\x81", 3), 1);                             /* a combining accent */
    assert_int_equal(wrap_columns("\xFF", 1), 1);
}

static void control_characters_are_dropped(void **state) {
    (void)state;
    check("a\x1B[31mb\x07 c", 0, 0, 80, "a[31mb c");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_break_at_spaces),
                                       cmocka_unit_test(characters_count_their_columns),
                                       cmocka_unit_test(control_characters_are_dropped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
