/* The report: what it says, that rows cannot break out of it, and what it does when memory runs out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/utf8.h"
#include "eval/report.h"
#include "tests/eval/support_files.h"
#include "tests/refuse_one.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

/* What jansson takes its memory from. */
static void *json_malloc(size_t size) {
    return refuse() ? NULL : malloc(size);
}

/* ---- Making reports ---------------------------------------------------------------------------------- */

#define ANSWER(v, t, p)                                                                                      \
    "<think>It is even. visual quality: 1?</think>\\n(1) visual quality: " #v                                \
    "\\n(2) text-to-video alignment: " #t "\\n(3) physical/common-sense consistency: " #p
#define TRUTH(v, t, p)                "\"v_score_gt\":" #v ",\"t_score_gt\":" #t ",\"p_score_gt\":" #p
#define MODEL(v, t, p)                "\"v_score_model\":" #v ",\"t_score_model\":" #t ",\"p_score_model\":" #p
#define ROW(name, truth, model, more) "{\"video_name\":\"" name "\"," truth "," model more "}"

enum { MOST_FILES = 3 };

/* A report on texts, which are files of these names. */
struct made {
    char *html;
    struct report_summary summary;
    json_t *data; /* what the script reads */
};

static enum status read_files(const char *const *texts, size_t count, const struct benchmark *benchmark,
                              struct results *files, struct error *err) {
    static const char *const names[MOST_FILES] = {"a.json", "b.json", "c.json"};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = results_read(put_text(names[i], texts[i]), benchmark, SCORE_AS_WRITTEN, &files[i], err);
    return status;
}

static enum status try_report(const char *const *texts, size_t count, const struct report_settings *settings,
                              struct text *html, struct report_summary *summary, struct error *err) {
    struct results files[MOST_FILES] = {{0}};
    enum status status = read_files(texts, count, settings->benchmark, files, err);
    if (status == STATUS_OK) status = report_append(html, files, count, settings, summary, err);
    for (size_t i = 0; i < count; i++) results_free(&files[i]);
    return status;
}

/* The data as a browser reads it: up to the end of its element. */
static json_t *data_of(const char *html) {
    const char *start = strstr(html, "id=\"data\">");
    assert_non_null(start);
    start += strlen("id=\"data\">");
    const char *end = strstr(start, "</script");
    json_t *data = json_loadb(start, (size_t)(end - start), JSON_ALLOW_NUL, NULL);
    assert_non_null(data);
    return data;
}

static struct made make(const char *const *texts, size_t count, struct report_settings settings) {
    struct made made;
    struct error err;
    struct text html = {0};
    if (!settings.benchmark) settings.benchmark = benchmark_any();
    if (try_report(texts, count, &settings, &html, &made.summary, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(strlen(html.data), html.length);
    assert_int_equal(utf8_valid_prefix(html.data, html.length), html.length);
    made.html = html.data;
    made.data = data_of(made.html);
    return made;
}

static struct made make_one(const char *text) {
    return make(&text, 1, (struct report_settings){0});
}

static void made_free(struct made *made) {
    free(made->html);
    json_decref(made->data);
}

static const json_t *video_of(const struct made *made, size_t index) {
    return json_array_get(json_object_get(made->data, "videos"), index);
}

static const char *name_of(const struct made *made, size_t index) {
    return json_string_value(json_object_get(video_of(made, index), "name"));
}

static const json_t *side_of(const struct made *made, size_t video, size_t file) {
    return json_array_get(json_object_get(video_of(made, video), "files"), file);
}

static void assert_has(const struct made *made, const char *words) {
    if (!strstr(made->html, words)) fail_msg("no '%s'", words);
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    for (; (text = strstr(text, part)); text += strlen(part)) count++;
    return count;
}

/* ---- What it says ------------------------------------------------------------------------------------ */

static void figures_are_those_of_the_metrics(void **state) {
    (void)state;
    const char *text =
        "[" ROW("a", TRUTH(1, 2, 3), MODEL(1, 3, 3), "") "," ROW("b", TRUTH(2, 2, 2), MODEL(3, 2, 2),
                                                                 "") "," //
        ROW("c", TRUTH(5, 5, 5), MODEL(3, 5, 5), "") "," ROW("d", TRUTH(4, 4, 4), MODEL(4, null, 4), "") "]";
    struct report_settings settings = {0};
    struct error err;
    settings.benchmark = benchmark_find("videoscore-bench-v2", &err);
    struct made made = make(&text, 1, settings);
    assert_has(&made, "<title>VideoScore-Bench-v2 - vs2 report</title>");
    assert_has(&made, "4 rows, 3 scored, 1 without all three scores, left out");
    assert_has(&made,
               "<th scope=\"row\">accuracy</th><td>44.35</td><td>66.67</td>"); /* (1/3 + 2/3 + 1) / 3 */
    assert_has(&made, "<b>33.33</b>");
    assert_has(&made, "of truth 5: 0 as 1, 0 as 2, 1 as 3, 0 as 4, 0 as 5");
    assert_has(&made, "truth: 1: 33.3% 2: 33.3% 3: 0.0% 4: 0.0% 5: 33.3%; model: 1: 33.3% 2: 0.0% 3: 66.7%");
    assert_null(strstr(made.html, "Calibration"));
    assert_null(strstr(made.html, "nan"));
    assert_int_equal(count_of(made.html, "<svg"), count_of(made.html, "<desc>"));
    assert_int_equal(count_of(made.html, "<svg"), 9); /* three for each dimension */
    made_free(&made);
}

static void the_largest_errors_come_first(void **state) {
    (void)state;
    struct made made = make_one("[" ROW("right", TRUTH(1, 2, 3), MODEL(1, 2, 3), "") "," ROW(
        "unread", TRUTH(1, 2, 3), MODEL(null, null, null), "") "," //
                                ROW("worst", TRUTH(1, 1, 1), MODEL(5, 4, 5),
                                    "") "," ROW("near", TRUTH(2, 2, 2), MODEL(3, 2, 2), "") "]");
    static const char *const order[] = {"worst", "near", "right", "unread"};
    for (size_t i = 0; i < 4; i++) assert_string_equal(name_of(&made, i), order[i]);
    json_t *wanted = json_loads("[4, 3, 4]", 0, NULL);
    assert_true(json_equal(json_object_get(side_of(&made, 0, 0), "error"), wanted));
    json_decref(wanted);
    assert_true(json_is_null(json_array_get(json_object_get(side_of(&made, 3, 0), "score"), 0)));
    assert_int_equal(json_integer_value(json_object_get(video_of(&made, 0), "place")), 2);
    made_free(&made);
}

/* The parts of the text are the text, and every second one is a score of the answer. */
static void the_answer_is_marked(void **state) {
    (void)state;
    struct made made =
        make_one("[" ROW("a", TRUTH(1, 2, 3), MODEL(4, 3, 5), ",\"output\":\"" ANSWER(4, 3, 5) "\"") "]");
    const json_t *parts = json_object_get(side_of(&made, 0, 0), "text"),
                 *marks = json_object_get(side_of(&made, 0, 0), "marks");
    static const char *const scores[] = {"4", "3", "5"};
    assert_int_equal(json_array_size(parts), 7);
    assert_int_equal(json_array_size(marks), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(json_string_value(json_array_get(parts, 2 * i + 1)), scores[i]);
        assert_int_equal(json_integer_value(json_array_get(marks, i)), i);
    }
    assert_non_null(strstr(json_string_value(json_array_get(parts, 0)), "visual quality: 1?"));
    assert_string_equal(json_string_value(json_array_get(parts, 6)), "");
    made_free(&made);
}

/* 40 videos: the second file is right in all, the first nearly never; it lacks one and has one more. */
static void files_stand_side_by_side(void **state) {
    (void)state;
    struct text a = {0}, b = {0};
    for (int i = 0; i < 40; i++) {
        const int truth = i % 5 + 1, wrong = truth == 5 ? 3 : truth + 1;
        text_format(&a, "{\"video_name\":\"v%d\"," TRUTH(% d, 3, 3) "," MODEL(% d, 3, 3) "}\n", i, truth,
                    wrong);
        text_format(&b, "{\"video_name\":\"%s%d.mp4\"," TRUTH(% d, 3, 3) "," MODEL(% d, 3, 3) "}\n",
                    i ? "v" : "more", i, truth, truth);
    }
    const char *texts[] = {a.data, b.data};
    struct made made = make(texts, 2, (struct report_settings){0});
    assert_has(&made, " better</small>");
    assert_has(&made, "p &lt; 0.0001");
    assert_has(&made, "<th scope=\"col\">figure</th><th scope=\"col\">visual quality</th>");
    assert_has(&made, "<th scope=\"rowgroup\" colspan=\"4\">accuracy</th>");
    assert_null(strstr(made.html, " worse</small>"));
    assert_int_equal(made.summary.videos, 41);
    assert_int_equal(json_array_size(json_object_get(made.data, "videos")), 41);
    assert_string_equal(name_of(&made, 0), "v0"); /* an error of 1 in the only file that has it */
    assert_true(json_is_null(side_of(&made, 0, 1)));
    assert_string_equal(name_of(&made, 40), "more0.mp4");
    assert_true(json_is_null(side_of(&made, 40, 0)));
    made_free(&made);
    texts[0] = b.data;
    texts[1] = a.data;
    made = make(texts, 2, (struct report_settings){0});
    assert_has(&made, " worse</small>");
    made_free(&made);
    text_free(&a);
    text_free(&b);
}

static void pairs_have_their_figures(void **state) {
    (void)state;
    struct error err;
    const struct benchmark *benchmark = benchmark_find("videogen-reward-bench", &err);
    struct benchmark_pair_list pairs;
    const char *path =
        put_text("pairs.csv", "path_A,path_B,VQ,TA,Overall\na.mp4,b.mp4,A,same,A\na.mp4,x.mp4,A,A,A\n");
    assert_int_equal(benchmark_pairs_read(benchmark, path, &pairs, &err), STATUS_OK);
    const char *text =
        "[{\"video_name\":\"a\"," MODEL(4, 3, 4) "},{\"video_name\":\"b\"," MODEL(2, 3, 3) "}]";
    struct made made = make(&text, 1, (struct report_settings){.benchmark = benchmark, .pairs = &pairs});
    assert_has(&made, "2 pairs, 1 dropped");
    assert_has(&made, "pairs, with ties");
    assert_has(&made, "<th scope=\"row\">accuracy on pairs, with ties</th><td>50.37</td><td>100.00</td>");
    assert_has(&made, "MJ-Bench-Video and VideoPhy2-test together");
    assert_has(&made, "model: 1: 0.0% 2: 50.0%"); /* distributions need no truth */
    made_free(&made);
    made = make(&text, 1, (struct report_settings){.benchmark = benchmark});
    assert_has(&made, "There is no ground truth");
    made_free(&made);
    benchmark_pairs_free(&pairs);
}

/* A truth from 0 to 100 has no levels: its own distribution, scatter plots, no matrices. */
static void other_scales_are_drawn(void **state) {
    (void)state;
    struct error err;
    const char *text =
        "[" ROW("a", TRUTH(10.5, 10.5, 10.5), MODEL(1.5, 2, 2.5), ",\"quality_score\":10.5") "," //
        ROW("b", TRUTH(90, 90, 90), MODEL(4, 4.5, 4.25), ",\"quality_score\":90") "]";
    struct made made =
        make(&text, 1, (struct report_settings){.benchmark = benchmark_find("t2vqa-db", &err)});
    assert_has(&made, "Distribution of the truth");
    assert_has(&made, "<h3>overall</h3>");
    assert_int_equal(count_of(made.html, "Truth and score (counts)</title>"), 0);
    assert_int_equal(count_of(made.html, "Truth and score (every video)</title>"), 4);
    assert_null(strstr(made.html, "nan"));
    made_free(&made);
}

static void empty_files_have_a_report(void **state) {
    (void)state;
    struct made made = make_one("[]");
    assert_has(&made, "0 rows, 0 scored");
    assert_has(&made, "There is no ground truth");
    assert_int_equal(made.summary.videos, 0);
    assert_null(strstr(made.html, "<svg"));
    assert_null(strstr(made.html, "nan"));
    made_free(&made);
    made =
        make_one("[" ROW("a", TRUTH(1, 1, 1), MODEL(1, 1, 1), ",\"v_confidence\":1,\"t_confidence\":0") "]");
    assert_has(&made, "Calibration of the confidence");
    assert_null(strstr(made.html, "nan"));
    made_free(&made);
}

/* ---- What is thrown at it ---------------------------------------------------------------------------- */

static const char hostile[] =
    "[{\"video_name\":\"</script><b>\\u0001\\u202e'\\\"&.mp4\"," TRUTH(1, 1, 1) "," MODEL(
        2, 2, 2) ",\"prompt\":\"</script><script>alert('x')</script><!-- \\u0000 \\u001b \xFF\xC3 "
                 "\\u202e\\u05d0 \\u2028\","
                 "\"output\":\"<img src=x onerror=alert(1)> ]]> \\\\u003c \\n" ANSWER(
                     2, 2, 2) "\"},"
                              "{\"video_name\":\"b\"," TRUTH(1, 1, 1) "," MODEL(
                                  1, 1, 1) ",\"prompt\":{\"<script>\":[1]},\"output\":\"\\ud800 <script>\"},"
                                           "{\"video_name\":\"c\"," TRUTH(1, 1, 1) "," MODEL(
                                               1, 1, 1) ",\"prompt\":null,\"output\":7}]";

static void rows_cannot_break_out(void **state) {
    (void)state;
    struct made made = make_one(hostile);
    assert_int_equal(count_of(made.html, "<script"), 2); /* the data and the report's own */
    assert_int_equal(count_of(made.html, "</script"), 2);
    assert_null(strstr(made.html, "<img"));
    assert_null(strstr(made.html, "<!-- "));
    for (const char *c = made.html; *c; c++)
        assert_true((unsigned char)*c >= ' ' || *c == '\n' || *c == '\t');
    const json_t *prompt = json_object_get(video_of(&made, 0), "prompt");
    static const char wanted[] = "</script><script>alert('x')</script><!-- \0 \x1b \xEF\xBF\xBD\xEF\xBF\xBD "
                                 "\xE2\x80\xAE\xD7\x90 \xE2\x80\xA8";
    assert_int_equal(json_string_length(prompt), sizeof wanted - 1);
    assert_memory_equal(json_string_value(prompt), wanted, sizeof wanted - 1);
    assert_string_equal(name_of(&made, 0), "</script><b>\x01\xE2\x80\xAE'\"&.mp4");
    /* What is no text is shown as it stands in the file. */
    assert_string_equal(json_string_value(json_object_get(video_of(&made, 1), "prompt")),
                        "{\"<script>\":[1]}");
    assert_string_equal(json_string_value(json_array_get(json_object_get(side_of(&made, 1, 0), "text"), 0)),
                        "\"\\ud800 <script>\"");
    assert_string_equal(json_string_value(json_object_get(video_of(&made, 2), "prompt")), "");
    assert_string_equal(json_string_value(json_array_get(json_object_get(side_of(&made, 2, 0), "text"), 0)),
                        "7");
    made_free(&made);
}

static void long_lines_stay_whole(void **state) {
    (void)state;
    enum { LENGTH = 300000 };
    struct text text = {0};
    text_append_string(&text, "[{\"video_name\":\"a\"," TRUTH(1, 1, 1) "," MODEL(1, 1, 1) ",\"prompt\":\"");
    for (int i = 0; i < LENGTH; i++) text_append_string(&text, "<");
    text_append_string(&text, "\"}]");
    struct made made = make_one(text.data);
    assert_int_equal(json_string_length(json_object_get(video_of(&made, 0), "prompt")), LENGTH);
    made_free(&made);
    text_free(&text);
}

/* File names are text, too. */
static void paths_are_escaped(void **state) {
    (void)state;
    struct results results;
    struct report_summary summary;
    struct error err;
    struct text html = {0};
    const char *path = put_text("<i>\xFF&.json", "[" ROW("a", TRUTH(1, 1, 1), MODEL(1, 1, 1), "") "]");
    assert_int_equal(results_read(path, NULL, SCORE_HARD, &results, &err), STATUS_OK);
    const struct report_settings settings = {.benchmark = benchmark_any()};
    assert_int_equal(report_append(&html, &results, 1, &settings, &summary, &err), STATUS_OK);
    assert_non_null(strstr(html.data, "&lt;i&gt;\xEF\xBF\xBD&amp;.json"));
    assert_null(strstr(html.data, "<i>"));
    text_free(&html);
    results_free(&results);
}

/* ---- Frames ------------------------------------------------------------------------------------------ */

static void note_progress(void *context, int64_t done, int64_t total) {
    int64_t *calls = context;
    assert_int_equal(total, 3);
    assert_int_equal(done, ++*calls);
}

static void frames_are_shown_of_the_worst(void **state) {
    (void)state;
    const char *text = "[" ROW("short.mp4", TRUTH(1, 1, 1), MODEL(1, 1, 1), "") "," //
        ROW("bframes", TRUTH(1, 1, 1), MODEL(5, 5, 5), "") "," ROW("nowhere", TRUTH(1, 1, 1), MODEL(3, 3, 3),
                                                                   "") "," //
        ROW("audio.m4a", TRUTH(1, 1, 1), MODEL(2, 2, 2), "") "]";
    int64_t calls = 0;
    struct report_settings settings = {.videos = "tests/golden/video",
                                       .thumbnails = 3,
                                       .progress = note_progress,
                                       .progress_context = &calls};
    struct made made = make(&text, 1, settings);
    const char *picture = json_string_value(json_object_get(video_of(&made, 0), "picture"));
    assert_int_equal(strncmp(picture, "data:image/jpeg;base64,/9j/", 27), 0);
    assert_true(strlen(picture) < 40000);
    assert_null(json_object_get(video_of(&made, 1), "picture"));
    assert_non_null(
        strstr(json_string_value(json_object_get(video_of(&made, 1), "problem")), "nowhere.mp4: "));
    assert_non_null(strstr(json_string_value(json_object_get(video_of(&made, 2), "problem")), "audio.m4a: "));
    assert_null(json_object_get(video_of(&made, 3), "picture")); /* the fourth */
    assert_null(json_object_get(video_of(&made, 3), "problem"));
    assert_int_equal(made.summary.pictures, 1);
    assert_int_equal(made.summary.unreadable, 2);
    assert_non_null(strstr(made.summary.problem.message, "nowhere.mp4"));
    assert_int_equal(calls, 3);
    made_free(&made);
    settings.thumbnails = 0;
    made = make(&text, 1, settings);
    assert_null(strstr(made.html, "data:image"));
    made_free(&made);
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static void every_lack_of_memory_is_told(void **state) {
    (void)state;
    const char *const texts[] = {
        "[" ROW("a", TRUTH(1, 2, 3), MODEL(1, 3, 3),
                ",\"v_confidence\":0.5,\"prompt\":\"x\",\"output\":\"" ANSWER(1, 3, 3) "\"") "," //
        ROW("b", TRUTH(2, 2, 2), MODEL(3, 2, 2), "") "]",
        "[" ROW("a", TRUTH(1, 2, 3), MODEL(2, 3, 3), "") "," ROW("c", TRUTH(2, 2, 2), MODEL(3, 2, 2),
                                                                 "") "]"};
    enum status status = STATUS_FAILED;
    int tried = 0;
    json_set_alloc_funcs(json_malloc, free);
    for (; status != STATUS_OK && tried < 20000; tried++) {
        const struct report_settings settings = {.benchmark = benchmark_any()};
        struct report_summary summary;
        struct error err = {0};
        struct text html = {0};
        allowed = tried;
        status = try_report(texts, 2, &settings, &html, &summary, &err);
        const bool refused = allowed < 0;
        allowed = -1;
        text_free(&html);
        if (refused != (status != STATUS_OK))
            fail_msg("allocation %d: %s", tried, refused ? "not told" : err.message);
        if (status != STATUS_OK && !strstr(err.message, "out of memory")) fail_msg("%s", err.message);
    }
    json_set_alloc_funcs(malloc, free);
    assert_int_equal(status, STATUS_OK);
    assert_true(tried > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_metrics),
        cmocka_unit_test(the_largest_errors_come_first),
        cmocka_unit_test(the_answer_is_marked),
        cmocka_unit_test(files_stand_side_by_side),
        cmocka_unit_test(pairs_have_their_figures),
        cmocka_unit_test(other_scales_are_drawn),
        cmocka_unit_test(empty_files_have_a_report),
        cmocka_unit_test(rows_cannot_break_out),
        cmocka_unit_test(long_lines_stay_whole),
        cmocka_unit_test(paths_are_escaped),
        cmocka_unit_test(frames_are_shown_of_the_worst),
        cmocka_unit_test(every_lack_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
