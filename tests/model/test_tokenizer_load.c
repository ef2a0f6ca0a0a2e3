/* Tokenizer files: what they may say, and every way in which they may be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/utf8.h"
#include "model/tokenizer.h"
#include "model/tokenizer_vocabulary.h"

static char folder[64];
static struct text good_vocab, good_json; /* what the tests change */

static const char good_merges[] = "[[\"a\",\"b\"],[\"ab\",\"c\"],\"b c\",[\"\\u0120\",\"a\"]]";
static const char older_merges[] = "#version: 0.2\na b\nab c\r\n\nb c\n\304\240 a";

/* 256 bytes, then "ab" 256, "abc" 257, "bc" 258, " a" 259. */
static void make_vocab(struct text *out) {
    text_append_string(out, "{");
    for (int byte = 0; byte < 256; byte++) {
        char spelled[4];
        size_t length = utf8_encode(byte_spelling((unsigned char)byte), spelled);
        bool escape = byte == '"' || byte == '\\';
        text_format(out, "\"%s%.*s\": %d, ", escape ? "\\" : "", (int)length, spelled, byte);
    }
    text_append_string(out, "\"ab\":256,\"abc\":257,\"bc\":258,\"\304\240a\":259}");
}

static void make_json(struct text *out) {
    text_append_string(
        out, "{\"version\":\"1.0\",\"truncation\":null,\"added_tokens\":["
             "{\"id\":260,\"content\":\"<|im_end|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
             "\"normalized\":false,\"special\":true},"
             "{\"id\":261,\"content\":\"<mask>\",\"single_word\":false,\"lstrip\":true,\"rstrip\":true,"
             "\"normalized\":true,\"special\":false}],"
             "\"normalizer\":{\"type\":\"NFC\"},"
             "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
             "\"Regex\":"
             "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
             "?[^\\\\s\\\\p{L}\\\\p{N}]+"
             "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\","
             "\"invert\":false},"
             "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
             "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
             "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"continuing_subword_prefix\":\"\","
             "\"end_of_word_suffix\":null,\"ignore_merges\":false,\"merges\":");
    text_append_string(out, good_merges);
    text_append_string(out, ",\"vocab\":");
    text_append(out, good_vocab.data, good_vocab.length);
    text_append_string(out, "}}");
}

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/vs2-tokenizer-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    make_vocab(&good_vocab);
    make_json(&good_json);
    return good_json.failed;
}

/* Writes a file of the folder, or takes it away. */
static void put(const char *name, const char *data, size_t length) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
    if (!data) return;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void put_string(const char *name, const char *text) {
    put(name, text, text ? strlen(text) : 0);
}

static void clear(void) {
    static const char *const names[] = {"tokenizer.json",    "vocab.json",
                                        "merges.txt",        "tokenizer_config.json",
                                        "added_tokens.json", "special_tokens_map.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put(names[i], NULL, 0);
}

static int tear_down(void **state) {
    (void)state;
    clear();
    text_free(&good_vocab);
    text_free(&good_json);
    return rmdir(folder);
}

/* The good text with the first `find` replaced. */
static char *edited(const struct text *good, const char *find, const char *replacement) {
    struct error err;
    struct text out = {0};
    const char *at = strstr(good->data, find);
    if (!at) fail_msg("'%s' is not in the file", find);
    text_append(&out, good->data, (size_t)(at - good->data));
    text_append_string(&out, replacement);
    text_append_string(&out, at + strlen(find));
    char *text = text_take(&out, "a test", &err);
    assert_non_null(text);
    return text;
}

/* Loading fails, with one line that has the cause in it and begins with the folder. */
static void expect_error(const char *cause) {
    struct error err;
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    if (tokenizer) fail_msg("loaded in spite of: %s", cause);
    if (!strstr(err.message, cause)) fail_msg("'%s' is not in: %s", cause, err.message);
    assert_memory_equal(err.message, folder, strlen(folder));
    assert_null(strchr(err.message, '\n'));
}

static struct tokenizer *expect_good(void) {
    struct error err;
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    if (!tokenizer) fail_msg("%s", err.message);
    return tokenizer;
}

static void expect_ids(const struct tokenizer *tokenizer, const char *text, const int32_t *ids,
                       size_t count) {
    struct error err;
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), &list, &err), STATUS_OK);
    assert_int_equal(list.count, count);
    assert_memory_equal(list.ids, ids, count * sizeof *ids);
    token_list_free(&list);
}

static void test_good(void **state) {
    (void)state;
    clear();
    put("tokenizer.json", good_json.data, good_json.length);
    struct tokenizer *tokenizer = expect_good();
    assert_int_equal(tokenizer_size(tokenizer), 262);
    expect_ids(tokenizer, "abc bc a", (int32_t[]){257, ' ', 258, 259}, 4);
    expect_ids(tokenizer, "b \n<mask> \tb<|im_end|>\n", (int32_t[]){'b', 261, 'b', 260, '\n'}, 5);
    expect_ids(tokenizer, "<mask><mask> <mas", (int32_t[]){261, 261, '<', 'm', 'a', 's'}, 6);
    expect_ids(tokenizer, "", NULL, 0);
    tokenizer_free(tokenizer);
}

/* Components that change what is encoded. */
static void test_variants(void **state) {
    (void)state;
    clear();
    char *text = edited(&good_json, "\"ignore_merges\":false,\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"],",
                        "\"ignore_merges\":true,\"merges\":[");
    put_string("tokenizer.json", text);
    free(text);
    struct tokenizer *tokenizer = expect_good();
    expect_ids(tokenizer, "abc", (int32_t[]){257}, 1); /* as a token; merged it would be a, bc */
    expect_ids(tokenizer, "abcb", (int32_t[]){'a', 258, 'b'}, 3);
    tokenizer_free(tokenizer);

    text = edited(&good_json, "{\"type\":\"NFC\"}", "null");
    put_string("tokenizer.json", text);
    free(text);
    tokenizer = expect_good();
    expect_ids(tokenizer, "e\314\201", (int32_t[]){'e', 0xCC, 0x81}, 3);
    tokenizer_free(tokenizer);

    text = edited(&good_json, "{\"type\":\"NFC\"}",
                  "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}");
    put_string("tokenizer.json", text);
    free(text);
    tokenizer = expect_good();
    expect_ids(tokenizer, "e\314\201", (int32_t[]){0xC3, 0xA9}, 2);
    tokenizer_free(tokenizer);
}

static void test_json_errors(void **state) {
    (void)state;
    static const struct {
        const char *find, *replacement, *cause;
    } cases[] = {
        {"{\"type\":\"NFC\"}", "{\"type\":\"NFKC\"}", "normalizer 'NFKC' is not supported"},
        {"{\"type\":\"NFC\"}", "7", "normalizer '' is not supported"},
        {"\"type\":\"Split\"", "\"type\":\"Digits\"", "pre_tokenizer 'Sequence' is not supported"},
        {"\"invert\":false", "\"invert\":true", "pre_tokenizer 'Sequence' is not supported"},
        {"\"use_regex\":false", "\"use_regex\":true", "pre_tokenizer 'Sequence' is not supported"},
        {"'t|'re", "'t|'ra", "the pattern '(?i:'s|'t|'ra|"},
        {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", "decoder '' is not supported"},
        {"\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "model 'WordPiece' is not supported"},
        {"\"dropout\":null", "\"dropout\":0.1", "dropout is not supported"},
        {"\"continuing_subword_prefix\":\"\"", "\"continuing_subword_prefix\":\"##\"",
         "prefixes and suffixes"},
        {"\"ignore_merges\":false", "\"ignore_merges\":1", "'ignore_merges' must be true or false"},
        {"\"model\":", "\"modal\":", "'model' is missing"},
        {"\"vocab\":", "\"vacab\":", "'vocab' is missing"},
        {"\"merges\":", "\"mergas\":", "'merges' is missing"},
        {"\"abc\":257", "\"abc\":256", "id 256 has two tokens, 'ab' and 'abc'"},
        {"\"abc\":257", "\"ab\":257", "token 'ab' is there twice, as 256 and 257"},
        {"\"abc\":257", "\"abc\":-1", "token 'abc' has id -1"},
        {"\"abc\":257", "\"abc\":4194304", "token 'abc' has id 4194304"},
        {"\"abc\":257", "\"abc\":99999999999999999999", "a whole number from"},
        {"\"abc\":257", "\"abc\":2.5", "a whole number from"},
        {"\"abc\":257", "\"abc\":\"257\"", "a whole number from"},
        {"\"abc\":257", "\"\":257", "token 257 is empty"},
        {"\"abc\":257,", "", "the merge of 'ab' and 'c' makes no token"},
        {"\"ab\":256,", "", "the merge of 'a' and 'b' makes no token"},
        {"[\"ab\",\"c\"]", "[\"ax\",\"c\"]", "merge 2: the merge names 'ax', which is no token"},
        {"[\"ab\",\"c\"]", "[\"ab\"]", "merge 2: two tokens expected"},
        {"[\"ab\",\"c\"]", "[\"ab\",\"c\",\"d\"]", "merge 2: two tokens expected"},
        {"[\"ab\",\"c\"]", "17", "'\"' expected"},
        {"\"b c\"", "\"bc\"", "merge 3: two tokens with a space between them expected"},
        {"\"b c\"", "\"b  c\"", "merge 3: two tokens with a space between them expected"},
        {"\"b c\"", "\"b c d\"", "merge 3: two tokens with a space between them expected"},
        {"\"!\": 33, ", "", "the vocabulary has no token for byte 0x21"},
        {"\"id\":260", "\"id\":4194304", "'id' is 4194304"},
        {"\"id\":260,", "", "added token 0 has no 'id'"},
        {"\"id\":260", "\"id\":259", "id 259 has two tokens"},
        {"<|im_end|>", "ab", "added token 'ab' has id 260, but 256 in the vocabulary"},
        {"\"content\":\"<|im_end|>\"", "\"content\":7", "'content' must be a string"},
        {"\"single_word\":false", "\"single_word\":true",
         "added token '<|im_end|>': single_word is not supported"},
        {"\"lstrip\":false", "\"lstrip\":0", "'lstrip' must be true or false"},
        {"\"truncation\":null", "\"truncation\":nul", "'truncation': line 1"},
        {"\"truncation\":null", "\"truncation\":]", "a bracket that closes nothing"},
        {"\"vocab\":{", "\"vocab\":[", "a bracket that closes nothing"},
        {"\"version\":\"1.0\"", "\"version\":\"\\u12\"", "'version': line 1"},
        {"\"\304\240a\":259}}}", "\"\304\240a\":259}}} x", "text after the end"},
        {"\"\304\240a\":259", "\"\377\":259", "not UTF-8"},
        {"\"\304\240a\":259", "\"\\ud800\":259", "a wrong escape"},
    };
    clear();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = edited(&good_json, cases[i].find, cases[i].replacement);
        put_string("tokenizer.json", text);
        free(text);
        expect_error(cases[i].cause);
    }
    put_string("tokenizer.json", "");
    expect_error("the JSON text ends too early");
    put_string("tokenizer.json", "[1]");
    expect_error("'{' expected");
}

/* A file cut short anywhere is an error, and one with bytes changed never more than that. */
static void test_damage(void **state) {
    (void)state;
    clear();
    for (size_t length = 0; length + 1 < good_json.length; length += 1 + length / 64) {
        put("tokenizer.json", good_json.data, length);
        expect_error("");
    }
    char *copy = malloc(good_json.length);
    assert_non_null(copy);
    for (uint64_t round = 0; round < 400; round++) {
        memcpy(copy, good_json.data, good_json.length);
        for (uint64_t i = 0; i <= round % 3; i++) {
            uint32_t words[4];
            random_words((struct random_key){.seed = 1, .stream = (uint32_t)i, .position = round}, words);
            copy[words[0] % good_json.length] = (char)("{}[]\":,\\0a\377"[words[1] % 12]);
        }
        put("tokenizer.json", copy, good_json.length);
        struct error err;
        tokenizer_free(tokenizer_load(folder, &err));
    }
    free(copy);
}

static void test_older_files(void **state) {
    (void)state;
    clear();
    put("vocab.json", good_vocab.data, good_vocab.length);
    put_string("merges.txt", older_merges);
    struct tokenizer *tokenizer = expect_good();
    assert_int_equal(tokenizer_size(tokenizer), 260);
    expect_ids(tokenizer, "abc a", (int32_t[]){257, 259}, 2);
    expect_ids(tokenizer, "e\314\201", (int32_t[]){0xC3, 0xA9}, 2);
    tokenizer_free(tokenizer);

    put_string("added_tokens.json", "{\"<|im_end|>\": 260, \"<tool>\": 261}");
    put_string("special_tokens_map.json", "{\"eos_token\": {\"content\": \"<|im_end|>\"}}");
    tokenizer = expect_good();
    expect_ids(tokenizer, "<tool><|im_end|>", (int32_t[]){261, 260}, 2);
    assert_true(tokenizer_is_special(tokenizer, 260));
    assert_false(tokenizer_is_special(tokenizer, 261));
    tokenizer_free(tokenizer);

    put_string("special_tokens_map.json",
               "{\"additional_special_tokens\": [\"<tool>\", {\"content\": \"x\"}]}");
    tokenizer = expect_good();
    assert_true(tokenizer_is_special(tokenizer, 261));
    tokenizer_free(tokenizer);

    put_string("tokenizer_config.json",
               "{\"added_tokens_decoder\": {\"262\": {\"content\": \"<t>\", \"special\": true}}}");
    tokenizer = expect_good(); /* which tells all, so the other two are not read */
    expect_ids(tokenizer, "<t>", (int32_t[]){262}, 1);
    assert_int_equal(tokenizer_find(tokenizer, "<tool>"), -1);
    tokenizer_free(tokenizer);
}

static void test_older_errors(void **state) {
    (void)state;
    clear();
    expect_error("no tokenizer: neither tokenizer.json nor vocab.json is there");
    put("vocab.json", good_vocab.data, good_vocab.length);
    expect_error("nor merges.txt is there");
    put_string("merges.txt", "a b\nabc\n");
    expect_error("merges.txt: merge 2: two tokens with a space between them expected");
    put_string("merges.txt", "a b\nb x\n");
    expect_error("merges.txt: merge 2: the merge of 'b' and 'x' makes no token");
    put_string("merges.txt", "a b\n\377 x\n");
    expect_error("merges.txt: byte 5: not UTF-8");
    put_string("merges.txt", older_merges);
    put_string("added_tokens.json", "{\"<x>\": \"260\"}");
    expect_error("added_tokens.json: '<x>' must be an integer");
    put_string("added_tokens.json", "{\"<x>\": 259}");
    expect_error("added_tokens.json: id 259 has two tokens");
    put_string("added_tokens.json", "{\"<x>\": 260");
    expect_error("added_tokens.json: line 1");
    put_string("tokenizer_config.json", "{\"added_tokens_decoder\": {\"26x\": {\"content\": \"<t>\"}}}");
    put_string("added_tokens.json", NULL);
    expect_error("tokenizer_config.json: added_tokens_decoder: '26x' is no id");
    put_string("tokenizer_config.json", "{\"added_tokens_decoder\": {\"260\": {\"content\": 5}}}");
    expect_error("tokenizer_config.json: 'content' must be a string");
    put("vocab.json", good_vocab.data, good_vocab.length - 1);
    expect_error("vocab.json: byte");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_json_errors), cmocka_unit_test(test_damage),
        cmocka_unit_test(test_older_files), cmocka_unit_test(test_older_errors),
    };
    return cmocka_run_group_tests_name("tokenizer_load", tests, set_up, tear_down);
}
