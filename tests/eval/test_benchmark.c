/* The table of benchmarks, and the published files that it describes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/benchmark.h"
#include "tests/eval/support_files.h"

static const struct benchmark *find(const char *name) {
    struct error err;
    const struct benchmark *benchmark = benchmark_find(name, &err);
    if (!benchmark) fail_msg("%s", err.message);
    return benchmark;
}

static struct benchmark_items read_items(const char *benchmark, const char *name, const char *text) {
    struct benchmark_items items;
    struct error err;
    if (benchmark_items_read(find(benchmark), put_text(name, text), &items, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return items;
}

static void benchmarks_are_found_by_each_name(void **state) {
    (void)state;
    size_t count;
    struct error err;
    const struct benchmark *all = benchmarks(&count);
    assert_int_equal(count, 10);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(find(all[i].name), &all[i]);
        assert_true(benchmark_has_points(&all[i]) || benchmark_has_pairs(&all[i]));
        for (size_t k = 0; k < 2; k++)
            if (all[i].also[k]) assert_ptr_equal(find(all[i].also[k]), &all[i]);
    }
    assert_null(benchmark_find("videophy3", &err));
    assert_string_equal(err.message, "no benchmark 'videophy3' (did you mean 'videophy2'?)");
    assert_null(benchmark_find("?", &err));
    assert_non_null(strstr(err.message, "there are videoscore-bench-v2, "));
    assert_non_null(strstr(err.message, ", videophy and tvge"));
}

static void levels_are_the_published_ones(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int dimension;
        double levels[5];
    } cases[] = {
        {"videoscore-bench-v2", DIMENSION_VISUAL, {1, 2, 3, 4, 5}},
        {"mj-bench-video", DIMENSION_VISUAL, {0, 0, 1, 1, 2}},
        {"mj-bench-video", DIMENSION_ALIGNMENT, {0, 1, 1, 2, 2}},
        {"mj-bench-video", DIMENSION_PHYSICAL, {0, 1, 1, 2, 2}},
        {"aigve-bench", DIMENSION_PHYSICAL, {1, 1, 3, 3, 5}},
        {"aigve-bench", DIMENSION_VISUAL, {1, 2, 3, 4, 5}},
        {"videophy", DIMENSION_ALIGNMENT, {0, 0, 0, 1, 1}},
        {"videophy2", DIMENSION_PHYSICAL, {1, 2, 3, 4, 5}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int score = 1; score <= 5; score++)
            assert_true(benchmark_level(&find(cases[i].name)->truths[cases[i].dimension], score) ==
                        cases[i].levels[score - 1]);
    const struct benchmark_truth *mapped = &find("mj-bench-video")->truths[0];
    assert_true(isnan(benchmark_level(mapped, 0)) && isnan(benchmark_level(mapped, 6)));
    assert_true(isnan(benchmark_level(mapped, 2.5)) && isnan(benchmark_level(mapped, NAN)));
}

static void assert_truths(const struct benchmark_item *item, double v, double t, double p) {
    const double wanted[DIMENSIONS] = {v, t, p};
    for (int d = 0; d < DIMENSIONS; d++)
        if (isnan(wanted[d]) ? !isnan(item->truths[d]) : item->truths[d] != wanted[d])
            fail_msg("%s: truth %d is %g", item->name, d, item->truths[d]);
}

static void points_are_read(void **state) {
    (void)state;
    struct benchmark_items items =
        read_items("videoscore-bench-v2", "a.json",
                   "[{\"video_name\": \"videos/a.mp4\", \"prompt\": \"p \\u732b\", \"visual_score\": 1,"
                   "\"t2v_score\": 2, \"phy_score\": 3, \"thinking\": \"x\"}]");
    assert_int_equal(items.count, 1);
    assert_false(items.pairs);
    assert_string_equal(items.list[0].name, "a");
    assert_string_equal(items.list[0].file, "videos/a.mp4");
    assert_string_equal(items.list[0].prompt, "p \xE7\x8C\xAB");
    assert_truths(&items.list[0], 1, 2, 3);
    benchmark_items_free(&items);

    items = read_items(
        "videophy2", "b.csv",
        "caption,video_url,sa,pc\r\n\"One, two\",https://x/y/b%20.mp4,4,\r\nThree,c.mp4,2.5,1\r\n");
    assert_int_equal(items.count, 2);
    assert_string_equal(items.list[0].name, "b%20");
    assert_string_equal(items.list[0].prompt, "One, two");
    assert_truths(&items.list[0], NAN, 4, NAN);
    assert_truths(&items.list[1], NAN, 2.5, 1);
    benchmark_items_free(&items);

    items = read_items(
        "aigve-bench", "c.json",
        "{\"video_name\": \"a\", \"prompt\": \"\\n\", \"technical_quality\": 1, \"element_quality\": 2,"
        "\"action_quality\": 2, \"element_presence\": 2, \"action_presence\": 3, \"physics\": 5}\n\n"
        "{\"video_name\": \"b\", \"prompt\": \"q\", \"technical_quality\": 4, \"element_quality\": null,"
        "\"action_quality\": 2, \"element_presence\": 4, \"action_presence\": 5, \"physics\": null}\n");
    assert_int_equal(items.count, 2);
    assert_truths(&items.list[0], 2, 2, 5); /* 5/3, and 5/2 half to even */
    assert_truths(&items.list[1], NAN, 4, NAN);
    benchmark_items_free(&items);
}

static void videos_of_pairs_are_items_once(void **state) {
    (void)state;
    struct benchmark_items items = read_items(
        "videogen-reward-bench", "a.csv",
        "path_A,path_B,prompt,VQ,TA,Overall\nm/b.mp4,m/a.mp4,first,A,B,same\nm/a.mp4,m/c.mp4,second,A,A,A\n");
    assert_true(items.pairs);
    assert_int_equal(items.count, 3);
    assert_string_equal(items.list[0].name, "b");
    assert_string_equal(items.list[1].name, "a");
    assert_string_equal(items.list[1].prompt, "first");
    assert_string_equal(items.list[2].name, "c");
    assert_string_equal(items.list[2].prompt, "second");
    assert_int_equal(items.list[2].number, 2);
    assert_truths(&items.list[0], NAN, NAN, NAN);
    benchmark_items_free(&items);

    items = read_items("genai-bench", "b.json",
                       "[{\"left_model\": \"m1\", \"left_video\": \"x/1.mp4\", \"right_model\": \"m.2\","
                       "\"right_video\": \"1.mp4\", \"vote_type\": \"leftvote\", \"prompt\": \"p\"}]");
    assert_int_equal(items.count, 2);
    assert_string_equal(items.list[0].name, "m1_1");
    assert_string_equal(items.list[1].name, "m.2_1");
    benchmark_items_free(&items);
}

static void pairs_are_read(void **state) {
    (void)state;
    static const struct {
        const char *benchmark, *text;
        const char *videos[2];
        enum preference preferences[PAIR_ASPECTS];
    } cases[] = {
        {"mj-bench-video",
         "[{\"video_0_path\": \"x/0_0.mp4\", \"video_1_path\": \"0_1\", \"overall_preference\": \"Video 2 "
         "better\"}]",
         {"0_0", "0_1"},
         {PREFER_NOT_TOLD, PREFER_NOT_TOLD, PREFER_SECOND}},
        {"t2vqa-db",
         "[{\"video1\": \"a\", \"video2\": \"b\", \"preference\": 1}]",
         {"a", "b"},
         {PREFER_NOT_TOLD, PREFER_NOT_TOLD, PREFER_FIRST}},
        {"genai-bench",
         "[{\"left_model\": \"l\", \"left_video\": \"1.mp4\", \"right_model\": \"r\", \"right_video\": "
         "\"1.mp4\","
         "\"vote_type\": \"bothbad_vote\"}]",
         {"l_1", "r_1"},
         {PREFER_NOT_TOLD, PREFER_NOT_TOLD, PREFER_SAME}},
        {"visionreward-db-video",
         "[{\"video1_path\": \"a.mp4\", \"video2_path\": \"b.mp4\", \"standard_answer\": \"tie\"}]",
         {"a", "b"},
         {PREFER_NOT_TOLD, PREFER_NOT_TOLD, PREFER_SAME}},
        {"tvge",
         "[{\"video1\": \"a\", \"video2\": \"b\", \"video_quality_pref\": \"2\", \"text_alignment_pref\": "
         "\"same\"}]",
         {"a", "b"},
         {PREFER_SECOND, PREFER_SAME, PREFER_NOT_TOLD}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct benchmark_pair_list pairs;
        struct error err;
        const char *path = put_text("pairs.json", cases[i].text);
        if (benchmark_pairs_read(find(cases[i].benchmark), path, &pairs, &err) != STATUS_OK)
            fail_msg("%s", err.message);
        assert_int_equal(pairs.count, 1);
        assert_string_equal(pairs.list[0].videos[0], cases[i].videos[0]);
        assert_string_equal(pairs.list[0].videos[1], cases[i].videos[1]);
        for (int a = 0; a < PAIR_ASPECTS; a++)
            assert_int_equal(pairs.list[0].preferences[a], cases[i].preferences[a]);
        benchmark_pairs_free(&pairs);
    }
}

static void faults_are_named_with_their_row(void **state) {
    (void)state;
    static const struct {
        const char *benchmark, *file, *text, *message;
    } cases[] = {
        {"videophy2", "a.json", "", ": there are no rows in it"},
        {"videophy2", "a.json", "[]", ": there are no rows in it"},
        {"videophy2", "a.csv", "a,b\n", ": there are no rows in it"},
        {"videophy2", "a.json", "\"x\"", ": row 1: not an object"},
        {"videophy2", "a.json", "[[]]", ": row 1: not an object"},
        {"videophy2", "a.json", "[{\"prompt\": \"p\"}]", ": row 1: there is no 'video_name'"},
        {"videophy2", "a.json", "[{\"video_name\": 3}]", ": row 1: there is no text in 'video_name'"},
        {"videophy2", "a.json", "[{\"video_name\": \"a\"}]", ": row 1: there is no 'prompt'"},
        {"videophy2", "a.json", "[{\"video_name\": \"a\", \"prompt\": \"p\"}]",
         ": row 1: there is no 'semantic'"},
        {"videophy2", "a.json",
         "[{\"video_name\": \"a\", \"prompt\": \"p\", \"semantic\": 1, \"physical\": \"bad\"}]",
         ": row 1: 'physical' is no number"},
        {"videophy2", "a.json",
         "[{\"video_name\": \"a\", \"prompt\": \"p\", \"semantic\": 1, \"physical\": []}]",
         ": row 1: 'physical' is no number"},
        {"videophy2", "a.csv", "video_name,prompt,semantic,physical\na,p,1,inf\n",
         ": row 1: 'physical' is no number"},
        {"videophy2", "a.csv", "video_name,prompt,semantic,physical\na,p,1,2\nx/a.mp4,p,1,2\n",
         ": row 2: the video 'a' is in row 1 already"},
        {"videophy2", "a.csv", "video_name\n\"a\n", ":2: a quote that does not end"},
        {"aigve-bench", "a.json",
         "[{\"video_name\": \"a\", \"prompt\": \"p\", \"technical_quality\": 1, \"element_quality\": 2}]",
         ": row 1: there is no 'action_quality'"},
        {"t2vqa-db", "a.jsonl", "{\"video_name\": \"a\", \"prompt\": \"p\", \"quality_score\": 1}\n{\n",
         ": line 2, byte 57"},
        {"genai-bench", "a.json", "[{\"left_video\": \"a\", \"right_video\": \"b\", \"left_model\": \"m\"}]",
         ": row 1: there is no 'right_model'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct benchmark_items items;
        struct error err = {0};
        const char *path = put_text(cases[i].file, cases[i].text);
        assert_int_equal(benchmark_items_read(find(cases[i].benchmark), path, &items, &err), STATUS_FAILED);
        if (strncmp(err.message, path, strlen(path)) != 0 || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
    }
}

static void faults_of_pairs_are_named_with_their_row(void **state) {
    (void)state;
    static const struct {
        const char *benchmark, *text, *message;
    } cases[] = {
        {"t2vqa-db", "[{\"video1\": \"a\", \"video2\": \"b\"}]", ": row 1: there is no 'preference'"},
        {"t2vqa-db", "[{\"video1\": \"a\", \"video2\": \"b\", \"preference\": null}]",
         ": row 1: there is no 'preference'"},
        {"t2vqa-db", "[{\"video1\": \"a\", \"video2\": \"b\", \"preference\": \"3\"}]",
         ": row 1: 'preference' is '3', none of '1', '2' and 'same'"},
        {"t2vqa-db", "[{\"video1\": \"a\", \"preference\": \"1\"}]", ": row 1: there is no 'video2'"},
        {"t2vqa-db", "[7]", ": row 1: not an object"},
    };
    struct benchmark_pair_list pairs;
    struct error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = put_text("pairs.json", cases[i].text);
        assert_int_equal(benchmark_pairs_read(find(cases[i].benchmark), path, &pairs, &err), STATUS_FAILED);
        if (strncmp(err.message, path, strlen(path)) != 0 || !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %s", i, err.message);
    }
    assert_int_equal(benchmark_pairs_read(find("videophy2"), "x.json", &pairs, &err), STATUS_USAGE);
    assert_string_equal(err.message, "VideoPhy2-test has no pairs");
    assert_int_equal(benchmark_pairs_read(find("tvge"), "/nonexistent/x.json", &pairs, &err), STATUS_FAILED);
}

static void videos_are_looked_for_by_each_name(void **state) {
    (void)state;
    struct error err;
    struct benchmark_item item = {.name = (char *)"m_a", .file = "a"};
    char folder[128];
    snprintf(folder, sizeof folder, "%s", path_of(""));
    folder[strlen(folder) - 1] = '\0';
    char *path = benchmark_item_path(&item, folder, &err);
    assert_string_equal(path, path_of("m_a.mp4")); /* none is there */
    free(path);
    put_text("a.mp4", "x");
    path = benchmark_item_path(&item, folder, &err);
    assert_string_equal(path, path_of("a.mp4"));
    free(path);
    put_text("a", "x");
    path = benchmark_item_path(&item, folder, &err);
    assert_string_equal(path, path_of("a"));
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(benchmarks_are_found_by_each_name),
        cmocka_unit_test(levels_are_the_published_ones),
        cmocka_unit_test(points_are_read),
        cmocka_unit_test(videos_of_pairs_are_items_once),
        cmocka_unit_test(pairs_are_read),
        cmocka_unit_test(faults_are_named_with_their_row),
        cmocka_unit_test(faults_of_pairs_are_named_with_their_row),
        cmocka_unit_test(videos_are_looked_for_by_each_name),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
