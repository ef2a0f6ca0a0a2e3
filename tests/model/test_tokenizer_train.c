/* Training a byte-level BPE: which merges are found, and that the tokenizer written from them is read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/tokenizer.h"
#include "model/tokenizer_train.h"
#include "model/tokenizer_write.h"
#include "tests/model/support_checkpoint.h"

static struct tokenizer_merges train(const char *const *texts, size_t count, int32_t most) {
    struct error err;
    struct tokenizer_merges merges;
    struct tokenizer_trainer *trainer = tokenizer_trainer_new(&err);
    assert_non_null(trainer);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(tokenizer_trainer_add(trainer, texts[i], strlen(texts[i]), &err), STATUS_OK);
    assert_int_equal(tokenizer_trainer_finish(trainer, most, &merges, &err), STATUS_OK);
    tokenizer_trainer_free(trainer);
    return merges;
}

/* Counted by hand. "low low low lower": pieces "low" once, " low" twice, " lower" once; l-o and o-w stand 4
 * times each, and 'l' has the lower id than 'o' as left part. */
static void the_most_frequent_pair_comes_first(void **state) {
    (void)state;
    static const char *const texts[] = {"low low low lower"};
    const int32_t l = tokenizer_byte_id('l'), o = tokenizer_byte_id('o'), w = tokenizer_byte_id('w');
    const int32_t space = tokenizer_byte_id(' ');
    struct tokenizer_merges merges = train(texts, 1, 100);
    assert_int_equal(merges.count, 3);
    assert_int_equal(merges.items[0].left, l);
    assert_int_equal(merges.items[0].right, o);
    assert_int_equal(merges.items[1].left, 256); /* lo-w: 4, space-lo: 3 */
    assert_int_equal(merges.items[1].right, w);
    assert_int_equal(merges.items[2].left, space); /* 3 times; e-r only once */
    assert_int_equal(merges.items[2].right, 257);
    tokenizer_merges_free(&merges);
}

static void overlapping_pairs_merge_from_the_left(void **state) {
    (void)state;
    static const char *const texts[] = {"aaaaa", "aaaaa"};
    const int32_t a = tokenizer_byte_id('a');
    struct tokenizer_merges merges = train(texts, 2, 100); /* aa; aa-aa over aa-a, as 256 > a: a pair of equal
                                                              count with the lower left id comes first */
    assert_int_equal(merges.items[0].left, a);
    assert_int_equal(merges.items[0].right, a);
    assert_int_equal(merges.items[1].left, 256); /* [aa aa a]: aa-a (a < 256) */
    assert_int_equal(merges.items[1].right, a);
    assert_int_equal(merges.items[2].left, 256);
    assert_int_equal(merges.items[2].right, 257);
    assert_int_equal(merges.count, 3);
    tokenizer_merges_free(&merges);
}

static void limits_and_nothing(void **state) {
    (void)state;
    static const char *const texts[] = {"low low low lower"};
    struct tokenizer_merges merges = train(texts, 1, 2);
    assert_int_equal(merges.count, 2);
    tokenizer_merges_free(&merges);
    merges = train(texts, 0, 5);
    assert_int_equal(merges.count, 0);
    tokenizer_merges_free(&merges);
    merges = train((const char *const[]){"x y z"}, 1, 5); /* no pair twice */
    assert_int_equal(merges.count, 0);
    tokenizer_merges_free(&merges);
}

/* Words seen often become one token; every text survives the way there and back. */
static void the_written_tokenizer_reads_back(void **state) {
    (void)state;
    static const char *const texts[] = {"a red circle moves right", "a red ring moves left",
                                        "two red circle fall", "gr\xc3\xbcn gr\xc3\xbcn"};
    static const char *const others[] = {"a red circle", "unknown words, 12 <|im_end|>\n", "gr\xc3\xbcn",
                                         "\xe2\x82\xac \xf0\x9f\x98\x80"};
    struct error err;
    char *folder = support_folder();
    struct tokenizer_merges merges = train(texts, 4, 200);
    if (tokenizer_write(folder, &merges, &err) != STATUS_OK) fail_msg("%s", err.message);
    struct tokenizer *tokenizer = tokenizer_load(folder, &err);
    if (!tokenizer) fail_msg("%s", err.message);
    assert_int_equal(tokenizer_size(tokenizer), special_tokens_after(256 + merges.count).count);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct token_list list = {0};
        struct text back = {0};
        assert_int_equal(tokenizer_encode(tokenizer, others[i], strlen(others[i]), &list, &err), STATUS_OK);
        if (i == 0) assert_int_equal(list.count, 3); /* "a", " red", " circle" */
        tokenizer_decode(tokenizer, list.ids, list.count, false, &back);
        assert_string_equal(back.data, others[i]);
        text_free(&back);
        token_list_free(&list);
    }
    tokenizer_free(tokenizer);
    tokenizer_merges_free(&merges);
    support_folder_remove(folder);
}

/* The older files, vocab.json and merges.txt, give the same ids. */
static void the_older_files_agree(void **state) {
    (void)state;
    static const char *const texts[] = {"blue water blue water", "grey stone grey stone"};
    struct error err;
    char *folder = support_folder();
    struct tokenizer_merges merges = train(texts, 2, 200);
    assert_int_equal(tokenizer_write(folder, &merges, &err), STATUS_OK);
    struct token_list lists[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        struct tokenizer *tokenizer = tokenizer_load(folder, &err);
        assert_non_null(tokenizer);
        assert_int_equal(tokenizer_encode(tokenizer, texts[0], strlen(texts[0]), &lists[i], &err), STATUS_OK);
        tokenizer_free(tokenizer);
        char *path = file_join(folder, "tokenizer.json", &err);
        assert_int_equal(unlink(path), i == 0 ? 0 : -1);
        free(path);
    }
    assert_int_equal(lists[0].count, lists[1].count);
    assert_memory_equal(lists[0].ids, lists[1].ids, lists[0].count * sizeof *lists[0].ids);
    assert_int_equal(lists[0].count, 5); /* "blue", " water", " ", "blue", " water" */
    token_list_free(&lists[0]);
    token_list_free(&lists[1]);
    tokenizer_merges_free(&merges);
    support_folder_remove(folder);
}

/* Ids of all bytes are different, and those of Qwen's vocabulary. */
static void bytes_have_qwen_ids(void **state) {
    (void)state;
    bool seen[256] = {false};
    for (int byte = 0; byte < 256; byte++) {
        int32_t id = tokenizer_byte_id((unsigned char)byte);
        assert_in_range(id, 0, 255);
        assert_false(seen[id]);
        seen[id] = true;
    }
    assert_int_equal(tokenizer_byte_id('!'), 0);
    assert_int_equal(tokenizer_byte_id('\n'), 198);
    assert_int_equal(tokenizer_byte_id(' '), 220);
    assert_int_equal(tokenizer_byte_id(0xFF), 187);
    assert_int_equal(tokenizer_byte_id(0xAD), 255);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_frequent_pair_comes_first),
        cmocka_unit_test(overlapping_pairs_merge_from_the_left),
        cmocka_unit_test(limits_and_nothing),
        cmocka_unit_test(the_written_tokenizer_reads_back),
        cmocka_unit_test(the_older_files_agree),
        cmocka_unit_test(bytes_have_qwen_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
