/* The chat format against LLaMA-Factory and transformers (tests/reference/chat.py), and its errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "model/chat.h"

enum { MOST_MESSAGES = 8, MOST_VISUALS = 64 };

static struct tokenizer *tokenizer;

static int set_up(void **state) {
    (void)state;
    struct error err;
    tokenizer = tokenizer_load("tests/golden/tokenizer", &err);
    return tokenizer ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

static size_t read_counts(const json_t *array, int64_t counts[MOST_VISUALS]) {
    assert_true(json_array_size(array) <= MOST_VISUALS);
    for (size_t i = 0; i < json_array_size(array); i++)
        counts[i] = json_integer_value(json_array_get(array, i));
    return json_array_size(array);
}

static size_t read_messages(const json_t *row, struct chat_message messages[MOST_MESSAGES]) {
    const json_t *array = json_object_get(row, "messages");
    size_t count = json_array_size(array);
    assert_true(count <= MOST_MESSAGES);
    for (size_t i = 0; i < count; i++) {
        const char *role = json_string_value(json_array_get(json_array_get(array, i), 0));
        const json_t *text = json_array_get(json_array_get(array, i), 1);
        messages[i] = (struct chat_message){
            .role = role[0] == 's'   ? CHAT_SYSTEM
                    : role[0] == 'u' ? CHAT_USER
                                     : CHAT_ASSISTANT,
            .text = json_string_value(text),
            .length = json_string_length(text),
            .visuals_first = json_is_true(json_object_get(row, "visuals_first")),
        };
    }
    return count;
}

static void check_row(const json_t *row) {
    struct chat_message messages[MOST_MESSAGES];
    int64_t images[MOST_VISUALS], videos[MOST_VISUALS];
    struct chat_visuals visuals = {.image_pads = images, .video_pads = videos};
    visuals.image_count = read_counts(json_object_get(row, "images"), images);
    visuals.video_count = read_counts(json_object_get(row, "videos"), videos);
    size_t count = read_messages(row, messages);

    struct token_list list = {0};
    struct chat_answers answers = {0};
    struct error err;
    assert_int_equal(token_list_push(&list, 7, &err), STATUS_OK); /* what is there stays */
    if (chat_encode(tokenizer, messages, count, &visuals, &list, &answers, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    const json_t *ids = json_object_get(row, "ids");
    assert_int_equal(list.count, 1 + json_array_size(ids));
    assert_int_equal(list.ids[0], 7);
    for (size_t i = 0; i + 1 < list.count; i++)
        assert_int_equal(list.ids[i + 1], json_integer_value(json_array_get(ids, i)));
    const json_t *wanted = json_object_get(row, "answers");
    assert_int_equal(answers.count, json_array_size(wanted));
    for (size_t i = 0; i < answers.count; i++) {
        const json_t *answer = json_array_get(wanted, i);
        assert_int_equal(answers.items[i].begin, 1 + json_integer_value(json_array_get(answer, 0)));
        assert_int_equal(answers.items[i].end, 1 + json_integer_value(json_array_get(answer, 1)));
    }
    token_list_free(&list);
    chat_answers_free(&answers);
}

static void test_golden(void **state) {
    (void)state;
    struct error err;
    char *text;
    size_t length, rows = 0;
    assert_int_equal(file_read("tests/golden/chat.jsonl", 1 << 24, &text, &length, &err), STATUS_OK);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1, rows++) {
        json_t *row = json_loadb(line, (size_t)(end - line), 0, NULL);
        assert_non_null(row);
        check_row(row);
        json_decref(row);
    }
    free(text);
    assert_true(rows >= 100);
}

static void check_error(const struct chat_message *messages, size_t count, const struct chat_visuals *visuals,
                        const char *cause) {
    struct token_list list = {0};
    struct chat_answers answers = {0};
    struct error err;
    assert_int_equal(token_list_push(&list, 7, &err), STATUS_OK);
    assert_int_equal(chat_encode(tokenizer, messages, count, visuals, &list, &answers, &err), STATUS_FAILED);
    assert_string_equal(err.message, cause);
    assert_int_equal(list.count, 1);
    assert_int_equal(answers.count, 0);
    token_list_free(&list);
    chat_answers_free(&answers);
}

static struct chat_message say(enum chat_role role, const char *text) {
    return (struct chat_message){.role = role, .text = text, .length = strlen(text)};
}

static void test_order(void **state) {
    (void)state;
    static const struct chat_visuals none = {0};
    struct chat_message talk[] = {say(CHAT_SYSTEM, "s"), say(CHAT_USER, "u"), say(CHAT_ASSISTANT, "a"),
                                  say(CHAT_ASSISTANT, "b"), say(CHAT_SYSTEM, "s")};
    check_error(talk, 0, &none, "a conversation needs a message of the user");
    check_error(talk, 1, &none, "a conversation needs a message of the user");
    check_error(talk + 2, 1, &none, "message 1 is of the assistant where the user speaks");
    check_error(talk, 4, &none, "message 4 is of the assistant where the user speaks");
    check_error(talk + 3, 2, &none, "message 1 is of the assistant where the user speaks");
    talk[3] = talk[4];
    check_error(talk, 4, &none, "message 4 is of the system where the user speaks");
}

static void test_marks(void **state) {
    (void)state;
    static const int64_t pads[] = {4, 4};
    struct chat_visuals visuals = {.video_pads = pads, .video_count = 1};
    struct chat_message talk[] = {say(CHAT_USER, "<video>, <video>"), say(CHAT_ASSISTANT, "<video>")};
    check_error(talk, 1, &visuals, "the messages have 2 <video> marks for 1 videos");
    check_error(talk, 2, &visuals, "the messages have 3 <video> marks for 1 videos");
    visuals.video_count = 2;
    visuals.image_pads = pads;
    visuals.image_count = 1;
    check_error(talk, 1, &visuals, "the messages have 0 <image> marks for 1 images");
    visuals = (struct chat_visuals){.video_pads = pads, .video_count = 1};
    talk[0] = say(CHAT_USER, "<|video_pad|> <video> <|video_pad|>");
    check_error(talk, 1, &visuals, "the texts of the messages hold 2 <|video_pad|> of their own");
}

static void test_pads(void **state) {
    (void)state;
    assert_int_equal(chat_pads(2, 10, 6, 2), 30);
    assert_int_equal(chat_pads(5, 34, 60, 2), 2550);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_pads),
    };
    return cmocka_run_group_tests_name("chat", tests, set_up, tear_down);
}
