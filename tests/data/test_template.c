/* The query template, recovered from rows that were made with it. */
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
#include "base/json.h"
#include "data/template.h"

#define AFTER "Based on the video content and the dimension definitions, judge."

/* Recovers the template of rows whose user's turns are the given ones; NULL with the error where it fails. */
static char *recover(const char *const *turns, int64_t *fitting, struct error *err) {
    char path[] = "/tmp/vs2-test-template-XXXXXX";
    struct template_found found;
    struct dataset *dataset;
    json_t *rows = json_array();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (; *turns; turns++)
        json_array_append_new(rows, json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:[s*]}", "conversations", "from",
                                              "human", "value", *turns, "from", "gpt", "value", "answer",
                                              "videos", strstr(*turns, "<video>") ? "x.mp4" : NULL));
    char *text = json_dumps(rows, 0);
    assert_int_equal(file_write(path, text, strlen(text), err), STATUS_OK);
    free(text);
    json_decref(rows);
    const struct row_format format = row_format_default();
    if (dataset_open_file(path, &format, "/tmp", &dataset, err) != STATUS_OK) fail_msg("%s", err->message);
    assert_int_equal(dataset_skip_count(dataset), 0);
    enum status status = template_recover(dataset, &template_published_marks, &found, err);
    if (status == STATUS_OK) assert_int_equal(found.rows, dataset_count(dataset));
    *fitting = found.fitting;
    dataset_close(dataset);
    unlink(path);
    return status == STATUS_OK ? found.text : NULL;
}

static void check(const char *const *turns, int64_t fitting, const char *wanted) {
    struct error err;
    int64_t found;
    char *text = recover(turns, &found, &err);
    if (!text) fail_msg("%s", err.message);
    assert_string_equal(text, wanted);
    assert_int_equal(found, fitting);
    free(text);
}

static void test_recovered(void **state) {
    (void)state;
    check((const char *const[]){"<video>its text prompt: A cat\n" AFTER,
                                "<video>its text prompt: A dog.\n" AFTER,
                                "<video>its text prompt: 'Oh!\n" AFTER, NULL},
          3, "<video>its text prompt: {prompt}\n" AFTER);
    check((const char *const[]){"its text prompt:\n\"A cat\"\n\n" AFTER,
                                "its text prompt:\n\"Cats\"\n\n" AFTER, NULL},
          2, "its text prompt:\n\"{prompt}\"\n\n" AFTER);
    check((const char *const[]){"its text prompt:A" AFTER, "its text prompt: B " AFTER, NULL}, 2,
          "its text prompt:{prompt}" AFTER);
    check((const char *const[]){"its text prompt:\n" AFTER, "its text prompt:\nB\n" AFTER, NULL}, 2,
          "its text prompt:\n{prompt}" AFTER);
}

/* A full stop behind all prompts is theirs, unless one of them brings its own. */
static void test_stop(void **state) {
    (void)state;
    check((const char *const[]){"its text prompt: A.\n" AFTER, "its text prompt: B.\n" AFTER, NULL}, 2,
          "its text prompt: {prompt}\n" AFTER);
    check((const char *const[]){"its text prompt: A.\n" AFTER, "its text prompt: B..\n" AFTER, NULL}, 2,
          "its text prompt: {prompt}.\n" AFTER);
    check((const char *const[]){"its text prompt: A\n" AFTER, "its text prompt: B..\n" AFTER, NULL}, 2,
          "its text prompt: {prompt}\n" AFTER);
}

/* The template of most rows, with the number that fit. */
static void test_majority(void **state) {
    (void)state;
    check((const char *const[]){"X its text prompt: A\n" AFTER, "its text prompt: B\n" AFTER,
                                "its text prompt: C\n" AFTER, "its text prompt: D\n" AFTER " more", "else",
                                NULL},
          2, "its text prompt: {prompt}\n" AFTER);
}

static void test_none(void **state) {
    (void)state;
    struct error err;
    int64_t fitting;
    assert_null(recover((const char *const[]){"what is this?", NULL}, &fitting, &err));
    assert_non_null(strstr(err.message, "no row has its prompt between 'its text prompt:' and 'Based on"));
    assert_null(recover((const char *const[]){"its text prompt: A", NULL}, &fitting, &err));
    assert_null(recover((const char *const[]){"{prompt} its text prompt: A " AFTER, NULL}, &fitting, &err));
    assert_non_null(strstr(err.message, "holds a {prompt} of its own"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovered),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_majority),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
