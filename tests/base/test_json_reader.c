/* The pull reader of JSON, and UTF-8 beneath it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_reader.h"
#include "base/utf8.h"

static struct json_reader reader;

static void start(const char *text) {
    json_reader_free(&reader);
    json_reader_start(&reader, text, strlen(text), "FILE");
}

static int tear_down(void **state) {
    (void)state;
    json_reader_free(&reader);
    return 0;
}

static void test_walk(void **state) {
    (void)state;
    struct error err;
    struct json_slice slice;
    int64_t value;
    bool more;
    start(" {\"a\" : -12 , \"b\":[1,\r\n2] ,\"c\":{\"x\":[\"]\"]}}\n");
    assert_int_equal(json_reader_peek(&reader), '{');
    assert_int_equal(json_reader_open(&reader, '{', &err), STATUS_OK);
    assert_int_equal(json_reader_next(&reader, '}', &more, &err), STATUS_OK);
    assert_true(more);
    assert_int_equal(json_reader_key(&reader, &slice, &err), STATUS_OK);
    assert_int_equal(slice.length, 1);
    assert_int_equal(json_reader_integer(&reader, -12, 0, &value, &err), STATUS_OK);
    assert_int_equal(value, -12);

    assert_int_equal(json_reader_next(&reader, '}', &more, &err), STATUS_OK);
    assert_int_equal(json_reader_key(&reader, &slice, &err), STATUS_OK);
    assert_int_equal(json_reader_open(&reader, '[', &err), STATUS_OK);
    int64_t sum = 0;
    while (json_reader_next(&reader, ']', &more, &err) == STATUS_OK && more) {
        assert_int_equal(json_reader_integer(&reader, 0, 9, &value, &err), STATUS_OK);
        sum = 10 * sum + value;
    }
    assert_int_equal(sum, 12);

    assert_int_equal(json_reader_next(&reader, '}', &more, &err), STATUS_OK);
    assert_int_equal(json_reader_key(&reader, &slice, &err), STATUS_OK);
    assert_int_equal(json_reader_skip(&reader, &slice, &err), STATUS_OK);
    assert_int_equal(slice.length, strlen("{\"x\":[\"]\"]}"));
    assert_int_equal(json_reader_next(&reader, '}', &more, &err), STATUS_OK);
    assert_false(more);
    assert_int_equal(json_reader_end(&reader, &err), STATUS_OK);
    assert_int_equal(json_reader_peek(&reader), '\0');
}

static void check_string(const char *json, const char *wanted) {
    struct error err;
    struct json_slice slice;
    start(json);
    if (json_reader_string(&reader, &slice, &err) != STATUS_OK) fail_msg("%s: %s", json, err.message);
    assert_int_equal(slice.length, strlen(wanted));
    assert_memory_equal(slice.data, wanted, slice.length);
    assert_int_equal(json_reader_end(&reader, &err), STATUS_OK);
}

static void test_strings(void **state) {
    (void)state;
    check_string("\"\"", "");
    check_string("\"plain \303\251\"", "plain \303\251");
    check_string("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    check_string("\"a\\u0041\\u00e9\\u4E2dz\"", "aA\303\251\344\270\255z");
    check_string("\"\\ud83d\\uDE00\"", "\360\237\230\200");
}

enum kind { STRING, INTEGER, SKIP, OPEN, NEXT };

static void check_error(enum kind kind, const char *json, const char *cause) {
    struct error err;
    struct json_slice slice;
    int64_t value;
    bool more;
    start(json);
    reader.first = false;
    enum status status = kind == STRING    ? json_reader_string(&reader, &slice, &err)
                         : kind == INTEGER ? json_reader_integer(&reader, 0, 100, &value, &err)
                         : kind == SKIP    ? json_reader_skip(&reader, &slice, &err)
                         : kind == OPEN    ? json_reader_open(&reader, '[', &err)
                                           : json_reader_next(&reader, ']', &more, &err);
    assert_int_equal(status, STATUS_FAILED);
    if (!strstr(err.message, cause)) fail_msg("'%s' is not in: %s", cause, err.message);
    assert_memory_equal(err.message, "FILE: byte ", 11);
}

static void test_errors(void **state) {
    (void)state;
    static const char *const cut[] = {"", "\"", "\"abc", "\"a\\", "\"a\\\"", "\"\\u12"};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) check_error(STRING, cut[i], "ends too early");
    check_error(STRING, "7", "byte 1: '\"' expected");
    check_error(STRING, "\"a\nb\"", "byte 3: control character");
    check_error(STRING, "\"a\377\"", "not UTF-8");
    static const char *const escapes[] = {
        "\"\\x\"",      "\"\\u12\"",          "\"\\u12G4\"",        "\"\\ud800\"",
        "\"\\ud800x\"", "\"\\udc00\\ud800\"", "\"\\ud800\\u0041\"", "\"\\ud800\\n\""};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        check_error(STRING, escapes[i], "a wrong escape");
    static const char *const numbers[] = {"-1",   "101", "x", "-", "1.5", "1e1", "9999999999999999999999",
                                          "\"1\""};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check_error(INTEGER, numbers[i], "a whole number from 0 to 100 expected");
    check_error(SKIP, "[1,2", "ends too early");
    check_error(SKIP, "{\"a\":1]", "a bracket that closes nothing");
    check_error(SKIP, "]", "a bracket that closes nothing");
    check_error(SKIP, ",", "a value expected");
    check_error(OPEN, "{}", "'[' expected");
    check_error(NEXT, "1]", "',' expected");

    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    check_error(SKIP, deep, "nested too deeply");
}

static void check_decode(const char *bytes, size_t length, size_t size, uint32_t wanted) {
    uint32_t code;
    assert_int_equal(utf8_decode(bytes, length, &code), size);
    assert_int_equal(code, wanted);
}

static void test_utf8(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code += code < 0x3000 ? 1 : 97) {
        char bytes[4];
        if (code >= 0xD800 && code < 0xE000) continue;
        size_t size = utf8_encode(code, bytes);
        check_decode(bytes, size, size, code);
        assert_int_equal(utf8_valid_prefix(bytes, size), size);
        if (size > 1) check_decode(bytes, size - 1, size - 1, UTF8_INVALID);
    }
    check_decode("\200", 1, 1, UTF8_INVALID);
    check_decode("\300\200", 2, 1, UTF8_INVALID); /* longer than need be */
    check_decode("\340\200\200", 3, 1, UTF8_INVALID);
    check_decode("\355\240\200", 3, 1, UTF8_INVALID); /* a surrogate */
    check_decode("\364\220\200\200", 4, 1, UTF8_INVALID);
    check_decode("\360\237x", 3, 2, UTF8_INVALID);
    assert_int_equal(utf8_valid_prefix("0123456789\303\2510123456789\377", 23), 22);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_walk, tear_down),
        cmocka_unit_test_teardown(test_strings, tear_down),
        cmocka_unit_test_teardown(test_errors, tear_down),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests_name("json_reader", tests, NULL, NULL);
}
