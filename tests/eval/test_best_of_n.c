/* Groups of videos, their picks, and what these are worth. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/best_of_n.h"
#include "tests/eval/support_files.h"

static void names_tell_their_group(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t group; /* -1: none */
    } cases[] = {{"m_0012_3.mp4", 12},
                 {"x/y_z/m_7.mp4", 7},
                 {"m_0", 0},
                 {"m_007_a_b", 7},
                 {"m", -1},
                 {"m_", -1},
                 {"m__3", -1},
                 {"m_x_3", -1},
                 {"m_3x", -1},
                 {"m_-3", -1},
                 {"_5_1.webm", 5},
                 {"m_123456789012345", 123456789012345},
                 {"m_1234567890123456", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t group;
        const bool found = group_of_name(cases[i].name, &group);
        if (found != (cases[i].group >= 0) || (found && group != cases[i].group))
            fail_msg("%s", cases[i].name);
    }
}

/* A row with one score and one truth for all dimensions; negative: null. */
static void append_row(json_t *rows, const char *name, double score, double truth) {
    json_t *row =
        json_pack("{s:s, s:s}", "video_name", name, "prompt", strrchr(name, '/') ? "in a folder" : "plain");
    for (int d = 0; d < DIMENSIONS; d++) {
        char key[32];
        snprintf(key, sizeof key, "%s_score_model", dimension_letter((enum dimension)d));
        json_object_set_new(row, key, score < 0 ? json_null() : json_real(score + d - 1));
        snprintf(key, sizeof key, "%s_score_gt", dimension_letter((enum dimension)d));
        json_object_set_new(row, key, truth < 0 || d == 2 ? json_null() : json_real(truth));
    }
    json_array_append_new(rows, row);
}

static struct results read_rows(const json_t *rows) {
    struct results results;
    struct error err;
    if (results_read(put_json("res.json", rows), NULL, SCORE_AS_WRITTEN, &results, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return results;
}

static void the_first_of_the_highest_is_picked(void **state) {
    (void)state;
    struct error err;
    struct best_of_n best;
    json_t *rows = json_array();
    append_row(rows, "m_2_c.mp4", 3.5, 4);
    append_row(rows, "m_1_b.mp4", 3, 2);
    append_row(rows, "m_2_b.mp4", 3.5, 2);
    append_row(rows, "m_2_a.mp4", 2, 3);
    append_row(rows, "m_1_a.mp4", -1, 5);
    append_row(rows, "m_3_a.mp4", -1, 1);
    append_row(rows, "m_4_a.mp4", 4, -1);
    append_row(rows, "m_4_b.mp4", 3, 4);
    struct results results = read_rows(rows);
    assert_int_equal(best_of_n_make(&results, NULL, 0, &best, &err), STATUS_OK);
    assert_int_equal(best.group_count, 4);
    static const char *const picks[] = {"m_1_b.mp4", "m_2_b.mp4", "", "m_4_a.mp4"};
    json_t *json = best_of_n_json(&best);
    for (size_t g = 0; g < 4; g++) {
        const json_t *group = json_array_get(json, g);
        assert_int_equal(json_integer_value(json_object_get(group, "group_idx")), g + 1);
        assert_string_equal(json_string_value(json_object_get(group, "best")), picks[g]);
    }
    json_t *wanted =
        json_loads("{\"group_idx\": 1, \"scores\": [{\"video\": \"m_1_a.mp4\", \"aspect_scores\": "
                   "{\"visual\": null, \"t2v\": null, \"physical\": null}, \"mean\": null}, {\"video\": "
                   "\"m_1_b.mp4\", \"aspect_scores\": {\"visual\": 2, \"t2v\": 3, \"physical\": 4}, "
                   "\"mean\": 3.0}], \"best\": \"m_1_b.mp4\"}",
                   0, NULL);
    assert_true(json_equal(json_array_get(json, 0), wanted));
    json_decref(wanted);
    json_decref(json);

    /* Group 1 (2 of 2, 5) and group 2 (2 of 4, 2, 3) can be judged: 3 has no pick, 4 no truth of its pick. */
    struct best_of_n_gain gain = best_of_n_gain(&best);
    assert_int_equal(gain.groups, 2);
    assert_true(gain.picked == 2 && gain.random == (3.5 + 3) / 2 && gain.possible == 4.5);
    assert_true(gain.hits == 0 && fabs(gain.random_hits - (1.0 / 2 + 1.0 / 3) / 2) < 1e-12);
    json = best_of_n_gain_json(&gain);
    assert_true(json_real_value(json_object_get(json, "gain")) == -1.25);
    assert_true(json_real_value(json_object_get(json, "reach")) == -100);
    json_decref(json);
    best_of_n_free(&best);

    assert_int_equal(best_of_n_make(&results, NULL, 2, &best, &err), STATUS_OK);
    assert_int_equal(best.group_count, 2);
    assert_int_equal(best.left_out, 2);
    best_of_n_free(&best);
    results_free(&results);
    json_decref(rows);
}

static void means_have_four_decimals(void **state) {
    (void)state;
    struct error err;
    struct best_of_n best;
    struct results results;
    const char *path =
        put_text("res.json", "[{\"video_name\":\"m_1_a\",\"v_score_model\":1.25,\"t_score_model\":2,"
                             "\"p_score_model\":2}]");
    assert_int_equal(results_read(path, NULL, SCORE_FLOAT, &results, &err), STATUS_OK);
    assert_int_equal(best_of_n_make(&results, NULL, 0, &best, &err), STATUS_OK);
    json_t *json = best_of_n_json(&best);
    const json_t *score = json_array_get(json_object_get(json_array_get(json, 0), "scores"), 0);
    assert_true(json_real_value(json_object_get(score, "mean")) == 1.75);
    json_decref(json);
    const struct best_of_n_gain gain = best_of_n_gain(&best);
    assert_int_equal(gain.groups, 0);
    assert_true(isnan(gain.picked));
    json = best_of_n_gain_json(&gain);
    assert_true(json_is_null(json_object_get(json, "reach")));
    json_decref(json);
    best_of_n_free(&best);
    results_free(&results);
}

static void prompts_make_groups_too(void **state) {
    (void)state;
    struct error err;
    struct best_of_n best;
    struct group_prompts prompts;
    json_t *rows = json_array();
    append_row(rows, "b.mp4", 2, 2);
    append_row(rows, "x/c.mp4", 1, 2);
    append_row(rows, "a.mp4", 3, 2);
    struct results results = read_rows(rows);
    const char *path =
        put_text("p.jsonl", "{\"idx\": 9, \"text\": \"plain\"}\n{\"idx\": 3, \"text\": \"in a folder\"}\n");
    assert_int_equal(group_prompts_read(path, &prompts, &err), STATUS_OK);
    assert_int_equal(best_of_n_make(&results, &prompts, 0, &best, &err), STATUS_OK);
    assert_int_equal(best.group_count, 2);
    assert_int_equal(best.groups[0].index, 3);
    assert_int_equal(best.groups[1].index, 9);
    assert_string_equal(best.candidates[best.groups[1].best].row->video_name, "a.mp4");
    best_of_n_free(&best);
    assert_int_equal(best_of_n_make(&results, NULL, 0, &best, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "res.json: row 1: 'b.mp4' does not tell its group"));
    group_prompts_free(&prompts);
    path = put_text("p.jsonl", "{\"idx\": 9, \"text\": \"plain\"}\n");
    assert_int_equal(group_prompts_read(path, &prompts, &err), STATUS_OK);
    assert_int_equal(best_of_n_make(&results, &prompts, 0, &best, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "res.json: row 2: its prompt is not among those of the groups"));
    group_prompts_free(&prompts);
    results_free(&results);
    json_decref(rows);
}

static void wrong_prompts_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", ": there are no rows in it"},
        {"{\"idx\": 1}", ": row 1: not an object {\"idx\""},
        {"{\"idx\": \"1\", \"text\": \"a\"}", ": row 1: not an object {\"idx\""},
        {"{\"idx\": -1, \"text\": \"a\"}", ": row 1: 'idx' is -1"},
        {"{\"idx\": 1, \"text\": \"a\"}\n{\"idx\": 1, \"text\": \"b\"}", ": idx 1 is there twice"},
        {"{\"idx\": 1, \"text\": \"a\"}\n{\"idx\": 2, \"text\": \"a\"}", ": idx 1 and 2 have the same text"},
        {"[3]", ": row 1: not an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct group_prompts prompts;
        struct error err = {0};
        const char *path = put_text("p.jsonl", cases[i].text);
        assert_int_equal(group_prompts_read(path, &prompts, &err), STATUS_FAILED);
        if (strncmp(err.message, path, strlen(path)) != 0 || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
    }
}

static void folders_in_the_published_naming_become_jobs(void **state) {
    (void)state;
    struct error err;
    struct group_prompts prompts;
    struct score_jobs jobs = {0};
    char folder[256];
    snprintf(folder, sizeof folder, "%s", path_of(""));
    folder[strlen(folder) - 1] = '\0';
    const char *path =
        put_text("p.jsonl", "{\"idx\": 2, \"text\": \"two\"}\n{\"idx\": 10, \"text\": \"ten\"}\n");
    assert_int_equal(group_prompts_read(path, &prompts, &err), STATUS_OK);
    assert_int_equal(group_jobs_read(folder, &prompts, &jobs, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "no video whose name tells its group"));
    score_jobs_free(&jobs);
    put_text("m_0010_0.mp4", "");
    put_text("m_0002_1.mp4", "");
    put_text("m_0002_1.json", "");
    put_text("note.mp4", "");
    assert_int_equal(group_jobs_read(folder, &prompts, &jobs, &err), STATUS_OK);
    assert_int_equal(jobs.count, 2);
    assert_string_equal(jobs.list[0].video, path_of("m_0002_1.mp4"));
    assert_string_equal(jobs.list[0].prompt, "two");
    assert_string_equal(jobs.list[1].prompt, "ten");
    score_jobs_free(&jobs);
    put_text("m_3.webm", "");
    assert_int_equal(group_jobs_read(folder, &prompts, &jobs, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "m_3.webm: no prompt has the idx 3"));
    score_jobs_free(&jobs);
    group_prompts_free(&prompts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_tell_their_group),
        cmocka_unit_test(the_first_of_the_highest_is_picked),
        cmocka_unit_test(means_have_four_decimals),
        cmocka_unit_test(prompts_make_groups_too),
        cmocka_unit_test(wrong_prompts_are_named),
        cmocka_unit_test(folders_in_the_published_naming_become_jobs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
