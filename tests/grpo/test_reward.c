/* Rewards by name: their values, the list of them, and the numbers of the log. Accuracy itself is tested in
 * test_problem.c, programs in test_reward_program.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "base/json.h"
#include "grpo/reward.h"

enum { MOST = 8 };

/* Answers whose accuracies are 1, 0.7, 0.4, 0.1 and 0. */
#define ANSWER(v, t, p)                                                                                      \
    "(1) visual quality: " #v "\n(2) text-to-video alignment: " #t                                           \
    "\n(3) physical/common-sense consistency: " #p
static const char *const right = ANSWER(3, 3, 3), *const near = ANSWER(3, 3, 4),
                         *const fair = ANSWER(2, 3, 4), *const poor = ANSWER(4, 4, 4),
                         *const wrong = ANSWER(1, 3, 3);

static struct grpo_row make_row(const char *kind, const char *solution) {
    struct error err;
    struct grpo_row row = {.id = "1", .problem = "q", .kind = problem_find(kind), .solution = solution};
    if (problem_read(row.kind, solution, &row.truth, &err) != STATUS_OK) fail_msg("%s", err.message);
    return row;
}

static struct grpo_row scores_row(void) {
    return make_row("video eval", ANSWER(3, 3, 3));
}

static struct reward_completion completion(const char *text, int64_t tokens) {
    return (struct reward_completion){.text = text, .length = strlen(text), .count = tokens};
}

static struct rewards list_of(const char *const *names, int64_t count, const double *weights) {
    struct error err;
    struct rewards rewards;
    if (rewards_init(&rewards, names, count, weights, count, 10, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return rewards;
}

/* The values of one reward for a group. */
static void compute(const char *name, const struct reward_group *group, double *values) {
    struct error err;
    double totals[MOST];
    struct rewards rewards = list_of(&name, 1, NULL);
    assert_int_equal(rewards_compute(&rewards, group, 1, values, totals, NULL, &err), STATUS_OK);
    for (int64_t i = 0; i < group->count; i++) assert_true(totals[i] == values[i]);
    rewards_free(&rewards);
}

static double value_of(const char *name, const struct grpo_row *row, struct reward_completion one) {
    double value;
    compute(name, &(struct reward_group){.row = row, .completions = &one, .count = 1}, &value);
    return value;
}

static void assert_values(const double *values, const double *wanted, int64_t count, const char *what) {
    for (int64_t i = 0; i < count; i++)
        if (fabs(values[i] - wanted[i]) > 1e-12)
            fail_msg("%s, completion %lld: %g, not %g", what, (long long)i, values[i], wanted[i]);
}

/* ---- Of one completion ------------------------------------------------------------------------------- */

static void accuracies_differ(void **state) {
    (void)state;
    struct grpo_row row = scores_row();
    const struct reward_completion completions[] = {completion(right, 9), completion(near, 9),
                                                    completion(poor, 9), completion(wrong, 9),
                                                    completion("nothing", 2)};
    const struct reward_group group = {.row = &row, .completions = completions, .count = 5};
    double values[MOST];
    compute("accuracy", &group, values);
    assert_values(values, (const double[]){1, 0.7, 0.1, 0, 0}, 5, "accuracy");
    compute("exact", &group, values);
    assert_values(values, (const double[]){1, 0, 0, 0, 0}, 5, "exact");
    compute("distance", &group, values);
    assert_values(values, (const double[]){1, 11.0 / 12, 9.0 / 12, 10.0 / 12, 0}, 5, "distance");
}

/* The published pattern, and white space before it. */
static void format_wants_a_thought(void **state) {
    (void)state;
    struct error err;
    struct grpo_row row = scores_row();
    size_t i;
    json_t *test, *golden = json_read_file("tests/golden/grpo/rewards.json", 4 << 20, &err);
    assert_non_null(golden);
    json_array_foreach(json_object_get(golden, "format"), i, test) {
        const char *text = json_string_value(json_object_get(test, "text"));
        bool wanted = json_is_true(json_object_get(test, "matches"));
        if (value_of("format", &row, completion(text, 3)) != wanted) fail_msg("'%s'", text);
    }
    assert_true(i >= 10);
    json_decref(golden);
    assert_true(value_of("format", &row, completion("\n<think>\na\n</think>\n\n", 3)) == 1);
}

static void strict_format_wants_the_answer_too(void **state) {
    (void)state;
    struct grpo_row scores = scores_row(), choice = make_row("multiple choice", "A");
    static const struct {
        const char *text;
        bool scores, choice;
    } cases[] = {
        {"\n<think>\na\n</think>\n\n" ANSWER(1, 2, 5) "\n", true, false},
        {"<think>a</think>" ANSWER(1, 2, 5), true, false},
        {"<think> </think>" ANSWER(1, 2, 5), false, false},
        {"<think><think>a</think>" ANSWER(1, 2, 5), false, false},
        {"<think>a</think><think>b</think>" ANSWER(1, 2, 5), false, false},
        {"x<think>a</think>" ANSWER(1, 2, 5), false, false},
        {"<think>a</think>x" ANSWER(1, 2, 5), false, false},
        {"<think>a</think>" ANSWER(1, 2, 5) " good", false, false},
        {"<think>a</think>" ANSWER(0, 2, 5), false, false},
        {"<think>a</think>" ANSWER(1, 6, 5), false, false},
        {"<think>a</think>" ANSWER(1, 2, 45), false, false},
        {"<think>a</think>" ANSWER(1, 2, 4.5), false, false},
        {"<think>a</think>(1) visual quality: 1\n(2) text-to-video alignment: 2", false, false},
        {"<think>a</think>(1) visual quality:", false, false},
        {"<think>a</think>visual quality: 1\ntext-to-video alignment: 2\nphysical/common-sense consistency: "
         "3",
         false, false},
        {ANSWER(1, 2, 5), false, false},
        {"<think>a" ANSWER(1, 2, 5), false, false},
        {"", false, false},
        {"<think>a</think>\n<answer>A</answer>\n", false, true},
        {"<think>a</think><answer> </answer>", false, false},
        {"<think>a</think><answer>A", false, false},
        {"<think>a</think><answer>A</answer>x", false, false},
        {"<think>a</think><answer>A</answer><answer>B</answer>", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reward_completion one = completion(cases[i].text, 3);
        if (value_of("format_strict", &scores, one) != cases[i].scores ||
            value_of("format_strict", &choice, one) != cases[i].choice)
            fail_msg("'%s'", cases[i].text);
    }
}

static void repetition_is_that_of_trl(void **state) {
    (void)state;
    struct error err;
    struct grpo_row row = scores_row();
    size_t i, t;
    json_t *test, *id, *golden = json_read_file("tests/golden/grpo/rewards.json", 4 << 20, &err);
    assert_non_null(golden);
    json_array_foreach(json_object_get(golden, "repetition"), i, test) {
        int32_t tokens[64];
        json_array_foreach(json_object_get(test, "ids"), t, id) tokens[t] = (int32_t)json_integer_value(id);
        assert_true(t <= 64);
        struct reward_completion one = {.text = "", .tokens = tokens, .count = (int64_t)t};
        double value = value_of("repetition", &row, one);
        double wanted = json_number_value(json_object_get(test, "reward"));
        if (fabs(value - wanted) > 1e-12) fail_msg("case %zu: %g, not %g", i, value, wanted);
    }
    assert_true(i >= 9);
    json_decref(golden);
}

static void truncation_costs_one(void **state) {
    (void)state;
    struct grpo_row row = scores_row();
    struct reward_completion one = completion(right, 9);
    assert_true(value_of("truncation", &row, one) == 0);
    one.truncated = true;
    assert_true(value_of("truncation", &row, one) == -1);
}

static void nothing_said_is_nothing_earned(void **state) {
    (void)state;
    struct grpo_row row = scores_row();
    for (int i = 0; reward_names[i]; i++)
        assert_true(value_of(reward_names[i], &row, (struct reward_completion){.text = ""}) == 0);
}

/* ---- Of a group -------------------------------------------------------------------------------------- */

static void length_wants_two_good_ones(void **state) {
    (void)state;
    struct grpo_row row = scores_row();
    double values[MOST];
    struct reward_completion completions[] = {completion(right, 320), completion(near, 512),
                                              completion(near, 319),  completion(right, 513),
                                              completion(poor, 400),  completion(wrong, 400)};
    struct reward_group group = {.row = &row, .completions = completions, .count = 6};
    compute("length", &group, values);
    assert_values(values, (const double[]){0.2, 0.2, 0, 0, 0, 0}, 6, "length");
    completions[1] = completions[2] = completions[3] = completion(wrong, 400);
    compute("length", &group, values);
    assert_values(values, (const double[]){0, 0, 0, 0, 0, 0}, 6, "length of a single good one");
}

static void temporal_compares_with_shuffled_frames(void **state) {
    (void)state;
    struct grpo_row row = scores_row();
    double values[MOST];
    const struct reward_completion normal[] = {completion(right, 9), completion(poor, 9), completion(near, 9),
                                               completion(wrong, 9)};                     /* mean 0.45 */
    const struct reward_completion worse[] = {completion(near, 9), completion(poor, 9)};  /* 0.4 */
    const struct reward_completion better[] = {completion(near, 9), completion(near, 9)}; /* 0.7 */
    struct reward_group group = {.row = &row, .completions = normal, .count = 4};
    compute("temporal", &group, values);
    assert_values(values, (const double[]){0, 0, 0, 0}, 4, "without shuffled ones");
    group.shuffled = worse;
    group.shuffled_count = 2;
    compute("temporal", &group, values);
    assert_values(values, (const double[]){0.3, 0, 0.3, 0}, 4, "better than shuffled");
    group.shuffled = better;
    compute("temporal", &group, values);
    assert_values(values, (const double[]){0, 0, 0, 0}, 4, "worse than shuffled");
    const struct reward_completion limit[] = {completion(fair, 9), completion(fair, 9)}; /* 0.4 = 0.8 * 0.5 */
    const struct reward_completion half[] = {completion(right, 9), completion(wrong, 9)};
    group = (struct reward_group){&row, limit, 2, half, 2};
    compute("temporal", &group, values);
    assert_values(values, (const double[]){0.3, 0.3}, 2, "just as good as it must be");
}

/* Length and temporal look at the accuracy that is listed. */
static void the_listed_accuracy_counts(void **state) {
    (void)state;
    struct error err;
    struct grpo_row row = scores_row();
    const struct reward_completion completions[] = {completion(near, 400), completion(wrong, 400)};
    const struct reward_group group = {.row = &row, .completions = completions, .count = 2};
    static const struct {
        const char *names[3];
        double length;
    } cases[] = {{{"length", "exact"}, 0}, {{"length", "distance"}, 0.2}, {{"length", "format"}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double values[MOST], totals[MOST];
        struct rewards rewards = list_of(cases[i].names, 2, NULL);
        assert_int_equal(rewards_compute(&rewards, &group, 1, values, totals, NULL, &err), STATUS_OK);
        if (values[0] != cases[i].length) fail_msg("case %zu: %g", i, values[0]);
        rewards_free(&rewards);
    }
}

/* ---- The list ---------------------------------------------------------------------------------------- */

static void rewards_are_weighed_and_added(void **state) {
    (void)state;
    struct error err;
    struct grpo_row row = scores_row(), other = make_row("multiple choice", "A");
    const struct reward_completion first[] = {completion(right, 9), completion(wrong, 9)};
    struct reward_completion second[] = {completion("<think></think><answer>A</answer>", 9)};
    second[0].truncated = true;
    const struct reward_group groups[] = {{.row = &row, .completions = first, .count = 2},
                                          {.row = &row, .completions = NULL, .count = 0},
                                          {.row = &other, .completions = second, .count = 1}};
    const char *const names[] = {"accuracy", "truncation", "format"};
    const double weights[] = {2, 0.5, 0};
    double values[9], totals[3], means[3], stds[3];
    struct rewards rewards = list_of(names, 3, weights);
    assert_false(rewards_want_shuffled(&rewards));
    assert_int_equal(rewards_compute(&rewards, groups, 3, values, totals, NULL, &err), STATUS_OK);
    assert_values(values, (const double[]){1, 0, 0, 0, 0, 0, 1, -1, 1}, 9, "values");
    assert_values(totals, (const double[]){2, 0, 1.5}, 3, "totals");
    rewards_statistics(&rewards, values, 3, means, stds);
    assert_values(means, (const double[]){2.0 / 3, -1.0 / 3, 1.0 / 3}, 3, "means");
    assert_values(stds, (const double[]){sqrt(1.0 / 3), sqrt(1.0 / 3), sqrt(1.0 / 3)}, 3, "stds");
    rewards_statistics(&rewards, values, 1, means, stds);
    assert_values(means, values, 3, "means of one");
    assert_values(stds, (const double[]){0, 0, 0}, 3, "stds of one");
    rewards_statistics(&rewards, values, 0, means, stds);
    assert_values(means, (const double[]){0, 0, 0}, 3, "means of none");
    rewards_free(&rewards);
}

static void expect_usage(const char *const *names, int64_t count, const double *weights, int64_t weight_count,
                         const char *message) {
    struct error err;
    struct rewards rewards;
    assert_int_equal(rewards_init(&rewards, names, count, weights, weight_count, 10, &err), STATUS_USAGE);
    assert_string_equal(err.message, message);
    rewards_free(&rewards);
}

static void wrong_lists_are_refused(void **state) {
    (void)state;
    const char *const names[] = {"accuracy", "fromat", "accuracy", "cmd:", "reward_model_of_mine"};
    const double weights[] = {1, NAN, 3};
    expect_usage(names, 0, NULL, 0, "there are no rewards");
    expect_usage(names, 2, NULL, 0, "there is no reward 'fromat' (did you mean 'format'?)");
    expect_usage(names + 3, 1, NULL, 0, "there is no reward 'cmd:'");
    expect_usage(names + 4, 1, NULL, 0, "there is no reward 'reward_model_of_mine'");
    expect_usage((const char *const[]){"format", "format"}, 2, NULL, 0,
                 "the reward 'format' is listed twice");
    expect_usage(names, 1, weights, 3, "3 weights for 1 rewards");
    expect_usage((const char *const[]){"accuracy", "format"}, 2, weights, 2,
                 "the weight of the reward 'format' is nan");
}

static void all_names_are_known(void **state) {
    (void)state;
    struct error err;
    struct rewards rewards;
    int64_t count = 0;
    while (reward_names[count]) count++;
    assert_int_equal(rewards_init(&rewards, reward_names, count, NULL, 0, 10, &err), STATUS_OK);
    assert_true(rewards_want_shuffled(&rewards));
    assert_int_equal(count, 9);
    rewards_free(&rewards);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accuracies_differ),
        cmocka_unit_test(format_wants_a_thought),
        cmocka_unit_test(strict_format_wants_the_answer_too),
        cmocka_unit_test(repetition_is_that_of_trl),
        cmocka_unit_test(truncation_costs_one),
        cmocka_unit_test(nothing_said_is_nothing_earned),
        cmocka_unit_test(length_wants_two_good_ones),
        cmocka_unit_test(temporal_compares_with_shuffled_frames),
        cmocka_unit_test(the_listed_accuracy_counts),
        cmocka_unit_test(rewards_are_weighed_and_added),
        cmocka_unit_test(wrong_lists_are_refused),
        cmocka_unit_test(all_names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
