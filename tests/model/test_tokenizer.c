/* Encoding and decoding against transformers (tests/reference/tokenizer.py). */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "model/tokenizer.h"

static struct tokenizer *load(const char *folder) {
    struct error err;
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    if (!tokenizer) fail_msg("%s", err.message);
    return tokenizer;
}

/* The lines of a JSON lines file, as an array. */
static json_t *read_lines(const char *path) {
    struct error err;
    char *text;
    size_t length;
    json_t *rows = json_array();
    assert_int_equal(file_read(path, 1 << 24, &text, &length, &err), STATUS_OK);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_t *row = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
        assert_non_null(row);
        json_array_append_new(rows, row);
    }
    free(text);
    return rows;
}

static bool same_ids(const struct token_list *list, const json_t *wanted) {
    if (list->count != json_array_size(wanted)) return false;
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] != json_integer_value(json_array_get(wanted, i))) return false;
    return true;
}

/* Encodes every golden text; returns how many come out otherwise. */
static int count_wrong(const struct tokenizer *tokenizer, const json_t *rows) {
    int wrong = 0;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        struct error err;
        struct token_list list = {0};
        const json_t *text = json_array_get(row, 0);
        if (tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), &list, &err) !=
                STATUS_OK ||
            !same_ids(&list, json_array_get(row, 1)))
            wrong++;
        token_list_free(&list);
    }
    return wrong;
}

static void check_folder(const char *folder) {
    struct tokenizer *tokenizer = load(folder);
    json_t *rows = read_lines("tests/golden/tokenizer_texts.jsonl");
    assert_true(json_array_size(rows) > 3000);
    assert_int_equal(count_wrong(tokenizer, rows), 0);
    json_decref(rows);
    tokenizer_free(tokenizer);
}

static void test_encode_json(void **state) {
    (void)state;
    check_folder("tests/golden/tokenizer");
}

static void test_encode_older_files(void **state) {
    (void)state;
    check_folder("tests/golden/tokenizer_files");
}

static void check_decoded(const struct tokenizer *tokenizer, const json_t *ids, bool skip_special,
                          const json_t *wanted) {
    struct token_list list = {0};
    struct text text = {0};
    struct error err;
    for (size_t i = 0; i < json_array_size(ids); i++)
        assert_int_equal(token_list_push(&list, (int32_t)json_integer_value(json_array_get(ids, i)), &err),
                         STATUS_OK);
    tokenizer_decode(tokenizer, list.ids, list.count, skip_special, &text);
    assert_int_equal(text.length, json_string_length(wanted));
    if (text.length > 0) assert_memory_equal(text.data, json_string_value(wanted), text.length);
    token_list_free(&list);
    text_free(&text);
}

static void test_decode(void **state) {
    (void)state;
    struct tokenizer *tokenizer = load("tests/golden/tokenizer");
    json_t *rows = read_lines("tests/golden/tokenizer_ids.jsonl");
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        check_decoded(tokenizer, json_array_get(row, 0), false, json_array_get(row, 1));
        check_decoded(tokenizer, json_array_get(row, 0), true, json_array_get(row, 2));
    }
    json_decref(rows);
    tokenizer_free(tokenizer);
}

static void test_find(void **state) {
    (void)state;
    struct tokenizer *tokenizer = load("tests/golden/tokenizer");
    int32_t pad = tokenizer_find(tokenizer, "<|video_pad|>");
    assert_int_equal(pad, tokenizer_find(tokenizer, "<|endoftext|>") + 13);
    assert_true(tokenizer_is_special(tokenizer, pad));
    assert_false(tokenizer_is_special(tokenizer, tokenizer_find(tokenizer, "<tool_call>")));
    assert_false(tokenizer_is_special(tokenizer, -1));
    assert_false(tokenizer_is_special(tokenizer, tokenizer_size(tokenizer)));
    assert_int_equal(tokenizer_find(tokenizer, "<|file_sep|>"), tokenizer_size(tokenizer) - 1);
    assert_true(tokenizer_find(tokenizer, "\304\240a") >= 0); /* a space and an a */
    assert_int_equal(tokenizer_find(tokenizer, "no such token"), -1);
    assert_int_equal(tokenizer_find(tokenizer, ""), -1);
    tokenizer_free(tokenizer);
}

static void check_same(const struct tokenizer *tokenizer, const char *text, size_t length,
                       const char *other) {
    struct token_list list = {0}, wanted = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &list, &err), STATUS_OK);
    assert_int_equal(tokenizer_encode(tokenizer, other, strlen(other), &wanted, &err), STATUS_OK);
    assert_int_equal(list.count, wanted.count);
    assert_memory_equal(list.ids, wanted.ids, list.count * sizeof *list.ids);
    token_list_free(&list);
    token_list_free(&wanted);
}

/* Broken UTF-8 is read as U+FFFD, one for each maximal subpart; NUL is a byte like others. */
static void test_invalid_text(void **state) {
    (void)state;
    struct tokenizer *tokenizer = load("tests/golden/tokenizer");
    check_same(tokenizer, "a\377z", 3, "a\357\277\275z");
    check_same(tokenizer, "\342\202", 2, "\357\277\275");
    check_same(tokenizer, "\360\237\230 \355\240\200", 7,
               "\357\277\275 \357\277\275\357\277\275\357\277\275");
    struct token_list list = {0};
    struct text text = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(tokenizer, "a\0b", 3, &list, &err), STATUS_OK);
    tokenizer_decode(tokenizer, list.ids, list.count, true, &text);
    assert_int_equal(text.length, 3);
    assert_memory_equal(text.data, "a\0b", 3);
    token_list_free(&list);
    text_free(&text);
    tokenizer_free(tokenizer);
}

/* A piece so long that looking through all of it for each merge would never end. */
static void test_long_piece(void **state) {
    (void)state;
    enum { LENGTH = 1000000 };
    struct tokenizer *tokenizer = load("tests/golden/tokenizer");
    struct token_list list = {0};
    struct text decoded = {0};
    struct error err;
    char *text = malloc(LENGTH);
    assert_non_null(text);
    for (int i = 0; i < LENGTH; i++) text[i] = "therein"[(i + i / 13) % 7];
    assert_int_equal(tokenizer_encode(tokenizer, text, LENGTH, &list, &err), STATUS_OK);
    assert_true(list.count > 0 && list.count < LENGTH);
    tokenizer_decode(tokenizer, list.ids, list.count, false, &decoded);
    assert_int_equal(decoded.length, LENGTH);
    assert_memory_equal(decoded.data, text, LENGTH);
    free(text);
    token_list_free(&list);
    text_free(&decoded);
    tokenizer_free(tokenizer);
}

struct job {
    const struct tokenizer *tokenizer;
    const json_t *rows;
    int wrong;
};

static void *run_job(void *argument) {
    struct job *job = argument;
    job->wrong = count_wrong(job->tokenizer, job->rows);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    enum { THREADS = 4 };
    struct tokenizer *tokenizer = load("tests/golden/tokenizer");
    json_t *rows = read_lines("tests/golden/tokenizer_texts.jsonl");
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){tokenizer, rows, -1};
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].wrong, 0);
    }
    json_decref(rows);
    tokenizer_free(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_json),  cmocka_unit_test(test_encode_older_files),
        cmocka_unit_test(test_decode),       cmocka_unit_test(test_find),
        cmocka_unit_test(test_invalid_text), cmocka_unit_test(test_long_piece),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
