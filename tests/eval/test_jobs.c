/* Lists of jobs and the query's template. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/query.h"
#include "eval/jobs.h"

static char directory[] = "/tmp/vs2-jobs-XXXXXX";
static char path[64];

static int make_directory(void **state) {
    (void)state;
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof(path), "%s/query_template.txt", directory);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void put(const char *data, size_t size) {
    struct error err;
    assert_int_equal(file_write(path, data, size, &err), STATUS_OK);
}

static void lines_become_jobs(void **state) {
    (void)state;
    struct score_jobs jobs = {0};
    struct error err;
    const char *text =
        "\xEF\xBB\xBF{\"video\": \"a.mp4\", \"prompt\": \"one\\ntwo\", \"other\": [1]}\r\n\n  \n"
        "{\"prompt\": \"\", \"video\": \"/x/b.mp4\"}";
    put(text, strlen(text));
    assert_int_equal(score_jobs_read(path, "clips", &jobs, &err), STATUS_OK);
    assert_int_equal(jobs.count, 2);
    assert_string_equal(jobs.list[0].video, "clips/a.mp4");
    assert_string_equal(jobs.list[0].prompt, "one\ntwo");
    assert_string_equal(jobs.list[1].video, "/x/b.mp4");
    assert_string_equal(jobs.list[1].prompt, "");
    score_jobs_free(&jobs);
}

static void wrong_lines_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": no video in it"},
        {"\n\n", ": no video in it"},
        {"{\"video\": \"a\", \"prompt\": \"b\"}\n\n{\"video\": \"a\"\n", ":3: line 1"},
        {"{\"video\": \"a\", \"prompt\": \"b\"}\n[1]\n", ":2: not an object"},
        {"{\"video\": \"a\"}\n", ":1: no \"prompt\""},
        {"{\"prompt\": \"a\"}\n", ":1: no \"video\""},
        {"{\"prompt\": \"a\", \"video\": \"\"}\n", ":1: no \"video\""},
        {"{\"prompt\": 3, \"video\": \"a\"}\n", ":1: "},
        {"{\"prompt\": \"\\ud800\", \"video\": \"a\"}\n", ":1: "},
        {"{\"prompt\": \"a\", \"video\": \"b\\u0000c\"}\n", ":1: "},
        {"\xFF\n", ":1: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct score_jobs jobs = {0};
        struct error err;
        put(cases[i].text, strlen(cases[i].text));
        assert_int_equal(score_jobs_read(path, NULL, &jobs, &err), STATUS_FAILED);
        if (strncmp(err.message, path, strlen(path)) != 0 || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
        score_jobs_free(&jobs);
    }
}

static void template_comes_from_the_nearest_place(void **state) {
    (void)state;
    struct error err;
    unlink(path);
    char *text = query_template(NULL, directory, &err);
    assert_non_null(text);
    assert_string_equal(text, query_published);
    free(text);
    put("Judge {prompt}!\n", 16);
    text = query_template(NULL, directory, &err);
    assert_non_null(text);
    assert_string_equal(text, "Judge {prompt}!\n");
    free(text);
    text = query_template(path, "/nonexistent", &err);
    assert_non_null(text);
    free(text);
    put("Judge!\n", 7);
    assert_null(query_template(NULL, directory, &err));
    assert_non_null(strstr(err.message, "query_template.txt: no {prompt} in it"));
    put("a\0{prompt}", 10);
    assert_null(query_template(NULL, directory, &err));
    assert_non_null(strstr(err.message, "query_template.txt: byte 1: a zero byte"));
    assert_null(query_template("/nonexistent/t.txt", directory, &err));
    assert_non_null(strstr(err.message, "/nonexistent/t.txt"));
}

static void prompt_replaces_every_mark(void **state) {
    (void)state;
    struct error err;
    char *text = query_fill("{prompt} and {prompt}, {prompts}", "a {prompt}", &err);
    assert_string_equal(text, "a {prompt} and a {prompt}, {prompts}");
    free(text);
    text = query_fill("", "x", &err);
    assert_string_equal(text, "");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_become_jobs),
                                       cmocka_unit_test(wrong_lines_are_named),
                                       cmocka_unit_test(template_comes_from_the_nearest_place),
                                       cmocka_unit_test(prompt_replaces_every_mark)};
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
