/* The rows of a run: what is read of their texts, which of two stays, and the file that they make. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "eval/run_rows.h"
#include "tests/eval/support_files.h"

static struct run_rows new_rows(size_t count) {
    struct run_rows rows;
    struct error err;
    assert_int_equal(run_rows_new(&rows, count, &err), STATUS_OK);
    return rows;
}

static void put(struct run_rows *rows, size_t item, const char *text) {
    struct error err;
    if (run_rows_put(rows, item, text, strlen(text), &err) != STATUS_OK) fail_msg("%s", err.message);
}

static void texts_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool failed;
        double scores[DIMENSIONS];
    } cases[] = {
        {"{}", true, {NAN, NAN, NAN}},
        {"{\"output\": null, \"v_score_model\": null}", true, {NAN, NAN, NAN}},
        {"{\"output\": \"\", \"v_score_model\": null, \"t_score_model\":3}", false, {NAN, 3, NAN}},
        {"{\"v_score_model\": 1, \"output\": \"null\", \"t_score_model\" : 2.5e0 , \"p_score_model\":-0}",
         false,
         {1, 2.5, 0}},
        {"{\"output\": \"x\", \"x_score_model\": 4, \"_score_model\": 4, \"v_score_models\": 4}",
         false,
         {NAN, NAN, NAN}},
        {"{\"output\": \"x\", \"of\": {\"v_score_model\": 4, \"output\": null}}", false, {NAN, NAN, NAN}},
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    struct run_rows rows = new_rows(COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        put(&rows, i, cases[i].text);
        assert_string_equal(rows.list[i].text, cases[i].text);
        assert_int_equal(rows.list[i].failed, cases[i].failed);
        for (int d = 0; d < DIMENSIONS; d++) {
            const double got = rows.list[i].scores[d], wanted = cases[i].scores[d];
            if (isnan(wanted) ? !isnan(got) : got != wanted) fail_msg("%s: %g", cases[i].text, got);
        }
    }
    run_rows_free(&rows);
}

static void a_scored_row_stays(void **state) {
    (void)state;
    struct run_rows rows = new_rows(1);
    put(&rows, 0, "{\"output\": null, \"try\": 1}");
    put(&rows, 0, "{\"output\": null, \"try\": 2}");
    assert_non_null(strstr(rows.list[0].text, "2"));
    put(&rows, 0, "{\"output\": \"scored\"}");
    put(&rows, 0, "{\"output\": \"again\"}");
    put(&rows, 0, "{\"output\": null}");
    assert_string_equal(rows.list[0].text, "{\"output\": \"scored\"}");
    run_rows_free(&rows);
}

static void what_is_no_row_is_told(void **state) {
    (void)state;
    static const char *const bad[] = {"", "[]", "{\"output\": ", "{\"output\"}", "{1: 2}", "1"};
    struct run_rows rows = new_rows(1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};
        assert_int_equal(run_rows_put(&rows, 0, bad[i], strlen(bad[i]), &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "a scored row"));
        assert_null(rows.list[0].text);
    }
    run_rows_free(&rows);
}

static void assert_written(const struct run_rows *rows, const char *wanted) {
    struct error err;
    char *text;
    size_t length;
    const char *path = path_of("rows.json");
    assert_int_equal(run_rows_write(rows, path, &err), STATUS_OK);
    assert_int_equal(file_read(path, 1000, &text, &length, &err), STATUS_OK);
    assert_string_equal(text, wanted);
    free(text);
}

static void rows_are_written_in_the_order_of_the_items(void **state) {
    (void)state;
    struct error err;
    struct run_rows rows = new_rows(4);
    assert_written(&rows, "[\n]\n");
    put(&rows, 3, "{\"output\": \"d\"}");
    put(&rows, 1, "{\"output\": \"b\"}");
    assert_written(&rows, "[\n{\"output\": \"b\"},\n{\"output\": \"d\"}\n]\n");
    assert_int_equal(run_rows_write(&rows, "/nowhere/rows.json", &err), STATUS_FAILED);
    run_rows_free(&rows);
}

static void result_files_are_read(void **state) {
    (void)state;
    struct error err;
    struct benchmark_items items;
    struct run_rows rows = new_rows(3);
    const char *const data = put_text(
        "data.json", "[{\"video_name\": \"y.mp4\", \"prompt\": \"1\", \"semantic\": 1, \"physical\": 1},"
                     " {\"video_name\": \"z\", \"prompt\": \"1\", \"semantic\": 1, \"physical\": 1},"
                     " {\"video_name\": \"f/x.mp4\", \"prompt\": \"1\", \"semantic\": 1, \"physical\": 1}]");
    assert_int_equal(benchmark_items_read(benchmark_find("videophy2", &err), data, &items, &err), STATUS_OK);
    assert_int_equal(run_rows_read(&rows, &items, "/nowhere/res.json", &err), STATUS_OK);
    assert_null(rows.list[0].text);
    const char *path =
        put_text("res.json",
                 "[{\"video_name\": \"x\", \"output\": \"\"},\n{\"video_name\": \"y\", \"output\": null}]");
    assert_int_equal(run_rows_read(&rows, &items, path, &err), STATUS_OK);
    assert_string_equal(rows.list[2].text, "{\"video_name\": \"x\", \"output\": \"\"}");
    assert_true(rows.list[0].failed && !rows.list[1].text && !rows.list[2].failed);
    path =
        put_text("res.json",
                 "[{\"video_name\": \"y\", \"output\": \"\"},\n{\"video_name\": \"w\", \"output\": \"\"}]");
    assert_int_equal(run_rows_read(&rows, &items, path, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "res.json: row 2: the benchmark has no video 'w'"));
    benchmark_items_free(&items);
    run_rows_free(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_read),
        cmocka_unit_test(a_scored_row_stays),
        cmocka_unit_test(what_is_no_row_is_told),
        cmocka_unit_test(rows_are_written_in_the_order_of_the_items),
        cmocka_unit_test(result_files_are_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
