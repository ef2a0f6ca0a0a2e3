/* Recorded rollouts: how lines become groups and steps, what completions they hold, and which are refused
 * (tests/cli/test_train_grpo.sh trains from them). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "grpo/recorded.h"

static struct error err;
static char folder[] = "/tmp/vs2-recorded-XXXXXX", path[64];
static struct grpo_rows *rows;
static struct tokenizer *tokenizer;
static struct generation_config generation;

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/rollouts.jsonl", folder);
    tokenizer = tokenizer_load("tests/golden/model/tied", &err);
    return !tokenizer || grpo_rows_open("tests/golden/grpo/rows.jsonl", "tests/golden/video", &rows, &err) ||
           generation_config_read("tests/golden/model/tied", &generation, &err);
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    grpo_rows_close(rows);
    tokenizer_free(tokenizer);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static struct recorded *open_text(const char *text, bool logprobs) {
    const struct recorded_settings settings = {path, rows, tokenizer, &generation, logprobs};
    assert_int_equal(file_write(path, text, strlen(text), &err), STATUS_OK);
    return recorded_open(&settings, &err);
}

#define LINE(step, id, rest) "{\"step\": " step ", \"problem_id\": " id ", " rest ", \"reward\": 0.5}\n"

static void test_groups(void **state) {
    (void)state;
    char text[1024];
    int32_t stop = generation.stop_tokens[0];
    snprintf(text, sizeof text,
             LINE("3", "\"1\"", "\"completion\": \"<think>\"") LINE("3", "1", "\"completion_ids\": [5, %d]")
                 LINE("3", "2", "\"completion_ids\": [5, 6]") LINE("3", "1", "\"completion_ids\": []")
                     LINE("9", "1", "\"completion\": \"\", \"completion_ids\": null"),
             stop);
    struct recorded *recorded = open_text(text, false);
    if (!recorded) fail_msg("%s", err.message);
    const int64_t starts[] = {0, 3, 4}, first = grpo_rows_find(rows, "1"), second = grpo_rows_find(rows, "2");
    const int64_t expected[] = {first, second, first, first}, counts[] = {2, 1, 1, 1};
    assert_int_equal(recorded_steps(recorded), 2);
    assert_memory_equal(recorded_starts(recorded), starts, sizeof starts);
    assert_memory_equal(recorded_rows(recorded), expected, sizeof expected);
    for (int64_t g = 0; g < 4; g++) {
        struct grpo_group group = {.row = expected[g]};
        assert_int_equal(recorded_read(recorded, g, &group, &err), STATUS_OK);
        assert_int_equal(group.count, counts[g]);
        const struct grpo_completion *last = &group.completions[group.count - 1];
        assert_true(last->reward == 0.5);
        assert_null(last->rollout);
        assert_int_equal(last->truncated, g == 1); /* 5, 6 does not end; what is empty did not run on */
        if (g == 0) {                              /* a text gets its end */
            struct token_list tokens = {0};
            assert_int_equal(tokenizer_encode(tokenizer, "<think>", 7, &tokens, &err), STATUS_OK);
            assert_int_equal(group.completions[0].count, tokens.count + 1);
            assert_memory_equal(group.completions[0].tokens, tokens.ids, tokens.count * sizeof *tokens.ids);
            assert_int_equal(group.completions[0].tokens[tokens.count], stop);
            assert_false(group.completions[0].truncated);
            token_list_free(&tokens);
        }
        if (g == 2) assert_int_equal(last->count, 0);
        if (g == 3) assert_int_equal(last->count, 1);
        grpo_group_clear(&group);
    }
    recorded_close(recorded);
}

static void test_logprobs(void **state) {
    (void)state;
    struct recorded *recorded =
        open_text(LINE("1", "1", "\"completion_ids\": [5, 6], \"logprobs\": [-0.5, -2]"), true);
    if (!recorded) fail_msg("%s", err.message);
    struct grpo_group group = {0};
    assert_int_equal(recorded_read(recorded, 0, &group, &err), STATUS_OK);
    assert_true(group.completions[0].rollout[0] == -0.5f && group.completions[0].rollout[1] == -2);
    grpo_group_clear(&group);
    recorded_close(recorded);
}

static void test_refused(void **state) {
    (void)state;
    const struct {
        const char *text, *message;
        bool logprobs;
    } cases[] = {
        {"[1]", "row 1: it is no JSON object", false},
        {LINE("1.5", "1", "\"completion\": \"\""), "row 1: 'step' is no whole number", false},
        {LINE("1", "null", "\"completion\": \"\""), "row 1: 'problem_id' is neither a text nor a whole",
         false},
        {LINE("1", "77", "\"completion\": \"\""), "row 1: the data set has no problem '77'", false},
        {LINE("1", "1", "\"completion_ids\": 3"), "row 1: 'completion_ids' is no list", false},
        {LINE("1", "1", "\"completion_ids\": [3, \"4\"]"), "row 1: item 2 of 'completion_ids' is no", false},
        {LINE("1", "1", "\"completion_ids\": [2147483648]"), "row 1: item 1 of 'completion_ids'", false},
        {LINE("1", "1", "\"text\": \"\""), "row 1: there is neither 'completion_ids' nor", false},
        {LINE("1", "1", "\"completion\": \"\"") "{}", "row 2: 'step' is no whole number", false},
        {LINE("1", "1", "\"completion_ids\": [3]"), "row 1: importance_sampling_cap wants 'logprobs'", true},
        {LINE("1", "1", "\"completion_ids\": [3], \"logprobs\": []"), "as many as 'completion_ids'", true},
        {LINE("1", "1", "\"completion\": \"a\", \"logprobs\": [1]"), "as many as 'completion_ids'", true},
        {LINE("1", "1", "\"completion_ids\": [3], \"logprobs\": [null]"), "item 1 of 'logprobs' is no", true},
        {"{\"step\": 1,", "rollouts.jsonl", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&err, 0, sizeof err);
        assert_null(open_text(cases[i].text, cases[i].logprobs));
        if (!strstr(err.message, cases[i].message)) fail_msg("%zu: %s", i, err.message);
    }
    const struct recorded_settings nowhere = {"/nowhere", rows, tokenizer, &generation, false};
    assert_null(recorded_open(&nowhere, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
