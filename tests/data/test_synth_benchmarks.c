/* The test set's benchmark files: every row, and pairs that agree with the scores, ties included. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "data/synth_benchmarks.h"

enum { COUNT = 52 }; /* the last group has two clips */
static const struct synth_format format = {.width = 112, .height = 112, .frames = 16, .fps = 4};

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

struct fixture {
    char *folder;
    struct synth_list list;
};

static int set_up(void **state) {
    struct error err;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->folder = strdup("/tmp/vs2-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    assert_int_equal(synth_list_draw(&fixture->list, 2, SYNTH_TEST, COUNT, &format, &err), STATUS_OK);
    if (synth_benchmarks_write(fixture->folder, &fixture->list, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    nftw(fixture->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    synth_list_free(&fixture->list);
    free(fixture->folder);
    free(fixture);
    return 0;
}

static json_t *read_json(const struct fixture *fixture, const char *name) {
    struct error err;
    char *path = file_join(fixture->folder, name, &err);
    json_t *json = json_read_file(path, SIZE_MAX, &err);
    if (!json) fail_msg("%s", err.message);
    free(path);
    return json;
}

static char *read_lines(const struct fixture *fixture, const char *name) {
    struct error err;
    size_t length;
    char *text, *path = file_join(fixture->folder, name, &err);
    assert_int_equal(file_read(path, SIZE_MAX, &text, &length, &err), STATUS_OK);
    free(path);
    return text;
}

static long long whole(const json_t *row, const char *key) {
    assert_true(json_is_integer(json_object_get(row, key)));
    return json_integer_value(json_object_get(row, key));
}

static int score(const struct fixture *fixture, size_t i, enum synth_dimension dimension) {
    return synth_score(&fixture->list.rows[i].clip, dimension);
}

static int sum(const struct fixture *fixture, size_t i) {
    return score(fixture, i, SYNTH_VISUAL) + score(fixture, i, SYNTH_ALIGNMENT) +
           score(fixture, i, SYNTH_PHYSICAL);
}

static void points_carry_the_scores(void **state) {
    const struct fixture *fixture = *state;
    static const int visual[] = {0, 0, 0, 1, 1, 2}, other[] = {0, 0, 1, 1, 2, 2}; /* by score */
    json_t *vs2 = read_json(fixture, "videoscore-bench-v2.json"), *phy = read_json(fixture, "videophy2.json");
    json_t *mj = read_json(fixture, "mj-bench-video.json"), *vqa = read_json(fixture, "t2vqa-db.json");
    assert_int_equal(json_array_size(vs2), COUNT);
    assert_int_equal(json_array_size(phy), COUNT);
    assert_int_equal(json_array_size(mj), COUNT);
    assert_int_equal(json_array_size(vqa), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const json_t *row = json_array_get(vs2, i);
        const int v = score(fixture, i, SYNTH_VISUAL), t = score(fixture, i, SYNTH_ALIGNMENT);
        const int p = score(fixture, i, SYNTH_PHYSICAL);
        assert_string_equal(json_string_value(json_object_get(row, "video_name")),
                            fixture->list.rows[i].name);
        assert_int_equal(whole(row, "visual_score"), v);
        assert_int_equal(whole(row, "t2v_score"), t);
        assert_int_equal(whole(row, "phy_score"), p);
        row = json_array_get(phy, i);
        assert_int_equal(whole(row, "semantic"), t);
        assert_int_equal(whole(row, "physical"), p);
        row = json_array_get(mj, i);
        assert_int_equal(whole(row, "fineness"), visual[v]);
        assert_int_equal(whole(row, "alignment"), other[t]);
        assert_int_equal(whole(row, "consistency"), other[p]);
        assert_int_equal(whole(row, "total_score"), other[(v + t + p) / 3]);
        assert_int_equal(whole(json_array_get(vqa, i), "quality_score"), v + t + p);
    }
    json_decref(vs2);
    json_decref(phy);
    json_decref(mj);
    json_decref(vqa);
}

/* The place in the list of "test_GGGG_M", also with a folder and an ending. */
static size_t place_of(const char *name) {
    unsigned group, member;
    const char *slash = strrchr(name, '/');
    assert_int_equal(sscanf(slash ? slash + 1 : name, "test_%u_%u", &group, &member), 2);
    return (size_t)group * SYNTH_GROUP + member;
}

static void pairs_agree_with_the_scores(void **state) {
    const struct fixture *fixture = *state;
    static const char *const mj_words[] = {"Video 2 better", "Same", "Video 1 better"};
    static const char *const vqa_words[] = {"2", "same", "1"};
    json_t *mj = read_json(fixture, "mj-bench-video-pairs.json");
    json_t *vqa = read_json(fixture, "t2vqa-db-pairs.json");
    int outcomes[3] = {0};
    assert_int_equal(json_array_size(mj), COUNT);
    assert_int_equal(json_array_size(vqa), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const json_t *row = json_array_get(mj, i);
        size_t a = place_of(json_string_value(json_object_get(row, "video_0_path")));
        size_t b = place_of(json_string_value(json_object_get(row, "video_1_path")));
        int outcome = (sum(fixture, a) > sum(fixture, b)) - (sum(fixture, a) < sum(fixture, b)) + 1;
        assert_int_equal(a, i);
        assert_true(a != b && a / SYNTH_GROUP == b / SYNTH_GROUP);
        assert_string_equal(json_string_value(json_object_get(row, "overall_preference")), mj_words[outcome]);
        row = json_array_get(vqa, i);
        assert_string_equal(json_string_value(json_object_get(row, "video1")), fixture->list.rows[a].name);
        assert_string_equal(json_string_value(json_object_get(row, "video2")), fixture->list.rows[b].name);
        assert_string_equal(json_string_value(json_object_get(row, "preference")), vqa_words[outcome]);
        outcomes[outcome]++;
    }
    for (int i = 0; i < 3; i++) assert_true(outcomes[i] > 0); /* ties too */
    json_decref(mj);
    json_decref(vqa);
}

static void the_csv_agrees_with_the_scores(void **state) {
    const struct fixture *fixture = *state;
    static const char *const words[] = {"B", "same", "A"};
    char *text = read_lines(fixture, "videogen-reward-bench.csv"), *rest = text;
    int rows = 0;
    assert_string_equal(strsep(&rest, "\n"), "path_A,path_B,prompt,VQ,TA,Overall");
    for (char *line; (line = strsep(&rest, "\n")) && *line; rows++) {
        size_t a = place_of(strsep(&line, ",")), b = place_of(strsep(&line, ","));
        int outcomes[3] = {score(fixture, a, SYNTH_VISUAL) - score(fixture, b, SYNTH_VISUAL),
                           score(fixture, a, SYNTH_ALIGNMENT) - score(fixture, b, SYNTH_ALIGNMENT),
                           sum(fixture, a) - sum(fixture, b)};
        assert_true(strlen(strsep(&line, ",")) > 10);
        for (int i = 0; i < 3; i++)
            assert_string_equal(strsep(&line, ","), words[(outcomes[i] > 0) - (outcomes[i] < 0) + 1]);
        assert_null(line);
    }
    assert_int_equal(rows, COUNT);
    free(text);
}

static void lines_are_json(void **state) {
    const struct fixture *fixture = *state;
    static const struct {
        const char *file, *key;
        int lines;
    } files[] = {{"rows.jsonl", "prompt", COUNT}, {"best-of-n-prompts.jsonl", "text", 11}};
    for (size_t i = 0; i < 2; i++) {
        struct error err;
        char *text = read_lines(fixture, files[i].file), *rest = text;
        int lines = 0;
        for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
            json_t *row = json_read_text(line, strlen(line), files[i].file, &err);
            assert_non_null(json_string_value(json_object_get(row, files[i].key)));
            if (i == 1) assert_int_equal(whole(row, "idx"), lines);
            json_decref(row);
        }
        assert_int_equal(lines, files[i].lines);
        free(text);
    }
}

static void a_missing_folder_is_an_error(void **state) {
    const struct fixture *fixture = *state;
    struct error err;
    assert_int_equal(synth_benchmarks_write("/nowhere", &fixture->list, &err), STATUS_FAILED);
    assert_string_equal(err.message,
                        "/nowhere/videoscore-bench-v2.json: cannot write: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_carry_the_scores),        cmocka_unit_test(pairs_agree_with_the_scores),
        cmocka_unit_test(the_csv_agrees_with_the_scores), cmocka_unit_test(lines_are_json),
        cmocka_unit_test(a_missing_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
