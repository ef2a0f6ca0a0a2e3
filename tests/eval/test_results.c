/* Result files: what is read, what is wrong with them, and how rows are found and made. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "eval/results.h"
#include "eval/video_name.h"
#include "tests/eval/support_files.h"

#define SCORES "\"v_score_model\":4,\"t_score_model\":3,\"p_score_model\":null"

static struct results read_text(const char *text, enum score_kind kind) {
    struct results results;
    struct error err;
    if (results_read(put_text("res.json", text), NULL, kind, &results, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return results;
}

static void assert_row(const struct result_row *row, double v, double t, double p) {
    const double wanted[DIMENSIONS] = {v, t, p};
    for (int d = 0; d < DIMENSIONS; d++)
        if (isnan(wanted[d]) ? !isnan(row->model[d]) : row->model[d] != wanted[d])
            fail_msg("%s: %s is %g, not %g", row->video_name, dimension_letter((enum dimension)d),
                     row->model[d], wanted[d]);
}

static void rows_are_read(void **state) {
    (void)state;
    struct results results = read_text(
        "\xEF\xBB\xBF [{\"video_name\":\"a\\u00e9\\\"b.mp4\", \"other\": {\"v_score_model\": [1, \"}\"]},"
        "\"v_score_gt\":1,\"t_score_gt\":2.5,\"p_score_gt\":null," SCORES ",\"v_confidence\":0.5},\n"
        "{\"v_score_gt\":-1e0,\"t_score_gt\":3,\"p_score_gt\":5,\"video_name\":\"b\",\"v_hard_score\":2,"
        "\"t_hard_score\":3,\"p_hard_score\":4}]\n",
        SCORE_AS_WRITTEN);
    assert_int_equal(results.count, 2);
    assert_string_equal(results.rows[0].video_name, "a\xC3\xA9\"b.mp4");
    assert_row(&results.rows[0], 4, 3, NAN);
    assert_row(&results.rows[1], 2, 3, 4);
    assert_true(results.rows[0].truths[1] == 2.5 && isnan(results.rows[0].truths[2]));
    assert_true(results.rows[1].truths[0] == -1);
    assert_true(results.rows[0].confidence[0] == 0.5 && isnan(results.rows[1].confidence[0]));
    assert_true(!result_scored(&results.rows[0]) && result_scored(&results.rows[1]));
    assert_true(results.whole && results.truth[0] && !results.overall_truth);
    results_free(&results);
    results = read_text("[]", SCORE_AS_WRITTEN);
    assert_int_equal(results.count, 0);
    results_free(&results);
    results =
        read_text("{\"video_name\":\"a\"," SCORES "}\n{\"video_name\":\"b\"," SCORES "}\n\n", SCORE_HARD);
    assert_int_equal(results.count, 2);
    results_free(&results);
}

static void the_kind_says_which_scores_count(void **state) {
    (void)state;
    const char *text = "[{\"video_name\":\"a\",\"v_score_model\":3,\"t_score_model\":2.5,\"p_score_model\":1,"
                       "\"v_hard_score\":4,\"t_hard_score\":2,\"p_hard_score\":1,"
                       "\"v_normed_score\":3.9,\"t_normed_score\":null}]";
    struct results results = read_text(text, SCORE_AS_WRITTEN);
    assert_row(&results.rows[0], 3, 2.5, 1);
    assert_false(results.whole);
    results_free(&results);
    results = read_text(text, SCORE_HARD);
    assert_row(&results.rows[0], 4, 2, 1);
    assert_true(results.whole);
    results_free(&results);
    results = read_text(text, SCORE_FLOAT);
    assert_row(&results.rows[0], 3.9, NAN, 1);
    assert_true(results.rows[0].hard[0] == 4);
    assert_false(results.whole);
    results_free(&results);
}

static void rows_without_scores_are_read_from_their_output(void **state) {
    (void)state;
    struct results results = read_text(
        "[{\"video_name\":\"a\",\"output\":\"<think>x</think>\\n(1) visual quality: 4\\n(2) text-to-video "
        "alignment: 3\\n(3) physical/common-sense consistency: 5\"},"
        "{\"video_name\":\"b\",\"output\":\"no idea\"},{\"video_name\":\"c\",\"output\":null},"
        "{\"video_name\":\"d\"," SCORES
        ",\"output\":\"(1) visual quality: 1\\n(2) text-to-video alignment: 1\\n"
        "(3) physical/common-sense consistency: 1\"}]",
        SCORE_AS_WRITTEN);
    assert_row(&results.rows[0], 4, 3, 5);
    assert_row(&results.rows[1], NAN, NAN, NAN);
    assert_row(&results.rows[2], NAN, NAN, NAN);
    assert_row(&results.rows[3], 4, 3, NAN); /* null is what could not be read: it is not read again */
    assert_int_equal(results.read_from_text, 3);
    results_free(&results);
}

static void faults_are_named_with_their_row(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": byte 1: the JSON text ends too early"},
        {"[{\"video_name\":\"a\"," SCORES "}", ": byte 77: the JSON text ends too early"},
        {"[1]", ": byte 2: '{' expected"},
        {"[{\"video_name\":\"a\"," SCORES "},]", ": byte 78: '{' expected"},
        {"[{\"video_name\":\"a\"," SCORES "}] x", ": byte 79: text after the end of the JSON"},
        {"[{" SCORES "}]", ": row 1: no 'video_name'"},
        {"[{\"video_name\":null," SCORES "}]", ": row 1: no 'video_name'"},
        {"[{\"video_name\":7," SCORES "}]", ": row 1: 'video_name' is no text"},
        {"[{\"video_name\":\"\"," SCORES "}]", ": row 1: 'video_name' is no name"},
        {"[{\"video_name\":\"a\\u0000\"," SCORES "}]", ": row 1: 'video_name' is no name"},
        {"[{\"video_name\":\"\\ud800\"," SCORES "}]", ": row 1: video_name: byte"},
        {"[{\"video_name\":\"a\"," SCORES "},{\"video_name\":\"b\"}]",
         ": row 2: neither 'v_score_model' nor 'output'"},
        {"[{\"video_name\":\"b\",\"output\":[1]}]", ": row 1: 'output' is no text"},
        {"[{\"video_name\":\"b\",\"v_score_model\":1,\"t_score_model\":1}]", ": row 1: no 'p_score_model'"},
        {"[{\"video_name\":\"b\",\"v_score_model\":\"4\",\"t_score_model\":1,\"p_score_model\":1}]",
         ": row 1: 'v_score_model' is text, not a number"},
        {"[{\"video_name\":\"b\",\"v_score_model\":1,\"t_score_model\":true,\"p_score_model\":1}]",
         ": row 1: 't_score_model' is something else, not a number"},
        {"[{\"video_name\":\"b\",\"v_score_model\":1,\"t_score_model\":1,\"p_score_model\":1.2.3}]",
         ": row 1: 'p_score_model' is something else"},
        {"[{\"video_name\":\"b\",\"v_score_model\":1,\"t_score_model\":1,\"p_score_model\":1e999}]",
         ": row 1: 'p_score_model' is something else"},
        {"[{\"video_name\":\"b\",\"p_score_gt\":\"good\"," SCORES "}]", ": row 1: 'p_score_gt' is text"},
        {"[{\"video_name\":\"a\",\"v_score_gt\":1," SCORES "},{\"video_name\":\"b\"," SCORES "}]",
         ": row 2: no 'v_score_gt', unlike row 1"},
        {"[{\"video_name\":\"a\"," SCORES "},{\"video_name\":\"b\",\"t_score_gt\":1," SCORES "}]",
         ": row 2: has a 't_score_gt', unlike row 1"},
        {"[{\"video_name\":\"a\"," SCORES "},{\"video_name\":\"b\"," SCORES "},{\"video_name\":\"a\"," SCORES
         "}]",
         ": row 3: the video 'a' is in row 1 already"},
        {"[{\"video_name\":\"x/a.mp4\"," SCORES "},{\"video_name\":\"x/a\"," SCORES "}]",
         ": row 2: the video 'x/a' is in row 1 already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct results results;
        struct error err = {0};
        const char *path = put_text("res.json", cases[i].text);
        if (results_read(path, NULL, SCORE_AS_WRITTEN, &results, &err) != STATUS_FAILED)
            fail_msg("case %zu", i);
        if (strncmp(err.message, path, strlen(path)) != 0 || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
    }
    struct results results;
    struct error err = {0};
    assert_int_equal(results_read("/nonexistent/r.json", NULL, SCORE_HARD, &results, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "/nonexistent/r.json"));
}

static void the_whole_truth_has_the_benchmarks_field(void **state) {
    (void)state;
    struct results results;
    struct error err;
    const struct benchmark *benchmark = benchmark_find("mj-bench-video", &err);
    const char *path = put_text("res.json", "[{\"video_name\":\"a\",\"total_score\":2," SCORES "}]");
    assert_int_equal(results_read(path, benchmark, SCORE_HARD, &results, &err), STATUS_OK);
    assert_true(results.overall_truth && results.rows[0].overall == 2);
    results_free(&results);
    path = put_text("res.json", "[{\"video_name\":\"a\",\"total_score\":\"2\"," SCORES "}]");
    assert_int_equal(results_read(path, benchmark, SCORE_HARD, &results, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "row 1: 'total_score' is text"));
}

static void videos_are_found_by_name(void **state) {
    (void)state;
    struct results results =
        read_text("[{\"video_name\":\"videos/one.mp4\"," SCORES "},"
                  "{\"video_name\":\"b/two\"," SCORES "},{\"video_name\":\"a/two.mp4\"," SCORES "},"
                  "{\"video_name\":\"v1.5\"," SCORES "}]",
                  SCORE_HARD);
    assert_ptr_equal(results_find(&results, "one"), &results.rows[0]);
    assert_ptr_equal(results_find(&results, "x/y/one.MP4"), &results.rows[0]);
    assert_ptr_equal(results_find(&results, "b/two.mp4"), &results.rows[1]);
    assert_ptr_equal(results_find(&results, "a/two"), &results.rows[2]);
    assert_ptr_equal(results_find(&results, "two"), &results.rows[2]);
    assert_ptr_equal(results_find(&results, "v1.5.mp4"), &results.rows[3]);
    assert_null(results_find(&results, "v1"));
    assert_null(results_find(&results, ""));
    results_free(&results);
}

static void stems_have_neither_folder_nor_ending(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a.mp4", "a"},       {"x/y/a.webm", "a"},   {"a", "a"}, {"v1.5", "v1.5"},
        {"v1.5.MP4", "v1.5"}, {".mp4", ".mp4"},      {"x/", ""}, {"a.mp4.mp4", "a.mp4"},
        {"a.json", "a.json"}, {"a b,c.gif", "a b,c"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct name_part stem = video_stem(cases[i][0]);
        assert_int_equal(stem.length, strlen(cases[i][1]));
        assert_memory_equal(stem.start, cases[i][1], stem.length);
    }
    assert_true(name_part_compare(video_stem("a"), video_stem("a.mp4")) == 0);
    assert_true(name_part_compare(video_stem("a"), video_stem("ab")) < 0);
    assert_true(name_part_compare(video_stem("b"), video_stem("ab")) > 0);
}

static void whole_rows_keep_their_other_fields(void **state) {
    (void)state;
    struct error err;
    struct results results = read_text("[{\"video_name\":\"a\"," SCORES
                                       "},\n {\"extra\":[1,{\"x\":2}],\"video_name\":\"b\"," SCORES "}]",
                                       SCORE_HARD);
    json_t *row = result_row_json(&results, &results.rows[1], &err);
    assert_int_equal(json_array_size(json_object_get(row, "extra")), 2);
    json_decref(row);
    results_free(&results);
    results = read_text("[{\"video_name\":\"a\",\"extra\":tru," SCORES "}]", SCORE_HARD);
    assert_null(result_row_json(&results, &results.rows[0], &err));
    assert_non_null(strstr(err.message, "res.json: row 1: line 1 column"));
    results_free(&results);
}

/* A file with some of its bytes changed is read, or refused with a line; the sanitizers see the rest. */
static void damaged_files_do_no_harm(void **state) {
    (void)state;
    static const char original[] =
        "[{\"video_name\":\"a/"
        "b.mp4\",\"prompt\":\"\\u00e9\\n\",\"v_score_gt\":1.5,\"v_confidence\":0.25," SCORES
        "},{\"video_name\":\"c\",\"v_score_gt\":null,\"output\":\"(1) visual quality: 4\"}]";
    static const char bytes[] = "\"\\{}[],:0e-\x01\xFF unt";
    int refused = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        char text[sizeof original];
        uint32_t words[4];
        struct results results;
        struct error err = {0};
        memcpy(text, original, sizeof text);
        random_words((struct random_key){.seed = 5, .position = round}, words);
        for (uint32_t i = 0; i <= words[3] % 3; i++)
            text[words[i] % (sizeof text - 1)] = bytes[(words[i] >> 16) % (sizeof bytes - 1)];
        if (round % 4 == 0) text[words[3] % sizeof text] = '\0';
        if (results_read(put_text("res.json", text), NULL, SCORE_AS_WRITTEN, &results, &err) == STATUS_OK) {
            results_free(&results);
            continue;
        }
        assert_non_null(strstr(err.message, "res.json: "));
        refused++;
    }
    assert_true(refused > 1500 && refused < 3000);
}

static json_t *parsed(const char *text) {
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    return json;
}

static void rows_are_made_in_the_official_form(void **state) {
    (void)state;
    struct error err;
    struct benchmark_items items;
    const struct benchmark *benchmark = benchmark_find("videophy2", &err);
    const char *path =
        put_text("videophy2.json", "[{\"video_name\":\"clips/a.mp4\",\"prompt\":\"p\",\"semantic\":4,"
                                   "\"physical\":2,\"is_hard\":1}]");
    json_t *score =
        parsed("{\"video_name\":\"a.mp4\",\"v_hard_score\":3,\"t_hard_score\":null,\"p_hard_score\":5,"
               "\"v_confidence\":0.5,\"output\":\"text\",\"seconds\":1.5}");
    assert_int_equal(benchmark_items_read(benchmark, path, &items, &err), STATUS_OK);
    json_t *row = result_row_new(benchmark, &items, &items.list[0], score);
    json_t *wanted = parsed(
        "{\"video_name\":\"clips/"
        "a.mp4\",\"prompt\":\"p\",\"semantic\":4,\"physical\":2,\"is_hard\":1,\"v_score_gt\":"
        "null,"
        "\"t_score_gt\":4,\"p_score_gt\":2,\"v_score_model\":3,\"t_score_model\":null,\"p_score_model\":5,"
        "\"output\":\"text\",\"v_hard_score\":3,\"t_hard_score\":null,\"p_hard_score\":5,\"v_confidence\":0."
        "5,"
        "\"seconds\":1.5}");
    assert_true(json_equal(row, wanted));
    json_decref(row);
    json_decref(wanted);
    benchmark_items_free(&items);
    benchmark = benchmark_find("t2vqa-db", &err);
    path = put_text("pairs.json", "[{\"video1\":\"a\",\"video2\":\"b\",\"preference\":\"1\"}]");
    assert_int_equal(benchmark_items_read(benchmark, path, &items, &err), STATUS_OK);
    assert_int_equal(items.count, 2);
    row = result_row_new(benchmark, &items, &items.list[1], score);
    assert_null(json_object_get(row, "v_score_gt"));
    assert_null(json_object_get(row, "preference"));
    assert_string_equal(json_string_value(json_object_get(row, "video_name")), "b");
    json_decref(row);
    json_decref(score);
    benchmark_items_free(&items);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read),
        cmocka_unit_test(the_kind_says_which_scores_count),
        cmocka_unit_test(rows_without_scores_are_read_from_their_output),
        cmocka_unit_test(faults_are_named_with_their_row),
        cmocka_unit_test(the_whole_truth_has_the_benchmarks_field),
        cmocka_unit_test(videos_are_found_by_name),
        cmocka_unit_test(stems_have_neither_folder_nor_ending),
        cmocka_unit_test(whole_rows_keep_their_other_fields),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(rows_are_made_in_the_official_form),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
