/* Advantages, against torch (tests/golden/grpo/advantages.json, made by tests/reference/grpo_math.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "grpo/advantage.h"

enum { MOST = 64 };

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_number(value)) fail_msg("the golden file has no number %s", key);
    return json_number_value(value);
}

static enum scale_rewards scale_of(const char *name) {
    int scale = 0;
    while (scale_rewards_names[scale] && strcmp(scale_rewards_names[scale], name) != 0) scale++;
    assert_non_null(scale_rewards_names[scale]);
    return (enum scale_rewards)scale;
}

static void assert_near(double got, double wanted, const char *what, size_t test) {
    if (!(fabs(got - wanted) <= 1e-9 * fabs(wanted) + 1e-12))
        fail_msg("case %zu, %s: %.12g, not %.12g", test, what, got, wanted);
}

static void compare(const json_t *test, size_t index) {
    struct error err;
    double rewards[MOST], advantages[MOST];
    int64_t sizes[MOST];
    struct advantage_statistics statistics;
    const json_t *groups = json_object_get(test, "rewards"), *wanted = json_object_get(test, "advantages");
    size_t count = json_array_size(groups), size = json_array_size(json_array_get(groups, 0));
    assert_true(count > 0 && count * size <= MOST);
    for (size_t g = 0; g < count; g++) {
        sizes[g] = (int64_t)size;
        for (size_t i = 0; i < size; i++)
            rewards[g * size + i] = json_number_value(json_array_get(json_array_get(groups, g), i));
    }
    assert_int_equal(advantage_compute(scale_of(json_string_value(json_object_get(test, "scale_rewards"))),
                                       rewards, sizes, (int64_t)count, advantages, &statistics, &err),
                     STATUS_OK);
    for (size_t g = 0; g < count; g++)
        for (size_t i = 0; i < size; i++)
            assert_near(advantages[g * size + i],
                        json_number_value(json_array_get(json_array_get(wanted, g), i)), "advantage", index);
    assert_near(statistics.reward, number(test, "reward"), "reward", index);
    assert_near(statistics.reward_std, number(test, "reward_std"), "reward_std", index);
    assert_near(statistics.frac_reward_zero_std, number(test, "frac_reward_zero_std"), "flat groups", index);
    assert_near(statistics.all_wrong, number(test, "all_wrong"), "all_wrong", index);
    assert_near(statistics.all_correct, number(test, "all_correct"), "all_correct", index);
}

static void advantages_are_those_of_torch(void **state) {
    (void)state;
    struct error err;
    size_t i;
    json_t *test, *golden = json_read_file("tests/golden/grpo/advantages.json", 1 << 20, &err);
    if (!golden) fail_msg("%s", err.message);
    json_array_foreach(json_object_get(golden, "cases"), i, test) compare(test, i);
    assert_true(i >= 15);
    json_decref(golden);
}

/* Nothing is left of rounding where there is nothing to learn. */
static void flat_groups_have_none(void **state) {
    (void)state;
    struct error err;
    double rewards[] = {0.1, 0.1, 0.1, 0.7}, advantages[4];
    int64_t sizes[] = {3, 1};
    struct advantage_statistics statistics;
    for (int scale = 0; scale_rewards_names[scale]; scale++) {
        assert_int_equal(
            advantage_compute((enum scale_rewards)scale, rewards, sizes, 2, advantages, &statistics, &err),
            STATUS_OK);
        for (int i = 0; i < 4; i++) assert_true(advantages[i] == 0);
        assert_true(statistics.frac_reward_zero_std == 1);
    }
    assert_true(advantage_is_flat(rewards, 3));
    assert_false(advantage_is_flat(rewards, 4));
    assert_true(advantage_is_flat(rewards, 1));
    assert_true(advantage_is_flat(rewards, 0));
}

static void groups_of_all_sizes(void **state) {
    (void)state;
    struct error err;
    double rewards[] = {1, 0, 5, 2, 4, 6}, advantages[6];
    int64_t sizes[] = {2, 1, 0, 3};
    struct advantage_statistics statistics;
    assert_int_equal(advantage_compute(SCALE_GROUP, rewards, sizes, 4, advantages, &statistics, &err),
                     STATUS_OK);
    assert_near(advantages[0], 0.5 / (sqrt(0.5) + 1e-4), "of two", 0);
    assert_true(advantages[2] == 0);
    assert_near(advantages[5], 2 / (2 + 1e-4), "of three", 0);
    assert_int_equal(advantage_compute(SCALE_BATCH, rewards, sizes, 0, advantages, &statistics, &err),
                     STATUS_OK);
    assert_true(statistics.reward == 0 && statistics.reward_std == 0);
}

static void rewards_must_be_numbers(void **state) {
    (void)state;
    struct error err;
    double rewards[] = {1, 0, 1, NAN}, advantages[4];
    int64_t sizes[] = {2, 2};
    struct advantage_statistics statistics;
    assert_int_equal(advantage_compute(SCALE_NONE, rewards, sizes, 2, advantages, &statistics, &err),
                     STATUS_FAILED);
    assert_string_equal(err.message, "the reward of completion 2 of group 2 is nan");
    rewards[3] = 1;
    rewards[0] = -INFINITY;
    assert_int_equal(advantage_compute(SCALE_GROUP, rewards, sizes, 2, advantages, &statistics, &err),
                     STATUS_FAILED);
    assert_string_equal(err.message, "the reward of completion 1 of group 1 is -inf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_are_those_of_torch),
        cmocka_unit_test(flat_groups_have_none),
        cmocka_unit_test(groups_of_all_sizes),
        cmocka_unit_test(rewards_must_be_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
