#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"

static void distance_counts_edits(void **state) {
    (void)state;
    assert_int_equal(nearest_distance("", ""), 0);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_int_equal(nearest_distance("modle", "model"), 1);
    assert_int_equal(nearest_distance("ab", "ba"), 1);
    assert_int_equal(nearest_distance("learning_rte", "learning_rate"), 1);
    char longer[66];
    for (int i = 0; i < 65; i++) longer[i] = 'a';
    longer[65] = '\0';
    assert_true(nearest_distance(longer, "a") == SIZE_MAX);
    assert_true(nearest_distance("a", longer) == SIZE_MAX);
    assert_int_equal(nearest_distance(longer + 1, longer + 1), 0);
}

static void best_is_the_first_of_the_nearest(void **state) {
    (void)state;
    struct nearest search = nearest_start("fsp");
    nearest_offer(&search, "fps");
    nearest_offer(&search, "fap");
    assert_string_equal(search.best, "fps");
    assert_int_equal(search.distance, 1);
}

static void far_names_are_not_offered(void **state) {
    (void)state;
    struct nearest search = nearest_start("colour");
    nearest_offer(&search, "model");
    nearest_offer(&search, "temperature");
    assert_null(search.best);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(distance_counts_edits),
                                       cmocka_unit_test(best_is_the_first_of_the_nearest),
                                       cmocka_unit_test(far_names_are_not_offered)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
