/* Means over a window, and a window that goes through a checkpoint. */
#include "train/run_metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct error err;

static void add(struct run_metrics *metrics, const char *name, double value) {
    assert_int_equal(run_metrics_add(metrics, name, value, &err), STATUS_OK);
}

static void means_are_of_numbers_in_the_window(void **state) {
    (void)state;
    struct run_metrics metrics = {0};
    add(&metrics, "reward", 1);
    add(&metrics, "kl", NAN);
    add(&metrics, "reward", 2);
    assert_int_equal(metrics.count, 2);
    assert_string_equal(metrics.items[0].name, "reward");
    assert_true(run_metric_mean(&metrics.items[0]) == 1.5);
    assert_true(isnan(run_metric_mean(&metrics.items[1])));
    assert_true(run_metrics_last(&metrics, "reward") == 2);
    assert_true(isnan(run_metrics_last(&metrics, "length")));
    run_metrics_clear(&metrics);
    assert_true(isnan(run_metric_mean(&metrics.items[0])));
    assert_true(run_metrics_last(&metrics, "reward") == 2);
    add(&metrics, "reward", 5);
    assert_true(run_metric_mean(&metrics.items[0]) == 5);
    run_metrics_free(&metrics);
}

static void a_window_survives_a_checkpoint(void **state) {
    (void)state;
    struct run_metrics metrics = {0}, loaded = {0};
    add(&metrics, "reward", 0.1);
    add(&metrics, "reward", 0.2);
    add(&metrics, "kl", NAN);
    json_t *saved = run_metrics_save(&metrics);
    assert_non_null(saved);
    assert_int_equal(run_metrics_load(&loaded, saved, &err), STATUS_OK);
    json_decref(saved);
    add(&metrics, "reward", 0.3);
    add(&loaded, "reward", 0.3);
    assert_int_equal(loaded.count, 2);
    assert_true(run_metric_mean(&loaded.items[0]) == run_metric_mean(&metrics.items[0]));
    assert_true(isnan(run_metric_mean(&loaded.items[1])));
    run_metrics_free(&metrics);
    run_metrics_free(&loaded);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_of_numbers_in_the_window),
        cmocka_unit_test(a_window_survives_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
