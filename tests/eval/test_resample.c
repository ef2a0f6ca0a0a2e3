/* Intervals and tests: the exact ones beside scipy's binom and binomtest, the drawn ones beside what they
 * estimate. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "eval/calibration.h"
#include "eval/correlation.h"
#include "eval/resample.h"

static void intervals_of_shares_are_binomial(void **state) {
    (void)state;
    static const struct {
        size_t hits, count, low, high;
    } cases[] = {{0, 10, 0, 0},
                 {10, 10, 10, 10},
                 {1, 1, 1, 1},
                 {3, 10, 0, 6},
                 {30, 40, 24, 35},
                 {499, 1000, 468, 530},
                 {99999, 100000, 99997, 100000},
                 {50000, 100000, 49690, 50310},
                 {2, 100000, 0, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct interval found = share_interval(cases[i].hits, cases[i].count);
        const double n = (double)cases[i].count;
        if (found.low != (double)cases[i].low / n || found.high != (double)cases[i].high / n)
            fail_msg("%zu of %zu: [%g, %g]", cases[i].hits, cases[i].count, found.low * n, found.high * n);
    }
    assert_true(isnan(share_interval(0, 0).low));
}

static void tests_of_shares_are_binomial(void **state) {
    (void)state;
    static const struct {
        size_t wins, losses;
        double p;
    } cases[] = {{0, 0, 1},
                 {1, 0, 1},
                 {5, 0, 0.0625},
                 {0, 5, 0.0625},
                 {8, 2, 0.109375},
                 {60, 40, 0.05688793364098089},
                 {480, 520, 0.2174482932041415},
                 {1000, 0, 1.8665272370064378e-301},
                 {50500, 49500, 0.0015823598788515154}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double found = share_test(cases[i].wins, cases[i].losses);
        if (!(fabs(found - cases[i].p) <= 1e-9 * cases[i].p))
            fail_msg("%zu to %zu: %.17g", cases[i].wins, cases[i].losses, found);
    }
}

/* The chances over all 256 swaps, counted one by one in Python. */
static void drawn_swaps_agree_with_all_swaps(void **state) {
    (void)state;
    static const double truth[] = {1, 2, 3, 4, 5, 3, 2, 4}, a[] = {1, 3, 2, 4, 4, 3, 1, 5},
                        b[] = {2, 2, 3, 4, 5, 1, 2, 4};
    struct column_tests tests, again;
    struct error err;
    assert_int_equal(column_tests(truth, a, b, 8, 3, 0, &tests, &err), STATUS_OK);
    assert_true(fabs(tests.pearson - 0.953125) < 0.02);
    assert_true(fabs(tests.spearman - 0.78125) < 0.02);
    assert_true(fabs(tests.error - 0.765625) < 0.02);
    assert_int_equal(column_tests(truth, a, b, 8, 3, 0, &again, &err), STATUS_OK);
    assert_memory_equal(&tests, &again, sizeof tests);
    assert_int_equal(column_tests(truth, a, a, 8, 3, 0, &tests, &err), STATUS_OK);
    assert_true(tests.pearson == 1 && tests.spearman == 1 && tests.error == 1);
    assert_int_equal(column_tests(truth, a, (const double[8]){0}, 8, 3, 0, &tests, &err), STATUS_OK);
    assert_true(isnan(tests.pearson) && isnan(tests.spearman) && tests.error < 0.05);
    assert_int_equal(column_tests(NULL, NULL, NULL, 0, 3, 0, &tests, &err), STATUS_OK);
    assert_true(isnan(tests.pearson) && isnan(tests.error));
}

enum { LARGE = 40000 };

/* Columns with a correlation, of whole numbers or not. */
static void draw(double *x, double *y, size_t count, bool whole) {
    for (size_t i = 0; i < count; i++) {
        const double common = random_uniform((struct random_key){.seed = 1, .position = i});
        const double own = random_uniform((struct random_key){.seed = 2, .position = i});
        x[i] = 5 * common;
        y[i] = 2.5 * (common + own);
        if (whole) x[i] = floor(x[i]), y[i] = floor(y[i]);
    }
}

static struct column_figures figures_of(const double *x, const double *y, size_t count) {
    struct error err;
    struct column_figures figures = {.pearson = pearson(x, y, count)};
    for (size_t i = 0; i < count; i++) figures.error += fabs(x[i] - y[i]) / (double)count;
    assert_int_equal(spearman(x, y, count, &figures.spearman, &err), STATUS_OK);
    return figures;
}

/* The half width of an interval of a mean or a correlation goes with 1 / sqrt n, past the largest resample
 * too, and is near the textbook's 1.96 (1 - r^2) / sqrt n. */
static void widths_follow_the_number_of_items(void **state) {
    (void)state;
    double *x = malloc(LARGE * sizeof *x), *y = malloc(LARGE * sizeof *y);
    for (int whole = 0; whole < 2; whole++) {
        draw(x, y, LARGE, whole);
        static const size_t counts[] = {300, 4800, LARGE};
        for (size_t i = 0; i < 3; i++) {
            struct column_intervals found, again;
            struct error err;
            const struct column_figures figures = figures_of(x, y, counts[i]);
            assert_int_equal(column_intervals(x, y, counts[i], figures, 7, 1, &found, &err), STATUS_OK);
            assert_true(found.pearson.low < figures.pearson && figures.pearson < found.pearson.high);
            assert_true(found.spearman.low < figures.spearman && figures.spearman < found.spearman.high);
            assert_true(found.error.low < figures.error && figures.error < found.error.high);
            const double wanted =
                2 * 1.96 * (1 - figures.pearson * figures.pearson) / sqrt((double)counts[i]);
            const double width = found.pearson.high - found.pearson.low;
            if (width < 0.6 * wanted || width > 1.4 * wanted)
                fail_msg("%zu: %g, not %g", counts[i], width, wanted);
            assert_int_equal(column_intervals(x, y, counts[i], figures, 7, 1, &again, &err), STATUS_OK);
            assert_memory_equal(&found, &again, sizeof found);
            assert_int_equal(column_intervals(x, y, counts[i], figures, 8, 1, &again, &err), STATUS_OK);
            assert_true(found.pearson.low != again.pearson.low);
        }
    }
    free(x);
    free(y);
}

static void columns_without_spread_have_no_interval(void **state) {
    (void)state;
    static const double constant[] = {3, 3, 3, 3}, other[] = {1, 2, 3, 4};
    struct column_intervals found;
    struct error err;
    const struct column_figures figures = {NAN, NAN, 1};
    assert_int_equal(column_intervals(constant, other, 4, figures, 0, 0, &found, &err), STATUS_OK);
    assert_true(isnan(found.pearson.low) && isnan(found.spearman.high));
    assert_true(found.error.low <= 1 && found.error.high >= 1);
    assert_int_equal(column_intervals(NULL, NULL, 0, figures, 0, 0, &found, &err), STATUS_OK);
    assert_true(isnan(found.error.low));
    assert_int_equal(column_intervals(other, other, 1, figures, 0, 0, &found, &err), STATUS_OK);
    assert_true(isnan(found.pearson.low) && found.error.low == 1 && found.error.high == 1);
}

static void sorting_is_stable_and_knows_signs(void **state) {
    (void)state;
    static const double values[] = {2, -1.5, 0.0, -0.0, 1e300, -1e300, 2, 0.0, -1.5};
    static const size_t wanted[] = {5, 1, 8, 2, 3, 7, 0, 6, 4};
    size_t order[9];
    struct error err;
    for (size_t i = 0; i < 9; i++) order[i] = i;
    assert_int_equal(sort_order(values, 9, order, &err), STATUS_OK);
    for (size_t i = 0; i < 9; i++) assert_int_equal(order[i], wanted[i]);
    assert_int_equal(sort_order(values, 0, order, &err), STATUS_OK);
}

static void calibration_has_bins_and_a_curve(void **state) {
    (void)state;
    static const double confidence[] = {0.95, 0.95, 0.5, 0.1, 0.0, 1.0};
    static const bool right[] = {true, false, true, false, true, true};
    struct calibration found;
    struct error err;
    assert_int_equal(calibration_make(confidence, right, 6, &found, &err), STATUS_OK);
    assert_int_equal(found.bins[9].count, 3); /* (0.9, 1] */
    assert_int_equal(found.bins[4].count, 1); /* (0.4, 0.5] */
    assert_int_equal(found.bins[0].count, 2); /* [0, 0.1] */
    assert_true(fabs(found.bins[9].accuracy - 2.0 / 3) < 1e-12);
    assert_true(isnan(found.bins[1].accuracy));
    assert_true(found.risk[COVERAGE_STEPS - 1] == 2.0 / 6);
    assert_true(found.risk[0] == 0);                     /* only part of the surest, which is right */
    assert_true(fabs(found.risk[24] - 1.0 / 3) < 1e-12); /* half of them: 1, 0.95, 0.95 */
    assert_int_equal(calibration_make(NULL, NULL, 0, &found, &err), STATUS_OK);
    assert_true(isnan(found.error) && isnan(found.risk[0]) && isnan(found.bins[3].confidence));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intervals_of_shares_are_binomial),
        cmocka_unit_test(tests_of_shares_are_binomial),
        cmocka_unit_test(drawn_swaps_agree_with_all_swaps),
        cmocka_unit_test(widths_follow_the_number_of_items),
        cmocka_unit_test(columns_without_spread_have_no_interval),
        cmocka_unit_test(sorting_is_stable_and_knows_signs),
        cmocka_unit_test(calibration_has_bins_and_a_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
