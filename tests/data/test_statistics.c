/* Summaries and histograms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/statistics.h"

static struct statistics of(const double *values, size_t count) {
    struct statistics statistics = {0};
    struct error err;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(statistics_add(&statistics, values[i], &err), STATUS_OK);
    return statistics;
}

static void test_summary(void **state) {
    (void)state;
    static const double values[] = {4, 1, 3, 2, 10};
    struct statistics statistics = of(values, 5), pair = of(values, 2), none = {0};
    struct statistics_summary summary = statistics_sum_up(&statistics);
    assert_true(summary.mean > 3.999 && summary.mean < 4.001);
    assert_true(summary.least == 1 && summary.median == 3 && summary.high == 10 && summary.most == 10);
    assert_true(statistics_sum_up(&pair).median == 2.5);
    assert_true(statistics_sum_up(&none).most == 0);
    statistics_free(&statistics);
    statistics_free(&pair);
}

static int64_t total(const struct histogram *histogram) {
    int64_t sum = 0;
    for (int i = 0; i < histogram->bins; i++) sum += histogram->counts[i];
    return sum;
}

static void test_bins(void **state) {
    (void)state;
    char label[64];
    static const double scores[] = {1, 5, 3, 3}, seconds[] = {0.5, 1.5, 2.25, 9.99},
                        wide[] = {100, 8000, 150}, same[] = {0.25, 0.25}, huge[] = {-1e300, 1e300};
    struct statistics statistics = of(scores, 4);
    struct histogram histogram = histogram_make(&statistics);
    assert_true(histogram.whole);
    assert_int_equal(histogram.bins, 5);
    assert_int_equal(histogram.counts[2], 2);
    assert_int_equal(total(&histogram), 4);
    histogram_label(&histogram, 4, label, sizeof label);
    assert_string_equal(label, "5");
    statistics_free(&statistics);

    statistics = of(seconds, 4);
    histogram = histogram_make(&statistics);
    assert_false(histogram.whole);
    assert_true(histogram.width == 1);
    assert_int_equal(histogram.counts[9], 1);
    assert_int_equal(total(&histogram), 4);
    statistics_free(&statistics);

    statistics = of(wide, 3);
    histogram = histogram_make(&statistics);
    assert_false(histogram.whole);
    assert_int_equal(histogram.counts[0], 2);
    assert_int_equal(total(&histogram), 3);
    histogram_label(&histogram, 1, label, sizeof label);
    assert_string_equal(label, "1000-2000");
    statistics_free(&statistics);

    statistics = of(same, 2);
    histogram = histogram_make(&statistics);
    assert_int_equal(total(&histogram), 2);
    statistics_free(&statistics);

    statistics = of(huge, 2);
    histogram = histogram_make(&statistics);
    assert_int_equal(total(&histogram), 2);
    statistics_free(&statistics);
}

static void test_drawn(void **state) {
    (void)state;
    static const double scores[] = {1, 2, 2};
    struct statistics statistics = of(scores, 3);
    const struct histogram_panel panels[] = {{.title = "A < B & C",
                                              .histogram = histogram_make(&statistics),
                                              .summary = statistics_sum_up(&statistics),
                                              .count = 3},
                                             {.title = "empty"}};
    struct text text = {0}, svg = {0};
    histogram_append_text(&text, &panels[0], 40);
    histogram_append_text(&text, &panels[1], 40);
    assert_string_equal(text.data, "A < B & C: 3 values, mean 1.667, median 2, 95% at most 2, from 1 to 2\n"
                                   "              1 ███████ 1\n"
                                   "              2 ██████████████ 2\n"
                                   "empty: none\n");
    histograms_append_svg(&svg, panels, 2);
    assert_non_null(strstr(svg.data, "A &lt; B &amp; C"));
    assert_non_null(strstr(svg.data, ">empty</text>"));
    assert_string_equal(svg.data + svg.length - strlen("</svg>\n"), "</svg>\n");
    text_free(&text);
    text_free(&svg);
    statistics_free(&statistics);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_bins),
        cmocka_unit_test(test_drawn),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
