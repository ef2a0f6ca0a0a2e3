/* Reading scores from text: a table of what models write, products of spellings, and hostile text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "eval/answer.h"
#include "tests/eval/answer_cases.h"

static struct answer read_text(const char *text) {
    struct answer answer;
    struct error err;
    assert_int_equal(answer_read(text, strlen(text), &answer, &err), STATUS_OK);
    return answer;
}

/* Compares with the expected scores (0: not read); the span must be the number, a problem must be told. */
static int differences(const char *text, const double expected[DIMENSIONS]) {
    struct answer answer = read_text(text);
    int wrong = 0;
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct answer_value *value = &answer.values[d];
        double got = value->found ? value->value : 0;
        bool span = !value->found || (value->start < value->end && value->end <= strlen(text));
        if (value->found && span && text[value->start] >= '0' && text[value->start] <= '9')
            span = strtod(text + value->start, NULL) == value->value;
        if (fabs(got - expected[d]) < 1e-9 && span && value->found == !*value->problem) continue;
        print_error("%s: got %g (span %zu-%zu, '%s'), not %g in:\n%s\n\n",
                    dimension_letter((enum dimension)d), got, value->start, value->end, value->problem,
                    expected[d], text);
        wrong++;
    }
    return wrong;
}

static void table_is_read(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof(answer_cases) / sizeof(answer_cases[0]); i++) {
        const struct answer_case *c = &answer_cases[i];
        wrong += differences(c->text, (double[]){c->v, c->t, c->p});
    }
    assert_int_equal(wrong, 0);
}

static const char *const name_sets[][DIMENSIONS] = {
    {"visual quality", "text-to-video alignment", "physical/common-sense consistency"},
    {"Visual Quality", "Text Alignment", "Physical Consistency"},
    {"**visual quality**", "**semantic alignment**", "**common-sense consistency**"},
    {"visual_quality", "t2v_alignment", "physical_plausibility"},
    {"视觉质量", "文本对齐", "物理一致性"},
};
static const char *const marks[] = {"(%d) ", "%d. ", "- ", "* ", "", "### ", "| "};
static const char *const descriptors[] = {"", " - clarity, smoothness", " (1-5)", " score"};
static const char *const separators[] = {": ", ":", " = ", "：", ": **", " | "};
static const char *const endings[] = {"\n",        "/5\n", " out of 5\n", "; ",  ".0\n",
                                      " (fair)\n", "**\n", ", ",          " |\n"};

/* Every combination of names, list marks, descriptors, separators, endings and order, behind a rationale that
 * holds other scores. */
static void products_are_read(void **state) {
    (void)state;
    static const int orders[][DIMENSIONS] = {{0, 1, 2}, {2, 0, 1}, {1, 0, 2}};
    const double expected[DIMENSIONS] = {4, 2, 5};
    int wrong = 0, cases = 0;
    for (int n = 0; n < 5 * 7 * 4 * 6 * 9 * 3; n++) {
        int k = n;
        const char *const *set = name_sets[k % 5];
        const char *mark = marks[(k /= 5) % 7], *descriptor = descriptors[(k /= 7) % 4];
        const char *separator = separators[(k /= 4) % 6], *ending = endings[(k /= 6) % 9];
        const int *order = orders[(k / 9) % 3];
        struct text text = {0};
        text_append_string(&text, n % 2 ? "<think>visual quality: 1, text alignment: 1, p: 1</think>\n" : "");
        for (int d = 0; d < DIMENSIONS; d++) {
            struct text number = {0};
            text_format(&number, "%d", d + 1);
            const char *place = strstr(mark, "%d");
            text_append(&text, mark, place ? (size_t)(place - mark) : strlen(mark));
            if (place) text_format(&text, "%s%s", number.data, place + 2);
            text_format(&text, "%s%s%s%d%s", set[order[d]], descriptor, separator, (int)expected[order[d]],
                        ending);
            text_free(&number);
        }
        if (wrong < 20) wrong += differences(text.data, expected);
        cases++;
        text_free(&text);
    }
    assert_int_equal(wrong, 0);
    assert_true(cases > 20000);
}

static void problems_are_told(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum dimension dimension;
        const char *problem;
    } cases[] = {
        {"</think>visual quality: 8\ntext alignment: 3\nphysical consistency: 5", DIMENSION_VISUAL,
         "'8' is not in 1 to 5"},
        {"</think>visual quality: 8/10\ntext alignment: 3\nphysical consistency: 5", DIMENSION_VISUAL,
         "'8/10' is on another scale"},
        {"</think>visual quality: 3-4\ntext alignment: 3\nphysical consistency: 5", DIMENSION_VISUAL,
         "'3-4' is a range, not a score"},
        {"</think>visual quality: N/A\ntext alignment: 3\nphysical consistency: 5", DIMENSION_VISUAL,
         "the answer says 'N/A'"},
        {"</think>visual quality: 4\ntext alignment: 3\n", DIMENSION_PHYSICAL, "no score in the answer"},
        {"visual quality: 4\ntext alignment: 3\nphys", DIMENSION_PHYSICAL, "the text ends before this score"},
        {"<think>visual quality is", DIMENSION_ALIGNMENT, "the text ends inside the rationale"},
        {"<think>a</think> b", DIMENSION_ALIGNMENT, "no score after the rationale"},
        {"a b", DIMENSION_ALIGNMENT, "no answer in the text"},
        {"", DIMENSION_ALIGNMENT, "the text is empty"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct answer answer = read_text(cases[i].text);
        assert_false(answer.values[cases[i].dimension].found);
        assert_string_equal(answer.values[cases[i].dimension].problem, cases[i].problem);
    }
}

static void spans_are_the_numbers(void **state) {
    (void)state;
    const char *text = "<think>r</think>\nvisual quality: **4/5**\ntext alignment: four\n物理一致性：３.5分";
    struct answer answer = read_text(text);
    static const char *const expected[DIMENSIONS] = {"4", "four", "３.5"};
    for (int d = 0; d < DIMENSIONS; d++) {
        assert_true(answer.values[d].found);
        assert_int_equal(answer.values[d].end - answer.values[d].start, strlen(expected[d]));
        assert_memory_equal(text + answer.values[d].start, expected[d], strlen(expected[d]));
    }
}

/* Long and repetitive text is read in linear time: a quadratic search would run for minutes here. */
static void hostile_text_ends(void **state) {
    (void)state;
    static const char *const pieces[] = {"visual quality",
                                         "visual quality: 1 ",
                                         "v: 1 p: 2 ",
                                         "(",
                                         "visual quality (",
                                         "\n",
                                         "<think>",
                                         "</think>",
                                         "<answer>",
                                         "visual quality - ",
                                         "1",
                                         "score ",
                                         "physical: ",
                                         "ground truth: visual quality: 1, ",
                                         "\xFF",
                                         "visual quality\n\n",
                                         "1 for visual quality ",
                                         "<think>visual quality: 1<answer>",
                                         "- ",
                                         "物理"};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct text text = {0};
        while (text.length < 100000) text_append_string(&text, pieces[i]);
        struct answer answer;
        struct error err;
        assert_int_equal(answer_read(text.data, text.length, &answer, &err), STATUS_OK);
        text_free(&text);
    }
}

/* Every prefix of an answer, cut at any byte, is read without a wrong score. */
static void prefixes_never_lie(void **state) {
    (void)state;
    const char *text =
        "<think>\n**Visual quality: 1** blur\nText alignment: 1 cat, physical consistency: 1.\n</think>\n\n"
        "(1) visual quality: 4\n(2) text-to-video alignment: 3\n(3) physical/common-sense consistency: 5\n";
    static const double expected[DIMENSIONS] = {4, 3, 5};
    for (size_t length = 0; length <= strlen(text); length++) {
        struct answer answer;
        struct error err;
        char *copy = malloc(length + 1); /* so that the sanitizer sees a read past the end */
        assert_non_null(copy);
        memcpy(copy, text, length);
        assert_int_equal(answer_read(copy, length, &answer, &err), STATUS_OK);
        for (int d = 0; d < DIMENSIONS; d++)
            if (answer.values[d].found) assert_true(answer.values[d].value == expected[d]);
        free(copy);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_read),     cmocka_unit_test(products_are_read),
        cmocka_unit_test(problems_are_told), cmocka_unit_test(spans_are_the_numbers),
        cmocka_unit_test(hostile_text_ends), cmocka_unit_test(prefixes_never_lie)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
