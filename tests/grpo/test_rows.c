/* GRPO's rows: what is read, what is wrong with a row or a file, and where rows and videos are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/file.h"
#include "grpo/rows.h"

static char folder[] = "/tmp/vs2-test-rows-XXXXXX";

static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* FOLDER/NAME, in static memory that the next call overwrites. */
static const char *place(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text) {
    struct error err;
    if (file_write(place(name), text, strlen(text), &err) != STATUS_OK) fail_msg("%s", err.message);
}

static struct grpo_rows *open_text(const char *text) {
    struct error err;
    struct grpo_rows *rows;
    put("rows.json", text);
    if (grpo_rows_open(place("rows.json"), NULL, &rows, &err) != STATUS_OK) fail_msg("%s", err.message);
    return rows;
}

#define SCORES                                                                                               \
    "<answer>visual quality: 4; text-to-video alignment: 3; physical/common-sense consistency: 5</answer>"

/* A row as published, with other members in place of %s. */
#define ROW(id, rest)                                                                                        \
    "{\"problem_id\": " id ", \"problem\": \"How?\", \"data_type\": \"video\", \"problem_type\": "           \
    "\"video eval\", \"options\": [], \"solution\": \"" SCORES                                               \
    "\", \"path\": \"./a.mp4\", \"data_source\": "                                                           \
    "\"\"" rest "}"

/* ---- Reading ----------------------------------------------------------------------------------------- */

static void rows_are_read(void **state) {
    (void)state;
    struct error err;
    struct grpo_row row;
    struct grpo_rows *rows = open_text("[" ROW("17", "") ",\n" ROW("\"x-2\"", ", \"extra\": [1]") "]");
    assert_int_equal(grpo_rows_count(rows), 2);
    assert_int_equal(grpo_rows_skip_count(rows), 0);
    assert_int_equal(grpo_rows_read(rows, 0, &row, &err), STATUS_OK);
    assert_string_equal(row.id, "17");
    assert_string_equal(row.problem, "How?");
    assert_int_equal(row.medium, MEDIUM_VIDEO);
    assert_string_equal(row.kind->name, "video eval");
    assert_int_equal(row.option_count, 0);
    assert_true(row.truth.scores[0] == 4 && row.truth.scores[1] == 3 && row.truth.scores[2] == 5);
    assert_string_equal(row.path, "./a.mp4");
    assert_int_equal(row.number, 1);
    grpo_row_free(&row);
    assert_int_equal(grpo_rows_read(rows, 1, &row, &err), STATUS_OK);
    assert_string_equal(row.id, "x-2");
    assert_int_equal(row.number, 2);
    grpo_row_free(&row);
    grpo_rows_close(rows);
}

static void every_type_is_read(void **state) {
    (void)state;
    static const char *const lines =
        "{\"problem\": \"q\", \"data_type\": \"image\", \"problem_type\": \"multiple choice\", \"options\": "
        "[\"A. x\", \"B. y\"], \"solution\": \"<answer>B</answer>\", \"path\": \"a.png\"}\n"
        "{\"problem\": \"q\", \"data_type\": \"video\", \"problem_type\": \"numerical\", \"solution\": "
        "\"<answer> 1,200.5 </answer>\", \"path\": \"a\", \"options\": null}\n\n"
        "{\"problem\": \"q\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"solution\": \"a b\", "
        "\"path\": \"a\", \"data_source\": null, \"problem_id\": null}\n"
        "{\"problem\": \"q\", \"data_type\": \"video\", \"problem_type\": \"free-form\", \"solution\": "
        "\"a\", "
        "\"path\": \"a\", \"data_source\": \"web\"}\n"
        "{\"problem\": \"q\", \"data_type\": \"video\", \"problem_type\": \"regression\", \"solution\": "
        "\"<answer>-2</answer>\", \"path\": \"a\"}";
    struct error err;
    struct grpo_row row;
    struct grpo_rows *rows = open_text(lines);
    assert_int_equal(grpo_rows_count(rows), 5);
    assert_int_equal(grpo_rows_read(rows, 0, &row, &err), STATUS_OK);
    assert_int_equal(row.medium, MEDIUM_IMAGE);
    assert_int_equal(row.option_count, 2);
    assert_string_equal(row.options[1], "B. y");
    assert_true(passage_equal(row.truth.text, passage_of("B")));
    assert_string_equal(row.id, "1");
    grpo_row_free(&row);
    assert_int_equal(grpo_rows_read(rows, 1, &row, &err), STATUS_OK);
    assert_true(row.truth.number == 1200.5);
    grpo_row_free(&row);
    assert_int_equal(grpo_rows_read(rows, 3, &row, &err), STATUS_OK);
    assert_string_equal(row.data_source, "web");
    assert_string_equal(row.id, "4");
    grpo_row_free(&row);
    grpo_rows_close(rows);
}

/* ---- Wrong rows -------------------------------------------------------------------------------------- */

static void wrong_rows_say_why(void **state) {
    (void)state;
    static const struct {
        const char *row, *reason;
    } cases[] = {
        {"7", "it is no JSON object"},
        {"{}", "there is no text 'problem'"},
        {ROW("1.5", ""), "'problem_id' is neither a text nor a whole number"},
        {ROW("\"a\\u0000b\"", ""), "'problem_id' has a zero byte"},
        {"{\"problem\": \"a\\u0000\"}", "'problem' has a zero byte"},
        {"{\"problem\": \"a\"}", "there is no text 'data_type'"},
        {"{\"problem\": \"a\", \"data_type\": \"audio\"}", "'data_type' is 'audio', not 'video' or 'image'"},
        {"{\"problem\": \"a\", \"data_type\": \"video\"}", "there is no text 'problem_type'"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"video evil\"}",
         "there is no 'problem_type' 'video evil' (did you mean 'video eval'?)"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"options\": 1}",
         "'options' is no list"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"options\": [\"a\", 1]}",
         "option 2 is no text"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\"}",
         "there is no text 'path'"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"path\": \"\"}",
         "'path' is empty"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"path\": \"a\", "
         "\"data_source\": 1}",
         "there is no text 'data_source'"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"OCR\", \"path\": \"a\"}",
         "there is no text 'solution'"},
        {"{\"problem\": \"a\", \"data_type\": \"video\", \"problem_type\": \"numerical\", \"path\": \"a\", "
         "\"solution\": \"<answer>many</answer>\"}",
         "the solution 'many' is no number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[2048];
        snprintf(text, sizeof text, "%s\n%s", cases[i].row, ROW("5", ""));
        struct grpo_rows *rows = open_text(text);
        assert_int_equal(grpo_rows_count(rows), 1);
        assert_int_equal(grpo_rows_skip_count(rows), 1);
        const struct grpo_skip *skip = grpo_rows_skip(rows, 0);
        assert_int_equal(skip->number, 1);
        assert_string_equal(skip->reason, cases[i].reason);
        assert_int_equal(grpo_rows_find(rows, "5"), 0);
        grpo_rows_close(rows);
    }
}

/* Every cause is named with the line and the byte, from 1. */
static void wrong_files_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *cause;
    } cases[] = {
        {"[{\"problem\": 1},\n {oops}]", "line 2, byte 23: string or '}' expected near 'oops'"},
        {"{\"problem\": 1}\n{\"problem\": 2", "line 2, byte 28: '}' expected near end of file"},
        {"[{\"a\": 1} {\"a\": 2}]", "line 1, byte 11: ',' or ']' expected after a row"},
        {"[{\"a\": 1}] x", "line 1, byte 12: text after the end of the list"},
        {"[{\"a\": 1, \"a\": 2}]", "line 1, byte 13: duplicate object key near '\"a\"'"},
        {"[]", "there are no rows in it"},
        {" \n", "there are no rows in it"},
    };
    struct error err;
    struct grpo_rows *rows;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char wanted[600];
        put("bad.json", cases[i].text);
        assert_int_equal(grpo_rows_open(place("bad.json"), NULL, &rows, &err), STATUS_FAILED);
        snprintf(wanted, sizeof wanted, "%s: %s", place("bad.json"), cases[i].cause);
        assert_string_equal(err.message, wanted);
        assert_null(rows);
    }
    assert_int_equal(grpo_rows_open(place("none.json"), NULL, &rows, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "none.json"));
    grpo_rows_close(NULL);
}

/* ---- Looking up -------------------------------------------------------------------------------------- */

static void rows_are_found_by_their_ids(void **state) {
    (void)state;
    struct grpo_rows *rows = open_text(
        ROW("9", "") ROW("\"b\"", "") ROW("10", "") "{\"problem_id\": 1}" ROW("\"b\"", "") ROW("\"\"", ""));
    assert_int_equal(grpo_rows_count(rows), 5);
    assert_int_equal(grpo_rows_find(rows, "9"), 0);
    assert_int_equal(grpo_rows_find(rows, "10"), 2);
    assert_int_equal(grpo_rows_find(rows, "b"), 1);
    assert_int_equal(grpo_rows_find(rows, ""), 4);
    assert_int_equal(grpo_rows_find(rows, "1"), -1);
    assert_int_equal(grpo_rows_find(rows, "zz"), -1);
    grpo_rows_close(rows);
}

static void assert_media(const char *rows_name, const char *media_folder, const char *wanted) {
    struct error err;
    struct grpo_rows *rows;
    struct grpo_row row;
    if (grpo_rows_open(place(rows_name), media_folder, &rows, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(grpo_rows_read(rows, 0, &row, &err), STATUS_OK);
    char *path = grpo_rows_media(rows, &row, &err);
    assert_string_equal(path, wanted);
    free(path);
    grpo_row_free(&row);
    grpo_rows_close(rows);
}

static void media_are_beside_the_rows_or_elsewhere(void **state) {
    (void)state;
    char wanted[600];
    put("rows.json", ROW("1", ""));
    snprintf(wanted, sizeof wanted, "%s/./a.mp4", folder);
    assert_media("rows.json", NULL, wanted);
    assert_int_equal(mkdir(place("clips"), 0777), 0);
    put("clips/a.mp4", "");
    char clips[600];
    snprintf(clips, sizeof clips, "%s", place("clips"));
    snprintf(wanted, sizeof wanted, "%s/clips/./a.mp4", folder);
    assert_media("rows.json", clips, wanted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(wrong_rows_say_why),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(rows_are_found_by_their_ids),
        cmocka_unit_test(media_are_beside_the_rows_or_elsewhere),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
