/* The hand-written split against the pattern itself in PCRE2, and NFC on the cases that its rules turn on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/utf8.h"
#include "model/tokenizer_normalize.h"
#include "model/tokenizer_split.h"

static const char pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

enum {
    OUR_UNICODE = 16,
    MONGOLIAN_VOWEL_SEPARATOR = 0x180E /* white space to PCRE2, no longer to Unicode */
};

static uint8_t *classes;
static uint8_t *same; /* by code point: PCRE2 puts it in the same classes */

static pcre2_code *compile(const char *text) {
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &number, &offset, NULL);
    assert_non_null(code);
    return code;
}

static int pcre2_unicode(void) {
    char version[64];
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    return atoi(version);
}

static bool matches(pcre2_code *code, pcre2_match_data *match, const char *bytes, size_t size) {
    return pcre2_match(code, (PCRE2_SPTR)bytes, size, 0, PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, match, NULL) >
           0;
}

/* Compares one class over all code points that PCRE2's Unicode knows. */
static void compare_class(const char *text, uint8_t class) {
    bool newer = pcre2_unicode() > OUR_UNICODE;
    pcre2_code *code = compile(text), *unassigned = compile("\\p{Cn}");
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    for (uint32_t c = 0; c < CHARACTER_COUNT; c++) {
        char bytes[4];
        if (c >= 0xD800 && c < 0xE000) {
            same[c] = 0;
            continue;
        }
        size_t size = utf8_encode(c, bytes);
        bool theirs = matches(code, match, bytes, size);
        bool ours = (classes[c] & class) != 0;
        if (theirs == ours) continue;
        same[c] = 0;
        bool explained =
            matches(unassigned, match, bytes, size) || (newer && theirs) || c == MONGOLIAN_VOWEL_SEPARATOR;
        if (!explained) fail_msg("U+%04X: %s is %d here, %d in PCRE2", c, text, ours, theirs);
    }
    pcre2_match_data_free(match);
    pcre2_code_free(unassigned);
    pcre2_code_free(code);
}

static int set_up(void **state) {
    (void)state;
    struct error err;
    classes = memory_new(CHARACTER_COUNT, 1, "classes", &err);
    same = memory_new(CHARACTER_COUNT, 1, "classes", &err);
    if (!classes || !same) return -1;
    character_classes_fill(classes);
    memset(same, 1, CHARACTER_COUNT);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(classes);
    free(same);
    return 0;
}

static void test_classes(void **state) {
    (void)state;
    compare_class("\\p{L}", CHARACTER_LETTER);
    compare_class("\\p{N}", CHARACTER_NUMBER);
    compare_class("\\s", CHARACTER_SPACE);
    for (int c = 0; c < 256; c++)
        assert_int_equal((classes[c] & CHARACTER_NEWLINE) != 0, c == '\n' || c == '\r');
}

/* A text of characters that both sides class alike, most of them such as the pattern looks at. */
static size_t random_text(uint64_t number, char *text, size_t most) {
    static const char *const bits[] = {" ",
                                       " ",
                                       "\n",
                                       "\r",
                                       "\t",
                                       "'",
                                       "s",
                                       "LL",
                                       "re",
                                       "\305\277",
                                       "a",
                                       "B",
                                       "7",
                                       "!",
                                       "--",
                                       "\302\240",
                                       "\343\200\200",
                                       "\303\251",
                                       "\344\270\255",
                                       "\314\201",
                                       "\331\243",
                                       "\360\237\230\200",
                                       "'Ve",
                                       "'M",
                                       "'d",
                                       "  ",
                                       "\302\205"};
    size_t length = 0;
    for (uint64_t i = 0; length + 8 < most; i++) {
        uint32_t words[4];
        random_words((struct random_key){.seed = 5, .sample = (uint32_t)number, .position = i}, words);
        if (words[0] % 32 == 0) break;
        if (words[0] % 4 != 1) {
            const char *bit = bits[words[1] % (sizeof bits / sizeof *bits)];
            memcpy(text + length, bit, strlen(bit));
            length += strlen(bit);
            continue;
        }
        uint32_t code = words[1] % (words[2] % 2 ? 0x3000 : CHARACTER_COUNT);
        if (same[code]) length += utf8_encode(code, text + length);
    }
    return length;
}

static void test_pieces(void **state) {
    (void)state;
    enum { TEXTS = 15000 };
    pcre2_code *code = compile(pattern);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    for (uint64_t number = 0; number < TEXTS; number++) {
        char text[256];
        size_t length = random_text(number, text, sizeof text);
        for (size_t at = 0; at < length;) {
            assert_true(matches(code, match, text + at, length - at));
            size_t theirs = pcre2_get_ovector_pointer(match)[1];
            size_t ours = split_piece(classes, text + at, length - at);
            if (theirs != ours)
                fail_msg("text %llu at byte %zu of '%.*s': %zu bytes here, %zu in PCRE2",
                         (unsigned long long)number, at, (int)length, text, ours, theirs);
            at += ours;
        }
    }
    pcre2_match_data_free(match);
    pcre2_code_free(code);
}

static void check_nfc(const char *text, const char *wanted) {
    struct error err;
    struct text buffer = {0};
    const char *normal = text;
    size_t length = strlen(text);
    assert_int_equal(normalize_nfc(classes, &normal, &length, &buffer, &err), STATUS_OK);
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(normal, wanted, length);
    text_free(&buffer);
}

/* The wanted values are those of tokenizers 0.22.2's NFC. */
static void test_nfc(void **state) {
    (void)state;
    check_nfc("", "");
    check_nfc("plain \303\251", "plain \303\251");
    check_nfc("xe\314\201y", "x\303\251y");                            /* e + acute */
    check_nfc("\303\251\314\243", "\341\272\271\314\201");             /* e acute + dot below */
    check_nfc("a\314\201\314\243", "\341\272\241\314\201");            /* marks put in order */
    check_nfc("\314\201\314\243", "\314\243\314\201");                 /* without a base */
    check_nfc("\342\204\253", "\303\205");                             /* the angstrom sign */
    check_nfc("\340\245\230", "\340\244\225\340\244\274");             /* excluded from composition */
    check_nfc("\341\204\200\341\205\241\341\206\250", "\352\260\201"); /* Hangul */
    check_nfc("\352\260\200\341\206\250", "\352\260\201");
    check_nfc("\360\240\204\242\357\244\200", "\360\240\204\242\350\261\210"); /* compatibility ideograph */
    check_nfc("a\337\275\314\264", "a\337\275\314\264");                       /* U+07FD is of Unicode 11 */
    check_nfc("\360\220\227\222\314\207", "\360\220\227\222\314\207");         /* Todhri is of Unicode 16 */
}

/* Marks in an order that costs a sort by exchange the square of their number. */
static void test_nfc_marks(void **state) {
    (void)state;
    enum { MARKS = 300000 };
    struct error err;
    struct text text = {0}, buffer = {0};
    for (int i = 0; i < MARKS; i++) text_append_string(&text, i < MARKS / 2 ? "\314\201" : "\314\243");
    const char *normal = text.data;
    size_t length = text.length;
    assert_int_equal(normalize_nfc(classes, &normal, &length, &buffer, &err), STATUS_OK);
    assert_int_equal(length, text.length);
    assert_memory_equal(normal, "\314\243", 2);
    assert_memory_equal(normal + MARKS - 2, "\314\243\314\201", 4);
    text_free(&text);
    text_free(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_nfc_marks),
    };
    return cmocka_run_group_tests_name("tokenizer_split", tests, set_up, tear_down);
}
