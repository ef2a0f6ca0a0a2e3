/* Benchmarks from their published files to RES.json, by a tiny model that was taught to answer
 * (tests/golden/score); gone on with after every kind of fault, and never with rows of other settings. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "eval/benchmark_run.h"
#include "eval/results.h"
#include "eval/row_journal.h"
#include "tests/eval/support_files.h"
#include "tests/refuse_one.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

static long writes_left = -1; /* until the disk is full; negative: it never is */

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (writes_left < 0 || writes_left-- > 0) return __real_write(fd, data, size);
    writes_left = 0;
    errno = ENOSPC;
    return -1;
}

/* ---- A run ------------------------------------------------------------------------------------------- */

enum { CLIPS = 3 };

static char data_path[256], videos_path[256], output_path[256], run_path[256];

static int setup(void **state) {
    if (make_folder(state) != 0) return -1;
    struct error err;
    char source[4096], link[4096];
    snprintf(videos_path, sizeof videos_path, "%s", path_of("videos"));
    snprintf(output_path, sizeof output_path, "%s", path_of("res.json"));
    snprintf(run_path, sizeof run_path, "%s", path_of("res.json.run"));
    if (folder_make(path_of("videos/folder"), &err) != STATUS_OK) return -1;
    if (!realpath("tests/golden/video/odd444.mp4", source)) return -1;
    static const char *const links[] = {"a.mp4", "folder/b.mp4", "c.mp4", "m_a.mp4", "m_b.mp4", "m_c.mp4"};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(link, sizeof link, "%s/%s", videos_path, links[i]);
        if (symlink(source, link) != 0) return -1;
    }
    return 0;
}

static int no_output(void **state) {
    (void)state;
    struct error err;
    unlink(output_path);
    return folder_remove(run_path, &err) == STATUS_OK ? 0 : -1;
}

/* Three videos: with folder and ending, without the one, without the other. */
static const char *const clips[CLIPS] = {"a", "folder/b.mp4", "c.mp4"};

static json_t *point_row(const struct benchmark *benchmark, int clip) {
    json_t *row =
        json_pack("{s:s, s:s}", benchmark->video[0], clips[clip], benchmark->prompt[0], "A red ball rolls.");
    for (int d = 0; d < DIMENSIONS; d++)
        for (int k = 0; k < BENCHMARK_NAMES && benchmark->truths[d].fields[k]; k++)
            json_object_set_new(row, benchmark->truths[d].fields[k], json_integer(clip + 1));
    return row;
}

static json_t *pair_row(const struct benchmark *benchmark, int clip) {
    const struct benchmark_pairs *pairs = &benchmark->pairs;
    const char *const words[] = {pairs->first, pairs->second, pairs->same[0]};
    json_t *row = json_pack("{s:s}", benchmark->prompt[0], "A red ball rolls.");
    for (int side = 0; side < 2; side++) {
        json_object_set_new(row, pairs->videos[side], json_string(clips[(clip + side) % CLIPS]));
        if (pairs->models[side]) json_object_set_new(row, pairs->models[side], json_string("m"));
    }
    for (int a = 0; a < PAIR_ASPECTS; a++)
        if (pairs->preferences[a])
            json_object_set_new(row, pairs->preferences[a], json_string(words[(clip + a) % 3]));
    return row;
}

/* The row as one of a CSV, or the header. */
static void append_csv(FILE *file, const json_t *row, bool header) {
    const char *key, *comma = "";
    json_t *value;
    json_object_foreach((json_t *)row, key, value) {
        if (header)
            fprintf(file, "%s%s", comma, key);
        else if (json_is_string(value))
            fprintf(file, "%s\"%s\"", comma, json_string_value(value));
        else
            fprintf(file, "%s%lld", comma, (long long)json_integer_value(value));
        comma = ",";
    }
    fputs("\r\n", file);
}

static void write_data(const struct benchmark *benchmark, bool pairs, bool csv) {
    json_t *rows = json_array();
    for (int i = 0; i < CLIPS; i++)
        json_array_append_new(rows, pairs ? pair_row(benchmark, i) : point_row(benchmark, i));
    snprintf(data_path, sizeof data_path, "%s", path_of(csv ? "data.csv" : "data.json"));
    if (csv) {
        FILE *file = fopen(data_path, "wb");
        assert_non_null(file);
        append_csv(file, json_array_get(rows, 0), true);
        for (int i = 0; i < CLIPS; i++) append_csv(file, json_array_get(rows, (size_t)i), false);
        assert_int_equal(fclose(file), 0);
    } else {
        put_json("data.json", rows);
    }
    json_decref(rows);
}

static struct benchmark_run run_of(const struct benchmark *benchmark) {
    struct benchmark_run run = {.benchmark = benchmark,
                                .data = data_path,
                                .videos = videos_path,
                                .output = output_path,
                                .scorer = scorer_settings_default(),
                                .place = {.size = 1}};
    run.scorer.model = "tests/golden/score";
    run.scorer.device = "cpu";
    run.scorer.compute = DTYPE_F32;
    run.scorer.sampling.temperature = 0;
    return run;
}

static const struct benchmark *simple(void) {
    struct error err;
    const struct benchmark *benchmark = benchmark_find("videoscore-bench-v2", &err);
    write_data(benchmark, false, false);
    return benchmark;
}

static struct run_outcome run_well(const struct benchmark_run *run) {
    struct run_outcome outcome;
    struct error err;
    if (benchmark_run(run, &outcome, &err) != STATUS_OK) fail_msg("%s", err.message);
    return outcome;
}

static void run_badly(const struct benchmark_run *run, const char *words) {
    struct run_outcome outcome;
    struct error err;
    assert_int_equal(benchmark_run(run, &outcome, &err), STATUS_FAILED);
    if (!strstr(err.message, words)) fail_msg("no '%s' in: %s", words, err.message);
}

/* The rows of RES.json, without the time they took; json_decref it. */
static json_t *lasting_rows(void) {
    struct error err;
    size_t i;
    json_t *row, *rows = json_read_file(output_path, 1 << 20, &err);
    if (!rows) fail_msg("%s", err.message);
    json_array_foreach(rows, i, row) assert_int_equal(json_object_del(row, "seconds"), 0);
    return rows;
}

/* The folder of the run holds what stays, and nothing else. */
static void assert_folder_is_clean(void) {
    struct folder_names names;
    struct error err;
    assert_int_equal(folder_list(run_path, &names, &err), STATUS_OK);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.names[0], "settings.json");
    folder_names_free(&names);
}

/* ---- What is scored ---------------------------------------------------------------------------------- */

static void assert_scored(const struct benchmark *benchmark, bool pairs) {
    static const int digits[DIMENSIONS] = {4, 3, 5}; /* what the model was taught to say of this prompt */
    json_t *rows = lasting_rows(), *row;
    size_t i;
    assert_int_equal(json_array_size(rows), CLIPS);
    json_array_foreach(rows, i, row) {
        char name[32]; /* as the row has it, or, of a pair, without folder and ending */
        snprintf(name, sizeof name, "%s%c", benchmark->pairs.models[0] ? "m_" : "", "abc"[i]);
        assert_string_equal(json_string_value(json_object_get(row, "video_name")), pairs ? name : clips[i]);
        assert_string_equal(json_string_value(json_object_get(row, "prompt")), "A red ball rolls.");
        assert_true(json_is_string(json_object_get(row, "output")));
        for (int d = 0; d < DIMENSIONS; d++) {
            char key[32];
            const char *letter = dimension_letter((enum dimension)d);
            snprintf(key, sizeof key, "%s_score_model", letter);
            assert_int_equal(json_integer_value(json_object_get(row, key)), digits[d]);
            snprintf(key, sizeof key, "%s_confidence", letter);
            assert_true(json_is_real(json_object_get(row, key)));
            snprintf(key, sizeof key, "%s_score_gt", letter);
            const json_t *truth = json_object_get(row, key);
            if (pairs)
                assert_null(truth);
            else if (benchmark->truths[d].fields[0])
                assert_true(json_number_value(truth) == (double)i + 1);
            else
                assert_true(json_is_null(truth));
        }
    }
    json_decref(rows);
}

static void every_benchmark_runs(void **state) {
    size_t count;
    const struct benchmark *all = benchmarks(&count);
    for (size_t i = 0; i < count; i++)
        for (int pairs = 0; pairs < 2; pairs++)
            for (int csv = 0; csv < 2; csv++) {
                if (pairs ? !benchmark_has_pairs(&all[i]) : !benchmark_has_points(&all[i])) continue;
                no_output(state);
                write_data(&all[i], pairs, csv);
                const struct benchmark_run run = run_of(&all[i]);
                const struct run_outcome outcome = run_well(&run);
                assert_int_equal(outcome.rows, CLIPS);
                assert_int_equal(outcome.scored, CLIPS);
                assert_int_equal(outcome.failed + outcome.waiting, 0);
                assert_true(isnan(outcome.accuracy) == (!pairs && !all[i].accuracy));
                assert_scored(&all[i], pairs);
                assert_folder_is_clean();
            }
}

/* What the progress said. */
struct heard {
    int calls, failures;
    struct run_progress first, last;
};

static void hear_progress(void *context, const struct run_progress *progress) {
    struct heard *heard = context;
    if (heard->calls++ == 0) heard->first = *progress;
    heard->last = *progress;
}

static void hear_failure(void *context, const char *message) {
    struct heard *heard = context;
    heard->failures++;
    assert_non_null(strstr(message, "gone.mp4: "));
}

static void a_video_that_is_gone_has_a_row(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    struct heard heard = {0};
    run.progress = hear_progress;
    run.failed = hear_failure;
    run.context = &heard;
    json_t *rows = json_array();
    json_array_append_new(rows, point_row(run.benchmark, 0));
    json_array_append_new(rows, point_row(run.benchmark, 1));
    json_object_set_new(json_array_get(rows, 0), "video_name", json_string("gone"));
    put_json("data.json", rows);
    json_decref(rows);
    for (int call = 1; call <= 2; call++) { /* the second one tries that video again, and no other */
        heard.calls = 0;
        const struct run_outcome outcome = run_well(&run);
        assert_int_equal(outcome.rows, 2);
        assert_int_equal(outcome.failed, 1);
        assert_int_equal(outcome.scored, call == 1 ? 2 : 1);
        assert_true(outcome.accuracy == 0); /* 4, 3, 5 where 2, 2, 2 is right */
        assert_int_equal(heard.failures, call);
        assert_int_equal(heard.first.mine, call == 1 ? 2 : 1);
        assert_int_equal(heard.first.done, call == 1 ? 0 : 1);
        assert_int_equal(heard.last.done, 2);
        assert_int_equal(heard.last.failed, 1);
        assert_int_equal(heard.last.mine_done, heard.last.mine);
        assert_true(heard.last.seconds > 0);
        if (call == 1) assert_true(heard.last.new_tokens > 50);
    }
    rows = lasting_rows();
    const json_t *row = json_array_get(rows, 0);
    assert_true(json_is_null(json_object_get(row, "output")));
    assert_true(json_is_null(json_object_get(row, "v_score_model")));
    assert_non_null(json_object_get(json_object_get(row, "errors"), "video"));
    json_decref(rows);
}

static void a_limit_takes_the_first_or_draws(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    run.limit = 2;
    assert_int_equal(run_well(&run).rows, 2);
    run.limit = 100;
    struct run_outcome outcome = run_well(&run); /* those of before stay */
    assert_int_equal(outcome.rows, CLIPS);
    assert_int_equal(outcome.scored, 1);
    json_t *all = lasting_rows();
    for (uint64_t seed = 0; seed < 4; seed++) {
        no_output(state);
        run.limit = 1;
        run.drawn = true;
        run.sample_seed = seed;
        assert_int_equal(run_well(&run).scored, 1);
        json_t *drawn = lasting_rows(), *row;
        bool found = false;
        size_t i;
        json_array_foreach(all, i, row) found |= json_equal(row, json_array_get(drawn, 0));
        assert_true(found);
        json_decref(drawn);
        run.limit = 2;
        assert_int_equal(run_well(&run).scored, 1); /* the larger one keeps what the smaller one drew */
    }
    json_decref(all);
}

static void processes_share_the_rows(void **state) {
    struct benchmark_run run = run_of(simple());
    run_well(&run);
    json_t *alone = lasting_rows();
    no_output(state);
    run.place = (struct launcher_place){.rank = 1, .size = 2};
    struct run_outcome outcome = run_well(&run);
    assert_int_equal(outcome.scored, 1);
    assert_int_equal(outcome.waiting, 2);
    assert_int_equal(access(output_path, F_OK), -1);
    run.place.rank = 0;
    outcome = run_well(&run);
    assert_int_equal(outcome.scored, 2);
    assert_int_equal(outcome.waiting, 0);
    json_t *shared = lasting_rows();
    assert_true(json_equal(alone, shared));
    assert_folder_is_clean();
    json_decref(shared);
    json_decref(alone);
}

static void samples_are_averaged(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    run.limit = 1;
    run.scorer.samples = 4;
    run.scorer.sampling.temperature = 1;
    run_well(&run);
    json_t *rows = lasting_rows(), *row = json_array_get(rows, 0);
    assert_int_equal(json_array_size(json_object_get(row, "samples")), 4);
    for (int d = 0; d < DIMENSIONS; d++) {
        char model[32], mean[32];
        snprintf(model, sizeof model, "%s_score_model", dimension_letter((enum dimension)d));
        snprintf(mean, sizeof mean, "%s_mean", dimension_letter((enum dimension)d));
        assert_true(json_is_number(json_object_get(row, mean)));
        assert_true(json_equal(json_object_get(row, model), json_object_get(row, mean)));
    }
    json_decref(rows);
}

/* ---- Faults ------------------------------------------------------------------------------------------ */

/* The disk is full after one write, after two, ...: each time that is said, and in the end the file is that
 * of an unbroken run. */
static void a_full_disk_is_told_and_gone_on_from(void **state) {
    struct benchmark_run run = run_of(simple());
    run_well(&run);
    json_t *unbroken = lasting_rows();
    no_output(state);
    enum status status = STATUS_FAILED;
    int tried = 0;
    for (; status != STATUS_OK && tried < 50; tried++) {
        struct run_outcome outcome;
        struct error err;
        writes_left = tried;
        status = benchmark_run(&run, &outcome, &err);
        writes_left = -1;
        if (status != STATUS_OK && !strstr(err.message, "No space left")) fail_msg("%s", err.message);
        assert_true((status == STATUS_OK) == (access(output_path, F_OK) == 0));
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(tried > 3);
    json_t *rows = lasting_rows();
    assert_true(json_equal(unbroken, rows));
    json_decref(rows);
    json_decref(unbroken);
}

static void append_row(const char *name, size_t number, const char *text) {
    struct row_journal journal;
    struct error err;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", run_path, name);
    assert_int_equal(row_journal_open(&journal, path, &err), STATUS_OK);
    assert_int_equal(row_journal_append(&journal, number, text, strlen(text), &err), STATUS_OK);
    row_journal_close(&journal);
}

static void journals_are_checked(void **state) {
    struct benchmark_run run = run_of(simple());
    run.limit = 1;
    run_well(&run);
    append_row("rows-7.journal", 3, "{}"); /* of a process of an earlier call, whichever it was */
    run_badly(&run, "res.json.run: a journal has row 3, the benchmark only 3");
    no_output(state);
    run_well(&run);
    append_row("rows-7.journal", 2, "{\"output\": ");
    run_badly(&run, "a scored row");
    no_output(state);
    run_well(&run);
    append_row("rows-7.journal", 2, "{\"output\": \"\", \"v_score_model\": 1}");
    run.limit = 0;
    assert_int_equal(run_well(&run).scored, 1); /* that row counts as scored */
    assert_folder_is_clean();
}

/* A journal that a process has open is not for others: neither to write to, nor to remove. */
static void open_journals_are_let_be(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    struct row_journal journal;
    struct error err;
    char path[512];
    run.limit = 1;
    run_well(&run);
    snprintf(path, sizeof path, "%s/rows-0.journal", run_path);
    assert_int_equal(row_journal_open(&journal, path, &err), STATUS_OK);
    assert_int_equal(run_well(&run).scored, 0);
    assert_int_equal(access(path, F_OK), 0);
    run.limit = 2;
    run_badly(&run, "another process is writing to it");
    row_journal_close(&journal);
    run_well(&run);
    assert_folder_is_clean();
}

static void result_files_are_checked(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    put_text("res.json", "[]");
    run_badly(&run, "it is there already, and was not written by this program");
    unlink(output_path);
    run.limit = 1;
    run_well(&run);
    put_text("res.json", "[{\"video_name\": \"x.mp4\", \"output\": \"\"}]");
    run_badly(&run, "res.json: row 1: the benchmark has no video 'x.mp4'");
    put_text("res.json", "[{\"video_name\"");
    run_badly(&run, "res.json");
    unlink(output_path); /* it may be lost: then its rows are scored again */
    assert_int_equal(run_well(&run).scored, 1);
    put_text("res.json.run/settings.json", "{\"settings\": [");
    run_badly(&run, "settings.json: ");
    put_text("res.json.run/settings.json", "[1]");
    run_badly(&run, "its record holds no settings");
    char nowhere[512];
    snprintf(nowhere, sizeof nowhere, "%s/res.json", data_path);
    run.output = nowhere;
    run_badly(&run, "data.json");
    run.data = "nowhere.json";
    run_badly(&run, "nowhere.json");
}

/* Sets one of the settings to another value, and returns what is said of it; NULL: there are no more. */
static const char *change_setting(struct benchmark_run *run, int which) {
    static struct benchmark renamed;
    struct scorer_settings *scorer = &run->scorer;
    switch (which) {
    case 0:
        renamed = *run->benchmark;
        renamed.name = "other";
        run->benchmark = &renamed;
        return "made with --benchmark videoscore-bench-v2, not other: choose another file";
    case 1:
        scorer->visual = visual_options_default(visual_policy_find("qwen"));
        return "made with --frame-policy llamafactory, not qwen";
    case 2: scorer->visual.fps = 1.5; return "made with --fps 2.0, not 1.5";
    case 3: scorer->visual.min_frames = 2; return "made with --min-frames 1, not 2";
    case 4: scorer->visual.max_frames = 3; return "made with --max-frames 10, not 3";
    case 5: scorer->visual.max_pixels = 1000; return "made with --max-pixels 691200.0, not 1000.0";
    case 6: scorer->max_new_tokens = 9; return "made with --max-new-tokens 1024, not 9";
    case 7: scorer->sampling.temperature = NAN; return "made with --temperature 0.0, not the checkpoint's";
    case 8: scorer->sampling.top_p = 0.5; return "made with --top-p the checkpoint's, not 0.5";
    case 9: scorer->sampling.top_k = 5; return "made with --top-k the checkpoint's, not 5";
    case 10: scorer->sampling.min_p = 0.5; return "made with --min-p the checkpoint's, not 0.5";
    case 11:
        scorer->sampling.repetition_penalty = 1.5;
        return "made with --repetition-penalty the checkpoint's, not 1.5";
    case 12: scorer->sampling.seed = 1; return "made with --seed 42, not 1";
    case 13: scorer->samples = 2; return "made with --num-samples 1, not 2";
    case 14: scorer->raw_probabilities = true; return "made with --probabilities final, not raw";
    case 15: scorer->compute = DTYPE_I32; return "made with --dtype f32, not auto";
    case 16: scorer->model = "tests/golden/model/tied"; return "made with another model";
    case 17: scorer->template_file = put_text("query.txt", "{prompt}?"); return "made with another query";
    case 18:
        run->data = put_text("other.json", "[{\"video_name\": \"a\", \"prompt\": \"?\", \"visual_score\": 1, "
                                           "\"t2v_score\": 1, \"phy_score\": 1}]");
        return "made with other videos or prompts";
    default: return NULL;
    }
}

static void other_settings_are_told(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    run.limit = 1;
    run_well(&run);
    for (int which = 0;; which++) {
        struct benchmark_run other = run;
        const char *words = change_setting(&other, which);
        if (!words) break;
        run_badly(&other, words);
    }
    assert_int_equal(run_well(&run).scored, 0);
}

/* Everything but the scoring itself, with one allocation refused after another. */
static void every_lack_of_memory_is_told(void **state) {
    (void)state;
    struct benchmark_run run = run_of(simple());
    run_well(&run);
    enum status status = STATUS_FAILED;
    int tried = 0;
    for (; status != STATUS_OK && tried < 2000; tried++) {
        struct run_outcome outcome;
        struct error err = {0};
        allowed = tried;
        status = benchmark_run(&run, &outcome, &err);
        allowed = -1;
        if (status != STATUS_OK && !strstr(err.message, "memory")) fail_msg("%s", err.message);
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(tried > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_benchmark_runs, no_output),
        cmocka_unit_test_setup(a_video_that_is_gone_has_a_row, no_output),
        cmocka_unit_test_setup(a_limit_takes_the_first_or_draws, no_output),
        cmocka_unit_test_setup(processes_share_the_rows, no_output),
        cmocka_unit_test_setup(samples_are_averaged, no_output),
        cmocka_unit_test_setup(a_full_disk_is_told_and_gone_on_from, no_output),
        cmocka_unit_test_setup(journals_are_checked, no_output),
        cmocka_unit_test_setup(open_journals_are_let_be, no_output),
        cmocka_unit_test_setup(result_files_are_checked, no_output),
        cmocka_unit_test_setup(other_settings_are_told, no_output),
        cmocka_unit_test_setup(every_lack_of_memory_is_told, no_output),
    };
    return cmocka_run_group_tests(tests, setup, remove_folder);
}
