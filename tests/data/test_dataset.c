/* Data sets: dataset_info.json, the files it names, rows that are wrong, and text that is no JSON. */
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
#include "data/dataset.h"

static char folder[] = "/tmp/vs2-test-dataset-XXXXXX";

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

static void put(const char *name, const char *text) {
    struct error err;
    char *path = file_join(folder, name, &err);
    if (file_write(path, text, strlen(text), &err) != STATUS_OK) fail_msg("%s", err.message);
    free(path);
}

static enum status open_names(const char *names, int64_t max_samples, struct dataset **dataset,
                              struct error *err) {
    const struct dataset_options options = {
        .folder = folder, .names = names, .max_samples = max_samples, .seed = 3};
    return dataset_open(&options, dataset, err);
}

static void expect_error(const char *names, enum status status, const char *words) {
    struct dataset *dataset = NULL;
    struct error err;
    assert_int_equal(open_names(names, 0, &dataset, &err), status);
    if (!strstr(err.message, words)) fail_msg("no '%s' in '%s'", words, err.message);
    assert_null(strchr(err.message, '\n'));
}

static const char two_rows[] = "[{\"conversations\": [{\"from\": \"human\", \"value\": \"<video>q\"}, "
                               "{\"from\": \"gpt\", \"value\": \"a1\"}],"
                               " \"videos\": [\"x.mp4\"]},\n"
                               " {\"conversations\": [{\"from\": \"human\", \"value\": \"q2\"}, {\"from\": "
                               "\"gpt\", \"value\": \"a2\"}]}]";

static void test_info(void **state) {
    (void)state;
    struct dataset *dataset;
    struct error err;
    struct row row;
    put("dataset_info.json",
        "{\"one\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": "
        "\"conversations\", \"videos\": \"videos\"}, \"later\": 1}}");
    put("rows.json", two_rows);
    assert_int_equal(open_names("one", 0, &dataset, &err), STATUS_OK);
    assert_int_equal(dataset_count(dataset), 2);
    assert_int_equal(dataset_read(dataset, 0, &row, &err), STATUS_OK);
    assert_int_equal(row.message_count, 2);
    assert_int_equal(row.messages[0].role, CHAT_USER);
    assert_string_equal(row.messages[0].text, "<video>q");
    assert_int_equal(row.messages[1].role, CHAT_ASSISTANT);
    assert_string_equal(row.messages[1].text, "a1");
    assert_int_equal(row.video_count, 1);
    assert_string_equal(row.videos[0], "x.mp4");
    row_free(&row);
    assert_string_equal(dataset_place(dataset, 1).name, "one");
    assert_int_equal(dataset_place(dataset, 1).number, 2);
    dataset_close(dataset);

    assert_int_equal(open_names(" one , one", 1, &dataset, &err), STATUS_OK);
    assert_int_equal(dataset_count(dataset), 2); /* max_samples is of each */
    dataset_close(dataset);
}

static void test_media(void **state) {
    (void)state;
    struct dataset *dataset;
    struct error err;
    char wanted[256];
    put("dataset_info.json", "{\"one\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\"}}");
    put("rows.json",
        "[{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": "
        "\"a\"}]}]");
    put("here.mp4", "");
    assert_int_equal(open_names("one", 0, &dataset, &err), STATUS_OK);
    const char *const cases[][2] = {{"here.mp4", "%s/here.mp4"},
                                    {"nowhere.mp4", "%s/nowhere.mp4"},
                                    {"tests/golden/video/short.mp4", "tests/golden/video/short.mp4"},
                                    {"/dev/null", "/dev/null"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = dataset_media(dataset, cases[i][0], &err);
        size_t tail = strncmp(cases[i][1], "%s", 2) == 0 ? 2 : 0;
        snprintf(wanted, sizeof wanted, "%s%s", tail ? folder : "", cases[i][1] + tail);
        assert_string_equal(path, wanted);
        free(path);
    }
    dataset_close(dataset);
}

static void test_info_errors(void **state) {
    (void)state;
    put("rows.json", two_rows);
    put("dataset_info.json",
        "{\"vs2_train\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\"}, \"other\": {},"
        " \"hub\": {\"hf_hub_url\": \"x/y\"}, \"rank\": {\"file_name\": \"rows.json\", \"ranking\": true},"
        " \"open\": {\"file_name\": \"rows.json\", \"formatting\": \"openai\"},"
        " \"typo\": {\"file_name\": \"rows.json\", \"columns\": {\"vidoes\": \"videos\"}},"
        " \"tag\": {\"file_name\": \"rows.json\", \"tags\": {\"role\": 3}},"
        " \"number\": {\"file_name\": 3}, \"list\": [], \"columns\": {\"file_name\": \"r\", \"columns\": 1},"
        " \"draw\": {\"file_name\": \"rows.json\", \"num_samples\": 0},"
        " \"gone\": {\"file_name\": \"gone.json\"}}");
    expect_error(
        "vs2_tarin", STATUS_USAGE,
        "dataset_info.json: no data set 'vs2_tarin' (did you mean 'vs2_train'?); there are: vs2_train, "
        "other, hub");
    expect_error("zzzzzzzzzz", STATUS_USAGE, "no data set 'zzzzzzzzzz'; there are: vs2_train");
    expect_error("vs2_train,,other", STATUS_USAGE, "is no list of data sets");
    expect_error("", STATUS_USAGE, "is no list of data sets");
    expect_error("other", STATUS_USAGE, "'other': no 'file_name'");
    expect_error("hub", STATUS_USAGE, "its rows are at 'hf_hub_url'");
    expect_error("rank", STATUS_USAGE, "for ranking");
    expect_error("open", STATUS_USAGE, "'formatting' is 'openai'");
    expect_error("typo", STATUS_USAGE, "unknown key 'vidoes' in 'columns' (did you mean 'videos'?)");
    expect_error("tag", STATUS_USAGE, "unknown key 'role' in 'tags'");
    expect_error("number", STATUS_USAGE, "'file_name' must be a string");
    expect_error("list", STATUS_USAGE, "'list': no object");
    expect_error("columns", STATUS_USAGE, "'columns' is no object");
    expect_error("draw", STATUS_USAGE, "'num_samples' is 0");
    expect_error("gone", STATUS_FAILED, "gone.json: No such file or directory");
    put("dataset_info.json", "[]");
    expect_error("one", STATUS_USAGE, "dataset_info.json: no JSON object");
    put("dataset_info.json", "{\"a\": }");
    expect_error("one", STATUS_USAGE, "dataset_info.json: line 1 column 7");
}

/* Broken text: an error with line and byte, and never a crash. */
static void test_broken_json(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "there are no rows in it"},
        {" \n ", "there are no rows in it"},
        {"[]", "there are no rows in it"},
        {"[", "line 1, byte 2: "},
        {"[{}", "line 1, byte 4: ',' or ']' expected after a row"},
        {"[{},", "line 1, byte 5: "},
        {"[{} {}]", "line 1, byte 5: ',' or ']' expected after a row"},
        {"[{}] x", "line 1, byte 6: text after the end of the list"},
        {"[{\"a\": 1}\n,\n{\"b\" 2}]", "line 3, byte 18: "},
        {"{\"a\": 1}\n\n{\"b\": \n", "line 3, byte 17: unexpected token near end of file"},
        {"{\"a\": \"\xff\"}", "line 1, byte "},
        {"{\"a\": 1, \"a\": 2}", "duplicate object key"},
        {"[1e999999]", "line 1, byte "},
        {"]", "line 1, byte "},
    };
    put("dataset_info.json", "{\"one\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\"}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("rows.json", cases[i][0]);
        expect_error("one", STATUS_FAILED, cases[i][1]);
    }
    char deep[8192];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    put("rows.json", deep);
    expect_error("one", STATUS_FAILED, "maximum parsing depth");
}

/* Every prefix of good text is rows or an error. */
static void test_cut_short(void **state) {
    (void)state;
    struct error err;
    put("dataset_info.json", "{\"one\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\"}}");
    for (size_t length = 0; length < strlen(two_rows); length++) {
        struct dataset *dataset = NULL;
        char text[512];
        snprintf(text, sizeof text, "%.*s", (int)length, two_rows);
        put("rows.json", text);
        assert_int_equal(open_names("one", 0, &dataset, &err), STATUS_FAILED);
    }
}

#define TALK(...)   "{\"conversations\": [" __VA_ARGS__ "]"
#define HUMAN(text) "{\"from\": \"human\", \"value\": \"" text "\"}"
#define GPT(text)   "{\"from\": \"gpt\", \"value\": \"" text "\"}"

static void test_rows(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": [\"x\"]}", NULL},
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": \"x\"}", NULL},
        {TALK(HUMAN("q") "," GPT("a")) ", \"videos\": null}", NULL},
        {TALK(HUMAN("q\\u0000r") "," GPT("a")) "}", NULL},
        {TALK("{\"from\": \"system\", \"value\": \"<video>\"}," HUMAN("q") "," GPT("a")) "}", NULL},
        {TALK(HUMAN("q") "," GPT("a")) ", \"videos\": [\"x\"]}",
         "the number of videos (1) does not match the number of <video> marks (0)"},
        {TALK(HUMAN("<video><video>") "," GPT("a")) ", \"videos\": [\"x\"]}",
         "the number of videos (1) does not match the number of <video> marks (2)"},
        {TALK(HUMAN("<image>") "," GPT("a")) "}",
         "the number of images (0) does not match the number of <image> marks (1)"},
        {TALK(HUMAN("q")) "}", "the conversation ends without an answer"},
        {TALK(HUMAN("q") "," HUMAN("q")) "}", "message 2 is the user's where the assistant speaks"},
        {TALK(GPT("q")) "}", "message 1 is the assistant's where the user speaks"},
        {TALK() "}", "the conversation is empty"},
        {TALK("{\"from\": \"system\", \"value\": \"s\"}") "}", "the conversation is empty"},
        {TALK(HUMAN("q") ",{\"from\": \"system\", \"value\": \"s\"}") "}", "message 2 is the system's"},
        {TALK(HUMAN("q") ",{\"from\": \"function_call\", \"value\": \"s\"}") "}", "it uses tools"},
        {TALK(HUMAN("q") ",{\"from\": \"bot\", \"value\": \"s\"}") "}", "a message of 'bot'"},
        {TALK(HUMAN("q") ",{\"from\": \"gpt\", \"value\": 3}") "}", "message 2 has no text in 'value'"},
        {TALK(HUMAN("q") ",{\"value\": \"a\"}") "}", "message 2 has no 'from'"},
        {TALK("3") "}", "message 1 has no 'from'"},
        {"{\"conversations\": 3}", "there is no list 'conversations'"},
        {"{}", "there is no list 'conversations'"},
        {"3", "it is no JSON object"},
        {"\"text\"", "it is no JSON object"},
        {"[[]]", "it is no JSON object"},
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": [[\"1.png\"]]}", "lists of frames"},
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": [3]}", "'videos' has no path"},
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": [\"\"]}", "'videos' has no path"},
        {TALK(HUMAN("<video>q") "," GPT("a")) ", \"videos\": [\"x\\u0000\"]}", "a zero byte"},
        {TALK(HUMAN("q") "," GPT("a")) ", \"audios\": [\"x\"]}", "it has audio"},
        {TALK(HUMAN("q") "," GPT("a")) ", \"tools\": \"[]\"}", "it uses tools"},
        {TALK(HUMAN("q") "," GPT("a")) ", \"system\": 3}", "'system' is no text"},
    };
    put("dataset_info.json",
        "{\"one\": {\"file_name\": \"rows.json\", \"formatting\": \"sharegpt\", \"columns\": {\"videos\": "
        "\"videos\", \"images\": \"images\", \"audios\": \"audios\", \"tools\": \"tools\", \"system\": "
        "\"system\"}}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset *dataset;
        struct error err;
        char text[1024];
        snprintf(text, sizeof text, "[%s]", cases[i][0]);
        put("rows.json", text);
        if (open_names("one", 0, &dataset, &err) != STATUS_OK) fail_msg("%s", err.message);
        assert_int_equal(dataset_count(dataset), cases[i][1] == NULL);
        assert_int_equal(dataset_skip_count(dataset), cases[i][1] != NULL);
        if (cases[i][1] && !strstr(dataset_skip(dataset, 0)->reason, cases[i][1]))
            fail_msg("no '%s' in '%s'", cases[i][1], dataset_skip(dataset, 0)->reason);
        if (cases[i][1]) assert_int_equal(dataset_skip(dataset, 0)->place.number, 1);
        dataset_close(dataset);
    }
}

static void test_alpaca_rows(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"instruction\": \"i\", \"input\": \"q\", \"output\": \"a\"}", NULL},
        {"{\"instruction\": \"i\", \"output\": \"a\", \"history\": [[\"x\", \"y\"]]}", NULL},
        {"{\"instruction\": \"i\"}", "there is no text 'output'"},
        {"{\"output\": \"a\"}", "there is no 'instruction'"},
        {"{\"instruction\": 3, \"output\": \"a\"}", "its question is no text"},
        {"{\"instruction\": \"i\", \"output\": \"a\", \"history\": [[\"x\"]]}", "turn 1 of 'history'"},
        {"{\"instruction\": \"<video>\", \"output\": \"a\"}", "<video> marks (1)"},
    };
    put("dataset_info.json", "{\"one\": {\"file_name\": \"rows.json\", \"columns\": {\"query\": \"input\", "
                             "\"history\": \"history\"}}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dataset *dataset;
        struct error err;
        struct row row;
        put("rows.json", cases[i][0]);
        assert_int_equal(open_names("one", 0, &dataset, &err), STATUS_OK);
        assert_int_equal(dataset_count(dataset), cases[i][1] == NULL);
        if (cases[i][1] && !strstr(dataset_skip(dataset, 0)->reason, cases[i][1]))
            fail_msg("no '%s' in '%s'", cases[i][1], dataset_skip(dataset, 0)->reason);
        if (i == 0) {
            assert_int_equal(dataset_read(dataset, 0, &row, &err), STATUS_OK);
            assert_string_equal(row.messages[0].text, "i\nq");
            assert_int_equal(row.messages[0].length, 3);
            row_free(&row);
        }
        dataset_close(dataset);
    }
}

/* num_samples: every row once before any comes again, the same for the same seed. */
static void test_drawn(void **state) {
    (void)state;
    struct dataset *dataset, *again;
    struct error err;
    int seen[5] = {0};
    bool moved = false;
    put("dataset_info.json",
        "{\"few\": {\"file_name\": \"rows.jsonl\", \"formatting\": \"sharegpt\", \"num_samples\": 3},"
        " \"many\": {\"file_name\": \"rows.jsonl\", \"formatting\": \"sharegpt\", \"num_samples\": 12}}");
    put("rows.jsonl",
        "\xEF\xBB\xBF" TALK(HUMAN("q") "," GPT("0")) "}\n" TALK(HUMAN("q") "," GPT("1")) "}\r\n\n" TALK(
            HUMAN("q") "," GPT("2")) "}" TALK(HUMAN("q") "," GPT("3")) "}\n" TALK(HUMAN("q")) "}");
    assert_int_equal(open_names("few", 0, &dataset, &err), STATUS_OK);
    assert_int_equal(dataset_count(dataset) + dataset_skip_count(dataset), 3);
    dataset_close(dataset);
    assert_int_equal(open_names("many", 0, &dataset, &err), STATUS_OK);
    assert_int_equal(open_names("many", 0, &again, &err), STATUS_OK);
    assert_int_equal(dataset_count(dataset) + dataset_skip_count(dataset), 12);
    for (int64_t i = 0; i < dataset_count(dataset); i++) {
        struct row_place place = dataset_place(dataset, i);
        assert_int_equal(place.number, dataset_place(again, i).number);
        seen[place.number - 1]++;
        moved |= place.number != i % 4 + 1;
    }
    for (int i = 0; i < 4; i++) assert_in_range(seen[i], 2, 3);
    assert_int_equal(seen[4], 0);
    assert_true(moved);
    dataset_close(dataset);
    dataset_close(again);
    assert_int_equal(open_names("many", 2, &dataset, &err), STATUS_OK);
    assert_int_equal(dataset_count(dataset) + dataset_skip_count(dataset), 2);
    dataset_close(dataset);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),        cmocka_unit_test(test_media),
        cmocka_unit_test(test_info_errors), cmocka_unit_test(test_broken_json),
        cmocka_unit_test(test_cut_short),   cmocka_unit_test(test_rows),
        cmocka_unit_test(test_alpaca_rows), cmocka_unit_test(test_drawn),
    };
    return cmocka_run_group_tests_name("dataset", tests, set_up, tear_down);
}
