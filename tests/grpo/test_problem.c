/* Types of problem: answers judged as the published functions judge them (tests/golden/grpo/rewards.json,
 * made by tests/reference/grpo_rewards.py), stems, and solutions that cannot be read. */
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
#include "grpo/problem.h"
#include "grpo/rouge.h"
#include "grpo/stemmer.h"

static json_t *golden;

static int setup(void **state) {
    (void)state;
    struct error err;
    golden = json_read_file("tests/golden/grpo/rewards.json", 4 << 20, &err);
    if (!golden) fail_msg("%s", err.message);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    json_decref(golden);
    return 0;
}

static const char *string(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));
    if (!value) fail_msg("the golden file has no text '%s'", key);
    return value;
}

static double judge(const char *kind_name, const char *solution_text, const char *completion, bool distance) {
    struct error err;
    struct solution solution;
    double value = NAN;
    const struct problem_kind *kind = problem_find(kind_name);
    assert_non_null(kind);
    if (problem_read(kind, solution_text, &solution, &err) != STATUS_OK) fail_msg("%s", err.message);
    problem_judge *function = distance ? kind->distance : kind->accuracy;
    assert_int_equal(function(&solution, passage_of(completion), &value, &err), STATUS_OK);
    return value;
}

static void answers_are_judged_as_published(void **state) {
    (void)state;
    size_t i, right = 0;
    json_t *test;
    json_array_foreach(json_object_get(golden, "accuracy"), i, test) {
        const char *kind = string(test, "problem_type"), *completion = string(test, "completion");
        double wanted = json_number_value(json_object_get(test, "reward"));
        double value = judge(kind, string(test, "solution"), completion, false);
        if (!(fabs(value - wanted) <= 1e-12))
            fail_msg("%s, '%s' for '%s': %.15g, not %.15g", kind, completion, string(test, "solution"), value,
                     wanted);
        right += wanted > 0;
    }
    assert_true(i > 150 && right > 80);
}

static void words_have_the_stems_of_nltk(void **state) {
    (void)state;
    size_t compared = 0;
    const char *word;
    json_t *stem;
    json_object_foreach(json_object_get(golden, "stems"), word, stem) {
        char letters[64];
        assert_true(strlen(word) < sizeof letters);
        memcpy(letters, word, strlen(word) + 1);
        letters[stem_word(letters, strlen(word))] = '\0';
        if (strcmp(letters, json_string_value(stem)) != 0)
            fail_msg("%s: %s, not %s", word, letters, json_string_value(stem));
        compared++;
    }
    assert_true(compared > 700);
}

/* What the published pattern does not read, or reads from the rationale. */
static void scores_are_read_where_the_answer_is(void **state) {
    (void)state;
    static const char solution[] = "<answer>visual quality: 4; text-to-video alignment: 3; "
                                   "physical/common-sense consistency: 5</answer>";
    static const struct {
        const char *completion;
        double accuracy, distance;
    } cases[] = {
        {"<think>visual quality: 1, text-to-video alignment: 1, physical/common-sense consistency: 1</think>"
         "(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical/common-sense consistency: 5",
         1, 1},
        {"visual quality - clarity: 4; text-to-video alignment - fidelity: 3; physical/common-sense "
         "consistency - physics: 4",
         0.7, 11.0 / 12},
        {"visual quality: 1; text-to-video alignment: 5; physical/common-sense consistency: 5", 0, 7.0 / 12},
        {"visual quality: 4.5; text-to-video alignment: 3; physical/common-sense consistency: 5", 1,
         11.5 / 12},
        {"visual quality: 4; text-to-video alignment: 3", 0, 0},
        {"", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double accuracy = judge("video eval", solution, cases[i].completion, false);
        double distance = judge("video eval", solution, cases[i].completion, true);
        if (fabs(accuracy - cases[i].accuracy) > 1e-12 || fabs(distance - cases[i].distance) > 1e-12)
            fail_msg("case %zu: %g and %g", i, accuracy, distance);
    }
}

static void distance_is_accuracy_elsewhere(void **state) {
    (void)state;
    assert_true(judge("regression", "8", "<answer>6</answer>", true) ==
                judge("regression", "8", "<answer>6</answer>", false));
    assert_true(judge("OCR", "a b", "<answer>a</answer>", true) == 0.5);
    assert_true(judge("multiple choice", "<answer>A</answer>", "<answer>A</answer>", true) == 1);
}

static void wrong_solutions_say_why(void **state) {
    (void)state;
    static const struct {
        const char *kind, *text, *reason;
    } cases[] = {
        {"video eval", "<answer>visual quality: 4; text-to-video alignment: 3</answer>",
         "the solution's physical/common-sense consistency cannot be read"},
        {"video eval", "", "the solution's visual quality cannot be read"},
        {"multiple choice", "<answer> \n</answer>", "the solution is empty"},
        {"OCR", "", "the solution is empty"},
        {"free-form", "<answer></answer>", "the solution is empty"},
        {"numerical", "<answer>five</answer>", "the solution 'five' is no number"},
        {"numerical", "<answer>1e999</answer>", "the solution '1e999' is no number"},
        {"regression", "<answer>nan</answer>", "the solution 'nan' is no number"},
        {"regression", "<answer>,</answer>", "the solution ',' is no number"},
        {"regression", "<answer>1234567890123456789012345678901234567890123456789012345678901234</answer>",
         "is no number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct solution solution;
        assert_int_equal(problem_read(problem_find(cases[i].kind), cases[i].text, &solution, &err),
                         STATUS_FAILED);
        if (!strstr(err.message, cases[i].reason)) fail_msg("case %zu: %s", i, err.message);
    }
    assert_null(problem_find("video"));
}

/* Long answers of one word, and of one letter over and over, are no trouble. */
static void long_answers_are_judged(void **state) {
    (void)state;
    enum { LENGTH = 20000 };
    char *text = malloc(LENGTH + 32);
    assert_non_null(text);
    memcpy(text, "<answer>", 8);
    memset(text + 8, 'y', LENGTH);
    memcpy(text + 8 + LENGTH, "</answer>", 10);
    assert_true(judge("free-form", "yyyy", text, false) == 0);
    for (int i = 0; i < LENGTH; i += 2) text[8 + i] = ' ';
    assert_true(judge("OCR", "y", text, false) == 0);
    assert_true(judge("free-form", "y", text, false) > 0);
    free(text);
}

static void passages_are_cut(void **state) {
    (void)state;
    struct error err;
    struct passage *words, inside;
    size_t count;
    struct passage trimmed = passage_trim(passage_of(" \n\xE3\x80\x80"
                                                     "a b\xC2\xA0"));
    assert_true(passage_equal(trimmed, passage_of("a b")));
    assert_int_equal(passage_trim(passage_of(" \t ")).length, 0);
    assert_int_equal(passage_trim(passage_of("")).length, 0);
    assert_false(passage_between(passage_of("<a>x"), "<a>", "</a>", &inside));
    assert_false(passage_between(passage_of("</a><a>x"), "<a>", "</a>", &inside));
    assert_true(passage_between(passage_of("</a><a>x</a>y</a>"), "<a>", "</a>", &inside));
    assert_true(passage_equal(inside, passage_of("x")));
    assert_int_equal(passage_words(passage_of(" a\tbc \xFF d"), &words, &count, &err), STATUS_OK);
    assert_int_equal(count, 4);
    assert_true(passage_equal(words[1], passage_of("bc")));
    assert_true(passage_equal(words[2], passage_of("\xFF")));
    free(words);
    assert_int_equal(passage_words(passage_of(""), &words, &count, &err), STATUS_OK);
    assert_int_equal(count, 0);
    free(words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_judged_as_published),
        cmocka_unit_test(words_have_the_stems_of_nltk),
        cmocka_unit_test(scores_are_read_where_the_answer_is),
        cmocka_unit_test(distance_is_accuracy_elsewhere),
        cmocka_unit_test(wrong_solutions_say_why),
        cmocka_unit_test(long_answers_are_judged),
        cmocka_unit_test(passages_are_cut),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
