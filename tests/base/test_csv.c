/* CSV as RFC 4180 has it, and what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/csv.h"
#include "base/random.h"

/* What the table is as JSON, or the error. */
static void assert_table(const char *text, const char *wanted) {
    struct error err = {0};
    json_t *rows = csv_read_text(text, strlen(text), "t.csv", &err);
    if (!rows) fail_msg("%s", err.message);
    json_t *expected = json_loads(wanted, JSON_DECODE_ANY, NULL);
    assert_non_null(expected);
    if (!json_equal(rows, expected)) {
        char *found = json_dumps(rows, 0);
        fail_msg("%s is %s, not %s", text, found, wanted);
    }
    json_decref(expected);
    json_decref(rows);
}

static void assert_error(const char *text, size_t length, const char *message) {
    struct error err = {0};
    assert_null(csv_read_text(text, length, "t.csv", &err));
    assert_string_equal(err.message, message);
}

static void tables_are_read(void **state) {
    (void)state;
    assert_table("a,b\n1,2\n3,4", "[{\"a\": \"1\", \"b\": \"2\"}, {\"a\": \"3\", \"b\": \"4\"}]");
    assert_table("\xEF\xBB\xBF"
                 "a,b\r\n1,2\r\n",
                 "[{\"a\": \"1\", \"b\": \"2\"}]");
    assert_table("a,b\n\n,\n\r\n\n", "[{\"a\": \"\", \"b\": \"\"}]");
    assert_table("a\n\"x,y\"\n", "[{\"a\": \"x,y\"}]");
    assert_table("a,b\n\"two\nlines\",\"say \"\"no\"\"\"\n",
                 "[{\"a\": \"two\\nlines\", \"b\": \"say \\\"no\\\"\"}]");
    assert_table("a,b\r\n\"one\r\ntwo\",\"\"\r\n", "[{\"a\": \"one\\r\\ntwo\", \"b\": \"\"}]");
    assert_table("\"a,1\",b\n\xE7\x8C\xAB, spaces stay \n",
                 "[{\"a,1\": \"\xE7\x8C\xAB\", \"b\": \" spaces stay \"}]");
    assert_table("a,b\nx\ry,\r\n", "[{\"a\": \"x\\ry\", \"b\": \"\"}]");
    assert_table("a,b,c\n1,2,\n", "[{\"a\": \"1\", \"b\": \"2\", \"c\": \"\"}]");
    assert_table("a\n", "[]");
    assert_table("a", "[]");
}

static void faults_are_named_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "t.csv: no line with the columns' names"},
        {"\xEF\xBB\xBF\n", "t.csv: no line with the columns' names"},
        {"a,b\n1\n", "t.csv:2: 1 fields, but there are 2 columns"},
        {"a,b\n\n\n1,2,3\n", "t.csv:4: 3 fields, but there are 2 columns"},
        {"a,b\n\"1\n2\",2\n\"3\n", "t.csv:4: a quote that does not end"},
        {"a,b\n\"1\"x,2\n", "t.csv:2: text after a closing quote"},
        {"a,b\n\"1\" ,2\n", "t.csv:2: text after a closing quote"},
        {"a,b\n1\",2\n", "t.csv:2: a quote inside a field that does not begin with one"},
        {"a,b,a\n", "t.csv:1: two columns have the name 'a'"},
        {"a\n\xFF\n", "t.csv:2: a field that is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_error(cases[i].text, strlen(cases[i].text), cases[i].message);
    assert_error("a\nx\0y\n", 6, "t.csv:2: a NUL character");
}

/* Tables with some of their bytes changed are read, or refused with a line; the sanitizers see the rest. */
static void damaged_tables_do_no_harm(void **state) {
    (void)state;
    static const char original[] = "path_A,\"path \"\"B\"\"\",VQ\r\na.mp4,\"b,\r\nc\",A\r\n\r\nd,,same\n";
    static const char bytes[] = "\",\r\nx\xFF";
    int refused = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        char text[sizeof original];
        uint32_t words[4];
        struct error err = {0};
        memcpy(text, original, sizeof text);
        random_words((struct random_key){.seed = 6, .position = round}, words);
        for (uint32_t i = 0; i <= words[3] % 3; i++)
            text[words[i] % (sizeof text - 1)] = bytes[(words[i] >> 16) % (sizeof bytes - 1)];
        json_t *rows = csv_read_text(text, words[3] % sizeof text, "t.csv", &err);
        if (!rows) assert_memory_equal(err.message, "t.csv:", 6);
        refused += !rows;
        json_decref(rows);
    }
    assert_true(refused > 1500 && refused < 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables_are_read),
                                       cmocka_unit_test(faults_are_named_with_their_line),
                                       cmocka_unit_test(damaged_tables_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
