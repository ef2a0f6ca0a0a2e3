/* Charts: LLaMA-Factory's smoothing, and SVG that shows what it is given. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/plot.h"

static void smoothing(void **unused) {
    (void)unused;
    enum { COUNT = 4 };
    const double values[COUNT] = {4, 2, 6, 1};
    double smoothed[COUNT], last = values[0];
    const double weight = 1.8 * (1 / (1 + exp(-0.2)) - 0.5); /* 0.0897 */
    assert_true(fabs(weight - 0.08970) < 1e-5);
    plot_smooth(values, COUNT, smoothed);
    for (int i = 0; i < COUNT; i++) {
        last = last * weight + (1 - weight) * values[i];
        assert_true(fabs(smoothed[i] - last) < 1e-12);
    }
    const double gaps[COUNT] = {NAN, 2, INFINITY, 2};
    plot_smooth(gaps, COUNT, smoothed);
    assert_true(isnan(smoothed[0]) && isinf(smoothed[2]));
    assert_true(fabs(smoothed[1] - 2) < 1e-12 && fabs(smoothed[3] - 2) < 1e-12);
}

static char *draw(const char *title, const double *x, const double *y, size_t count) {
    struct error err;
    struct text svg = {0};
    const struct plot_series series[] = {{"original", PLOT_FAINT, 0, x, y, count}};
    plot_append(&svg, &(struct plot){title, "step", "loss", series, 1});
    return text_take(&svg, "svg", &err);
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

static void a_curve_has_its_ticks_and_gaps(void **unused) {
    (void)unused;
    const double x[] = {5, 10, 15, 20, 25}, y[] = {2.5, 1.1, NAN, 0.9, 0.6};
    char *svg = draw("Loss <of> a & b", x, y, 5);
    assert_non_null(strstr(svg, "<title>Loss &lt;of&gt; a &amp; b</title>"));
    assert_non_null(strstr(svg, ">0.5</text>"));
    assert_non_null(strstr(svg, ">2.5</text>"));
    assert_non_null(strstr(svg, ">25</text>"));
    assert_int_equal(count_of(strstr(svg, "class=\"faint c0\" d="), "M"), 2);
    assert_non_null(strstr(svg, "original</text>"));
    assert_null(strstr(svg, "nan"));
    free(svg);
}

static void odd_data_is_drawn(void **unused) {
    (void)unused;
    const double x[] = {7, 8}, same[] = {3, 3}, huge[] = {-1e300, 1e300}, none[] = {NAN, INFINITY};
    const double tiny[] = {1e-7, 3e-7};
    const double *const rows[] = {same, huge, none, tiny};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t count = 0; count <= 2; count++) {
            char *svg = draw("odd", x, rows[i], count);
            assert_null(strstr(svg, "nan"));
            assert_null(strstr(svg, "inf"));
            assert_non_null(strstr(svg, "</svg>"));
            assert_true(count_of(svg, "class=\"tick\"") < 40);
            free(svg);
        }
}

static void many_points_are_thinned_to_their_extremes(void **unused) {
    (void)unused;
    enum { COUNT = 100000, PEAK = 54321 };
    double *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y);
    for (int i = 0; i < COUNT; i++) {
        x[i] = i;
        y[i] = i % 2 ? 1 : 0.5;
    }
    y[PEAK] = 10;
    char *svg = draw("many", x, y, COUNT);
    assert_true(strlen(svg) < 60000);
    assert_non_null(strstr(svg, " 76.0")); /* the top of the axes, where only the peak is */
    free(svg);
    free(x);
    free(y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoothing),
        cmocka_unit_test(a_curve_has_its_ticks_and_gaps),
        cmocka_unit_test(odd_data_is_drawn),
        cmocka_unit_test(many_points_are_thinned_to_their_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
