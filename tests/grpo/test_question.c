/* The user's turn: the published one by the type of problem (tests/golden/grpo/rewards.json), or a
 * template's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "grpo/question.h"

static struct grpo_row example(const json_t *json, const char **options) {
    struct grpo_row row = {.problem = json_string_value(json_object_get(json, "problem")),
                           .kind = problem_find(json_string_value(json_object_get(json, "problem_type"))),
                           .options = options};
    const json_t *list = json_object_get(json, "options");
    for (size_t i = 0; i < json_array_size(list); i++)
        options[row.option_count++] = json_string_value(json_array_get(list, i));
    assert_non_null(row.kind);
    return row;
}

static void questions_are_the_published_ones(void **state) {
    (void)state;
    struct error err;
    size_t i;
    json_t *test, *golden = json_read_file("tests/golden/grpo/rewards.json", 4 << 20, &err);
    assert_non_null(golden);
    json_array_foreach(json_object_get(golden, "questions"), i, test) {
        const char *options[8];
        struct grpo_row row = example(test, options);
        char *question = question_write(NULL, &row, &err);
        assert_string_equal(question, json_string_value(json_object_get(test, "question")));
        free(question);
    }
    assert_int_equal(i, 6);
    json_decref(golden);
}

/* The file of a template, as question_template names it. */
static char reference[] = "@/tmp/vs2-test-question-XXXXXX";

static int set_up(void **state) {
    (void)state;
    int file = mkstemp(reference + 1);
    return file < 0 ? -1 : close(file);
}

static int tear_down(void **state) {
    (void)state;
    return unlink(reference + 1);
}

static void put_template(const char *text) {
    struct error err;
    if (file_write(reference + 1, text, strlen(text), &err) != STATUS_OK) fail_msg("%s", err.message);
}

static void assert_question(const char *value, const struct grpo_row *row, const char *wanted) {
    struct error err;
    char *template = question_template_read(value, &err);
    if (!template) fail_msg("%s", err.message);
    char *question = question_write(template, row, &err);
    assert_string_equal(question, wanted);
    free(question);
    free(template);
}

static void templates_replace_them(void **state) {
    (void)state;
    const char *options[] = {"A. x", "B. y"};
    struct grpo_row row = {.problem = "p {problem}", .kind = problem_find("video eval")};
    assert_question("Rate: {problem}!", &row, "Rate: p {problem}!");
    row = (struct grpo_row){
        .problem = "p", .kind = problem_find("multiple choice"), .options = options, .option_count = 2};
    put_template("{problem}{problem}\n");
    assert_question(reference, &row, "pOptions:\nA. x\nB. y\npOptions:\nA. x\nB. y\n\n");
}

static void templates_without_a_problem_are_refused(void **state) {
    (void)state;
    struct error err;
    assert_null(question_template_read("Rate it", &err));
    assert_string_equal(err.message, "no {problem} in 'Rate it'");
    put_template("{prompt}");
    assert_null(question_template_read(reference, &err));
    assert_non_null(strstr(err.message, ": no {problem} in it"));
    assert_null(question_template_read("@/nowhere/template.txt", &err));
    assert_non_null(strstr(err.message, "/nowhere/template.txt"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_the_published_ones),
        cmocka_unit_test(templates_replace_them),
        cmocka_unit_test(templates_without_a_problem_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
