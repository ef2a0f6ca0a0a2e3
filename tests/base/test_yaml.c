/* YAML as a tree: what is read, what is refused and where, and that broken text never does harm. */
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
#include "base/random.h"
#include "base/yaml.h"

static enum status read_bytes(const char *text, size_t length, struct yaml_node **root, struct error *err) {
    char path[] = "/tmp/vs2_yaml_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, length), length);
    close(fd);
    enum status status = yaml_read_file(path, root, err);
    unlink(path);
    if (status == STATUS_OK) return status;
    /* The name of the temporary file is of no interest. */
    assert_memory_equal(err->message, path, strlen(path));
    memmove(err->message, err->message + strlen(path), strlen(err->message + strlen(path)) + 1);
    return status;
}

static enum status read_text(const char *text, struct yaml_node **root, struct error *err) {
    return read_bytes(text, strlen(text), root, err);
}

static const struct yaml_node *find(const struct yaml_node *map, const char *key) {
    for (const struct yaml_node *entry = map->first; entry; entry = entry->next)
        if (strcmp(entry->key, key) == 0) return entry;
    fail_msg("no key %s", key);
    return NULL;
}

static void trees_keep_order_lines_and_style(void **state) {
    (void)state;
    struct error err;
    struct yaml_node *root;
    const char text[] = "# a comment\n"
                        "---\n"
                        "rate: 5.0e-5 # another\n"
                        "name: 'it''s'\n"
                        "section:\n"
                        "  list: [a, \"b\", {c: 1}]\n"
                        "\n"
                        "  blocks:\n"
                        "  - x\n"
                        "  - y\n"
                        "text: |\n"
                        "  two\n"
                        "  lines\n"
                        "nothing:\n"
                        "last: null\n";
    if (read_text(text, &root, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(root->kind, YAML_MAP);
    const struct yaml_node *rate = root->first;
    assert_string_equal(rate->key, "rate");
    assert_string_equal(rate->text, "5.0e-5");
    assert_true(rate->plain);
    assert_int_equal(rate->line, 3);
    const struct yaml_node *name = find(root, "name");
    assert_string_equal(name->text, "it's");
    assert_false(name->plain);
    const struct yaml_node *section = find(root, "section"), *list = find(section, "list");
    assert_int_equal(section->kind, YAML_MAP);
    assert_int_equal(list->kind, YAML_LIST);
    assert_int_equal(list->line, 6);
    assert_string_equal(list->first->text, "a");
    assert_false(list->first->next->plain);
    assert_string_equal(list->first->next->next->first->key, "c");
    assert_string_equal(find(section, "blocks")->first->next->text, "y");
    assert_int_equal(find(section, "blocks")->first->next->line, 10);
    assert_string_equal(find(root, "text")->text, "two\nlines\n");
    assert_true(yaml_is_null(find(root, "nothing")));
    assert_true(yaml_is_null(find(root, "last")));
    assert_null(find(root, "last")->next);
    yaml_tree_free(root);
}

static void empty_files_are_empty_maps(void **state) {
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n...\n"};
    struct error err;
    struct yaml_node *root;
    for (size_t i = 0; i < 3; i++) {
        if (read_text(texts[i], &root, &err) != STATUS_OK) fail_msg("%s", err.message);
        assert_int_equal(root->kind, YAML_MAP);
        assert_null(root->first);
        yaml_tree_free(root);
    }
    if (read_text(texts[3], &root, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_true(yaml_is_null(root)); /* a document that is there, and holds nothing */
    yaml_tree_free(root);
}

static void bad_files_are_refused_with_their_line(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"a: 1\nb: 2\na: 3\n", ":3: key 'a' stands there twice, first in line 1"},
        {"a: &x 1\n", ":1: anchors ('&name') are not supported"},
        {"a: 1\nb: *x\n", ":2: aliases ('*name') are not supported"},
        {"a: &x [1]\n", ":1: anchors ('&name') are not supported"},
        {"&x a: 1\n", ":1: anchors ('&name') are not supported"},
        {"a: !!str 1\n", ":1: tags ('!name') are not supported"},
        {"a: !x {b: 1}\n", ":1: tags ('!name') are not supported"},
        {"a: 1\n---\nb: 1\n", ":2: a second document; one is all that is read"},
        {"a: 1\n[x, y]: 1\n", ":2: a list or a map stands where a key should"},
        {"a: \"x\\0y\"\n", ":1: a NUL character"},
        {"a: 1\n  b: 2\n", ":2: mapping values are not allowed in this context"},
        {"a: [1, 2\nb: 3\n", NULL},
        {"a: 1\n\tb: 2\n", NULL},
        {"a: 'x\n", NULL},
        {"a: 1\nb: \xff\n", ":2: invalid leading UTF-8 octet"},
        {"a: 1\nb: \x01\n", ":2: control characters are not allowed"},
        {"a: [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]\n", ":1: lists and maps are too deep"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof *cases; i++) {
        struct error err;
        struct yaml_node *root;
        if (read_text(cases[i].text, &root, &err) != STATUS_USAGE) fail_msg("accepted: %s", cases[i].text);
        assert_null(root);
        if (cases[i].error)
            assert_string_equal(err.message, cases[i].error);
        else
            assert_true(err.message[0] == ':' && strchr("123", err.message[1]) && err.message[2] == ':');
    }
}

static void sizes_are_bounded(void **state) {
    (void)state;
    struct error err;
    struct yaml_node *root;
    size_t length = YAML_LARGEST_FILE + 1;
    char *text = malloc(length);
    assert_non_null(text);
    memset(text, '#', length);
    assert_int_equal(read_bytes(text, length, &root, &err), STATUS_FAILED);
    length = 0;
    text[length++] = '[';
    for (int i = 0; i < YAML_MOST_NODES; i++, length += 2) memcpy(text + length, "1,", 2);
    text[length++] = ']';
    assert_int_equal(read_bytes(text, length, &root, &err), STATUS_USAGE);
    assert_string_equal(err.message, ":1: too many values");
    free(text);
    assert_int_equal(yaml_read_file("/no/such/file.yaml", &root, &err), STATUS_FAILED);
    assert_null(root);
}

static void words_are_yaml_without_lines(void **state) {
    (void)state;
    struct error err;
    struct yaml_node *root;
    assert_int_equal(yaml_read_word("[a, b]", "argument 'x'", &root, &err), STATUS_OK);
    assert_int_equal(root->kind, YAML_LIST);
    assert_int_equal(root->first->line, 0);
    yaml_tree_free(root);
    assert_int_equal(yaml_read_word("@a: [file", "argument 'x'", &root, &err), STATUS_OK);
    assert_string_equal(root->text, "@a: [file");
    yaml_tree_free(root);
    assert_int_equal(yaml_read_word(" ", "argument 'x'", &root, &err), STATUS_OK);
    assert_true(yaml_is_null(root));
    yaml_tree_free(root);
    assert_int_equal(yaml_read_word("{a: 1, a: 2}", "argument 'x'", &root, &err), STATUS_USAGE);
    assert_string_equal(err.message, "argument 'x': key 'a' stands there twice");
    assert_int_equal(yaml_read_word("[a", "argument 'x'", &root, &err), STATUS_USAGE);
    assert_null(root);
}

static struct yaml_node scalar(const char *text) {
    return (struct yaml_node){.kind = YAML_SCALAR, .text = (char *)text, .plain = true};
}

static void scalars_are_read_as_python_reads_them(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } numbers[] = {{"5.0e-5", 5e-5}, {"1e-5", 1e-5},           {"-.5", -.5}, {"3.", 3}, {"+7", 7},
                   {"1_000", 1000},  {"1_0.5_0e1_0", 10.5e10}, {"007", 7}};
    static const char *const others[] = {
        "",     "x",     "1x",
        "_1",   "1_",    "1__0",
        "1._5", "nan",   "inf",
        "1e",   "--1",   "0x10",
        ".",    "1e999", "1 2",
        "1,5",  "e5",    "00000000000000000000000000000000000000000000000000000000000000001"};
    double value;
    int64_t whole;
    bool flag;
    for (size_t i = 0; i < sizeof(numbers) / sizeof *numbers; i++) {
        struct yaml_node node = scalar(numbers[i].text);
        if (!yaml_to_number(&node, &value)) fail_msg("%s is a number", numbers[i].text);
        assert_true(value == numbers[i].value);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof *others; i++) {
        struct yaml_node node = scalar(others[i]);
        if (yaml_to_number(&node, &value)) fail_msg("%s is no number", others[i]);
        if (yaml_to_integer(&node, &whole)) fail_msg("%s is no whole number", others[i]);
        if (yaml_to_bool(&node, &flag)) fail_msg("%s is no truth", others[i]);
    }
    static const char *const whole_texts[] = {"180000000", "1_000_000", "-1",
                                              "1e6",       "1000.0",    "9223372036854775807"};
    static const int64_t whole_values[] = {180000000, 1000000, -1, 1000000, 1000, INT64_MAX};
    for (size_t i = 0; i < sizeof(whole_values) / sizeof *whole_values; i++) {
        struct yaml_node node = scalar(whole_texts[i]);
        if (!yaml_to_integer(&node, &whole)) fail_msg("%s is whole", whole_texts[i]);
        assert_true(whole == whole_values[i]);
    }
    static const char *const broken[] = {"1.5", "9223372036854775808", "1e300", "1e-3"};
    for (size_t i = 0; i < sizeof(broken) / sizeof *broken; i++) {
        struct yaml_node node = scalar(broken[i]);
        if (yaml_to_integer(&node, &whole)) fail_msg("%s is not whole", broken[i]);
    }
    static const char *const truths[] = {"true", "True", "TRUE", "yes", "on", "Off", "NO", "false"};
    for (int i = 0; i < 8; i++) {
        struct yaml_node node = scalar(truths[i]);
        assert_true(yaml_to_bool(&node, &flag));
        assert_int_equal(flag, i < 5);
    }
    struct yaml_node none = scalar("None"), list = {.kind = YAML_LIST};
    assert_true(yaml_is_null(&none));
    none.plain = false;
    assert_false(yaml_is_null(&none) || yaml_is_null(&list) || yaml_to_bool(&list, &flag) ||
                 yaml_to_number(&list, &value) || yaml_to_integer(&list, &whole));
}

/* Damages a good file in many ways: whatever comes of it, it is a tree or an error. */
static void mutated_files_do_no_harm(void **state) {
    (void)state;
    static const char pieces[] = "\n:-[]{}&*!|>'\"#%@`,? \t\\0a1~\xc3\xff";
    char *good, text[8192];
    size_t length;
    struct error err;
    assert_int_equal(file_read("configs/sft.yaml", sizeof(text) - 64, &good, &length, &err), STATUS_OK);
    int trees = 0, errors = 0;
    for (uint64_t round = 0; round < 3000; round++) {
        size_t size = length;
        memcpy(text, good, length);
        for (uint32_t change = 0; change < 1 + round % 5; change++) {
            uint32_t draw[4];
            random_words((struct random_key){.seed = 7, .stream = change, .position = round}, draw);
            size_t at = draw[0] % size;
            char piece = pieces[draw[1] % (sizeof(pieces) - 1)];
            if (draw[2] % 3 == 0) {
                memmove(text + at + 1, text + at, size++ - at);
                text[at] = piece;
            } else if (draw[2] % 3 == 1) {
                text[at] = piece;
            } else {
                size = at + 1;
            }
        }
        struct yaml_node *root;
        text[size] = '\0';
        enum status status = yaml_read_word(text, "text", &root, &err);
        trees += status == STATUS_OK;
        errors += status != STATUS_OK;
        yaml_tree_free(root);
    }
    free(good);
    assert_true(trees > 100 && errors > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_keep_order_lines_and_style),
        cmocka_unit_test(empty_files_are_empty_maps),
        cmocka_unit_test(bad_files_are_refused_with_their_line),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(words_are_yaml_without_lines),
        cmocka_unit_test(scalars_are_read_as_python_reads_them),
        cmocka_unit_test(mutated_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
