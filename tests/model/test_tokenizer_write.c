/* The byte-level tokenizer that the project writes is one that it reads, with Qwen's ids for the bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/tokenizer.h"
#include "model/tokenizer_write.h"
#include "tests/model/support_checkpoint.h"

static void bytes_and_special_tokens(void **state) {
    (void)state;
    struct error err;
    char *folder = support_folder();
    if (tokenizer_write(folder, NULL, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    if (!tokenizer) fail_msg("%s", err.message);
    const struct special_tokens special = special_tokens_after(256);
    assert_int_equal(tokenizer_size(tokenizer), special.count);
    assert_int_equal(tokenizer_find(tokenizer, "<|endoftext|>"), special.end_of_text);
    assert_int_equal(tokenizer_find(tokenizer, "<|im_end|>"), special.turn_end);
    assert_int_equal(tokenizer_find(tokenizer, "<|image_pad|>"), special.image);
    assert_int_equal(tokenizer_find(tokenizer, "<|video_pad|>"), special.video);
    assert_int_equal(tokenizer_find(tokenizer, "<|vision_start|>"), special.vision_start);
    assert_int_equal(tokenizer_find(tokenizer, "<|vision_end|>"), special.vision_end);

    /* transformers 4.57.6 gives these ids for this text with these files */
    static const char text[] = "Hello, w\xc3\xb6rld 12 <|im_end|>\n";
    static const int32_t ids[] = {39, 68, 75, 75,  78, 11, 220, 86,  127, 114,
                                  81, 75, 67, 220, 16, 17, 220, 258, 198};
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode(tokenizer, text, sizeof text - 1, &list, &err), STATUS_OK);
    assert_int_equal(list.count, sizeof ids / sizeof *ids);
    assert_memory_equal(list.ids, ids, sizeof ids);
    struct text back = {0};
    tokenizer_decode(tokenizer, list.ids, list.count, false, &back);
    assert_string_equal(back.data, text);
    text_free(&back);
    token_list_free(&list);
    tokenizer_free(tokenizer);
    support_folder_remove(folder);
}

static void every_byte_has_its_token(void **state) {
    (void)state;
    struct error err;
    char *folder = support_folder();
    bool seen[256] = {false};
    assert_int_equal(tokenizer_write(folder, NULL, &err), STATUS_OK);
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    assert_non_null(tokenizer);
    for (int character = 0; character < 0x800; character++) { /* all bytes that UTF-8 uses up to here */
        char text[2] = {(char)character, 0};
        size_t length = 1;
        struct token_list list = {0};
        if (character >= 0x80) {
            text[0] = (char)(0xC0 | character >> 6);
            text[1] = (char)(0x80 | (character & 0x3F));
            length = 2;
        }
        assert_int_equal(tokenizer_encode(tokenizer, text, length, &list, &err), STATUS_OK);
        assert_true(list.count > 0); /* NFC may shorten: U+037E is a semicolon */
        for (size_t i = 0; i < list.count; i++) {
            assert_in_range(list.ids[i], 0, 255);
            seen[list.ids[i]] = true;
        }
        token_list_free(&list);
    }
    int count = 0;
    for (int i = 0; i < 256; i++) count += seen[i];
    assert_true(count >= 128 + 64 + 30); /* ASCII, continuations, leading bytes C2 to DF */
    tokenizer_free(tokenizer);
    support_folder_remove(folder);
    assert_int_equal(tokenizer_write("/nowhere", NULL, &err), STATUS_FAILED);
    assert_string_equal(err.message, "/nowhere/tokenizer.json: cannot write: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_and_special_tokens),
                                       cmocka_unit_test(every_byte_has_its_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
