/* Generations: what is saved comes back to the last bit, what is damaged is refused, and advantages are those
 * of the groups that are there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/generation.h"

enum { REWARDS = 2, TOKENS = 3 };

static struct error err;

/* Two steps of two slots and one, the second slot empty; the last group has one completion, without tokens.
 */
static struct generation *make(void) {
    const int64_t rows[] = {7, 3, 11}, starts[] = {4, 6, 7};
    struct generation *generation = generation_new(rows, starts, 2, REWARDS, &err);
    assert_non_null(generation);
    grpo_group_clear(&generation->groups[1]);
    for (int64_t g = 0; g < 3; g += 2) {
        struct grpo_group *group = &generation->groups[g];
        assert_int_equal(grpo_group_make(group, g == 0 ? 2 : 1, &err), STATUS_OK);
        for (int64_t c = 0; c < group->count; c++) {
            struct grpo_completion *completion = &group->completions[c];
            completion->count = g == 0 ? TOKENS : 0;
            completion->truncated = c == 1;
            completion->reward = 1 / 3.0 + (double)c;
            completion->tokens = calloc(TOKENS, sizeof *completion->tokens);
            completion->rewards = calloc(REWARDS, sizeof *completion->rewards);
            completion->rollout = calloc(TOKENS, sizeof *completion->rollout);
            completion->reference = c == 0 ? calloc(TOKENS, sizeof *completion->reference) : NULL;
            completion->rewards[1] = 1e-300 * (double)(c + 1);
            for (int t = 0; t < TOKENS; t++) {
                completion->tokens[t] = t == 0 ? INT32_MAX : t;
                completion->rollout[t] = -1.1f / (float)(3 * t + c + 1);
                if (completion->reference) completion->reference[t] = -1e-38f * (float)t;
            }
        }
    }
    return generation;
}

static void check_floats(const float *a, const float *b, int64_t count) {
    assert_int_equal(a == NULL, b == NULL);
    if (a && count > 0) assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

static void test_round_trip(void **state) {
    (void)state;
    struct generation *before = make();
    json_t *saved = generation_save(before);
    assert_non_null(saved);
    struct text text = {0}; /* as a checkpoint writes it */
    json_append(&text, saved, false);
    json_decref(saved);
    saved = json_read_text(text.data, text.length, "a generation", &err);
    struct generation *after = generation_load(saved, REWARDS, &err);
    if (!after) fail_msg("%s", err.message);
    assert_int_equal(after->steps, 2);
    assert_memory_equal(after->starts, before->starts, 3 * sizeof *after->starts);
    for (int64_t g = 0; g < generation_slots(before); g++) {
        const struct grpo_group *a = &before->groups[g], *b = &after->groups[g];
        assert_int_equal(a->row, b->row);
        assert_int_equal(a->count, b->count);
        for (int64_t c = 0; c < a->count; c++) {
            const struct grpo_completion *x = &a->completions[c], *y = &b->completions[c];
            assert_int_equal(x->count, y->count);
            assert_int_equal(x->truncated, y->truncated);
            assert_true(x->reward == y->reward);
            assert_memory_equal(x->rewards, y->rewards, REWARDS * sizeof *x->rewards);
            if (x->count > 0) assert_memory_equal(x->tokens, y->tokens, TOKENS * sizeof *x->tokens);
            check_floats(x->rollout, y->rollout, x->count);
            check_floats(x->old_logprob, y->old_logprob, x->count);
            check_floats(x->reference, y->reference, x->count);
        }
    }
    text_free(&text);
    json_decref(saved);
    generation_free(before);
    generation_free(after);
}

/* What is refused: the member of the first completion, of the first group, or of all, that becomes `value`.
 */
static const struct {
    enum { IN_COMPLETION, IN_GROUP, IN_ALL } place;
    const char *member, *value, *message;
} damages[] = {
    {IN_COMPLETION, "tokens", "null", "there are no tokens"},
    {IN_COMPLETION, "tokens", "[1, 2147483648, 2]", "a token is out of range"},
    {IN_COMPLETION, "tokens", "[1, -1, 2]", "a token is out of range"},
    {IN_COMPLETION, "rewards", "[1]", "has not 2 numbers"},
    {IN_COMPLETION, "rollout", "[1, 2, 3, 4]", "has not 3 numbers"},
    {IN_COMPLETION, "old_logprob", "3", "has not 3 numbers"},
    {IN_COMPLETION, "reference", "[]", "has not 3 numbers"},
    {IN_COMPLETION, "truncated", "1", "truncated"},
    {IN_COMPLETION, "reward", "\"x\"", "reward"},
    {IN_GROUP, "row", "-2", "row"},
    {IN_GROUP, "completions", "{}", "a group is none"},
    {IN_ALL, "starts", "[0]", "there are no steps"},
    {IN_ALL, "starts", "[0, 2]", "steps and groups do not match"},
    {IN_ALL, "starts", "[1, 2, 3]", "steps and groups do not match"},
    {IN_ALL, "starts", "[0, 4, 3]", "steps and groups do not match"},
    {IN_ALL, "groups", "[]", "steps and groups do not match"},
};

static void test_damaged(void **state) {
    (void)state;
    struct generation *generation = make();
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        json_t *saved = generation_save(generation);
        json_t *group = json_array_get(json_object_get(saved, "groups"), 0);
        json_t *completion = json_array_get(json_object_get(group, "completions"), 0);
        json_t *const places[] = {completion, group, saved};
        json_object_set_new(places[damages[i].place], damages[i].member,
                            json_loads(damages[i].value, JSON_DECODE_ANY, NULL));
        memset(&err, 0, sizeof err);
        assert_null(generation_load(saved, REWARDS, &err));
        if (!strstr(err.message, damages[i].message)) fail_msg("%zu: %s", i, err.message);
        json_decref(saved);
    }
    generation_free(generation);
}

static void test_compare(void **state) {
    (void)state;
    struct generation *generation = make();
    assert_int_equal(generation_compare(generation, SCALE_GROUP, &err), STATUS_OK);
    double expected = 0.5 / (sqrt(0.5) + 1e-4);
    assert_true(fabs(generation->groups[0].completions[0].advantage + expected) < 1e-12);
    assert_true(fabs(generation->groups[0].completions[1].advantage - expected) < 1e-12);
    assert_true(generation->groups[2].completions[0].advantage == 0);
    assert_true(generation->statistics.frac_reward_zero_std == 0.5); /* the empty slot counts nowhere */
    assert_false(grpo_group_is_flat(&generation->groups[0]));
    assert_true(grpo_group_is_flat(&generation->groups[1]));
    assert_true(grpo_group_is_flat(&generation->groups[2]));
    generation->groups[0].completions[1].reward = NAN;
    assert_int_equal(generation_compare(generation, SCALE_GROUP, &err), STATUS_FAILED);
    generation_free(generation);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
