/* Text in HTML and XML means itself, whatever its bytes are; axes have round ticks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/markup.h"
#include "base/svg.h"

#define REPLACED "\xEF\xBF\xBD"

static void text_means_itself(void **state) {
    (void)state;
    static const struct {
        const char *text, *markup;
    } cases[] = {
        {"", ""},
        {"a b", "a b"},
        {"</script><img src='x' onerror=\"y\">&amp;",
         "&lt;/script&gt;&lt;img src=&#39;x&#39; onerror=&quot;y&quot;&gt;&amp;amp;"},
        {"tab\tline\r\n", "tab\tline\r\n"},
        {"\x01\x1B\x7F\xC2\x85", REPLACED REPLACED REPLACED REPLACED},
        {"\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80", "\xC3\xA9 \xE4\xB8\xAD \xF0\x9F\x98\x80"},
        {"\xFF<\xC3", REPLACED "&lt;" REPLACED},
        {"\xEF\xBF\xBE\xED\xA0\x80", REPLACED REPLACED REPLACED REPLACED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text out = {0};
        text_append(&out, "", 0);
        markup_append_string(&out, cases[i].text);
        assert_string_equal(out.data, cases[i].markup);
        text_free(&out);
    }
    struct text out = {0};
    markup_append(&out, "a\0b", 3);
    assert_string_equal(out.data, "a" REPLACED "b");
    text_free(&out);
}

static void axes_have_round_ticks(void **state) {
    (void)state;
    static const struct {
        double low, high;
        bool whole;
        double step;
    } cases[] = {{0, 1, false, 0.2}, {1, 5, true, 1}, {0, 97, false, 20}, {3, 3, false, 0.1},
                 {0, 3, true, 1},    {1, 0, true, 1}, {-2, 0, false, 0.5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct svg_axis axis = svg_axis_make(cases[i].low, cases[i].high, cases[i].whole);
        assert_true(fabs(axis.step - cases[i].step) < 1e-9 && axis.low < axis.high);
    }
    struct svg_axis axis = svg_axis_round(svg_axis_make(0.3, 97, false));
    assert_true(axis.low == 0 && axis.high == 100);
    axis.start = 10;
    axis.end = 210;
    assert_true(svg_axis_place(&axis, 25) == 60);
    char label[32];
    svg_axis_label(&axis, 20, label, sizeof label);
    assert_string_equal(label, "20");
    axis = svg_axis_make(0, 1, false);
    svg_axis_label(&axis, 0.6000000001, label, sizeof label);
    assert_string_equal(label, "0.6");
    svg_axis_label(&axis, -1e-17, label, sizeof label);
    assert_string_equal(label, "0.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_means_itself),
        cmocka_unit_test(axes_have_round_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
