/* Soft scores, the token of a digit, and the summary of several samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "eval/scores.h"

static const char *const folder =
    "tests/golden/model/tied"; /* byte-level, ids 16 to 20 are the digits 1 to 5 */
enum { DIGIT_ONE = 16 };

static int load(void **state) {
    struct error err;
    *state = tokenizer_load(folder, &err);
    return *state ? 0 : -1;
}

static int unload(void **state) {
    tokenizer_free(*state);
    return 0;
}

static void soft_scores_follow_the_formulas(void **state) {
    (void)state;
    /* p = 0.05, 0.1, 0.2, 0.5, 0.05 of 0.9: the rest of the vocabulary has 0.1 */
    const float logprobs[SCORE_LEVELS] = {logf(0.05f), logf(0.1f), logf(0.2f), logf(0.5f), logf(0.05f)};
    struct dimension_score score = {0};
    scores_soft(logprobs, &score);
    assert_true(score.has_soft);
    assert_true(fabs(score.confidence - 0.5 / 0.9) < 1e-6);
    assert_true(fabs(score.normed - 4 * 0.5 / 0.9) < 1e-6);
    assert_true(fabs(score.expected - (0.05 + 0.2 + 0.6 + 2.0 + 0.25) / 0.9) < 1e-6);
}

static void filtered_digits_have_no_share(void **state) {
    (void)state;
    const float one[SCORE_LEVELS] = {-INFINITY, -INFINITY, -300.0f, -INFINITY, -INFINITY};
    struct dimension_score score = {0};
    scores_soft(one, &score);
    assert_true(score.has_soft && score.confidence == 1 && score.normed == 3 && score.expected == 3);
    const float tie[SCORE_LEVELS] = {-2, -1, -INFINITY, -1, -INFINITY};
    score = (struct dimension_score){0};
    scores_soft(tie, &score);
    assert_true(fabs(score.normed - 2 * score.confidence) < 1e-12); /* the first of equals */
    const float none[SCORE_LEVELS] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    score = (struct dimension_score){0};
    scores_soft(none, &score);
    assert_false(score.has_soft);
    assert_string_equal(score.problem, "sampling filters out all five digits here");
    const float wrong[SCORE_LEVELS] = {-1, NAN, -1, -1, -1};
    score = (struct dimension_score){0};
    scores_soft(wrong, &score);
    assert_false(score.has_soft);
    assert_true(*score.problem);
}

static void digits_are_found_in_the_tokenizer(void **state) {
    int32_t tokens[SCORE_LEVELS];
    score_tokens(*state, tokens);
    for (int s = 0; s < SCORE_LEVELS; s++) assert_int_equal(tokens[s], DIGIT_ONE + s);
}

/* A completion whose text is `text`, with the digit tokens' log-probabilities all -1 but where told. */
struct completion {
    struct token_list list;
    float *watched;
    struct text text;
};

static struct completion complete(struct tokenizer *tokenizer, const char *text, size_t length) {
    struct completion c = {0};
    struct error err;
    assert_int_equal(tokenizer_encode(tokenizer, text, length, &c.list, &err), STATUS_OK);
    tokenizer_decode(tokenizer, c.list.ids, c.list.count, true, &c.text);
    c.watched = calloc(c.list.count * SCORE_LEVELS + 1, sizeof(float));
    assert_non_null(c.watched);
    return c;
}

static void completion_free(struct completion *c) {
    token_list_free(&c->list);
    text_free(&c->text);
    free(c->watched);
}

static struct scores read_scores(struct tokenizer *tokenizer, const struct completion *c) {
    int32_t tokens[SCORE_LEVELS];
    struct scores scores;
    struct error err;
    score_tokens(tokenizer, tokens);
    struct sample_text sample = {c->text.data, c->text.length, c->list.ids, (int64_t)c->list.count,
                                 c->watched};
    assert_int_equal(scores_read(tokenizer, tokens, &sample, &scores, &err), STATUS_OK);
    return scores;
}

static void scores_come_from_the_answers_digits(void **state) {
    const char *text =
        "<think>\nvisual quality: 1 猫 🎬\n</think>\n\nvisual quality: 4\ntext-to-video alignment: 3\n"
        "physical/common-sense consistency: 5\n<|im_end|>";
    struct completion c = complete(*state, text, strlen(text));
    int seen = 0;
    for (size_t i = 0; i < c.list.count; i++) {
        int digit = c.list.ids[i] - DIGIT_ONE; /* sure of what it wrote, but for the 1 of the rationale */
        for (int s = 0; s < SCORE_LEVELS; s++)
            c.watched[i * SCORE_LEVELS + (size_t)s] = s == digit ? -0.1f : -50.0f;
        if (digit >= 0 && digit < SCORE_LEVELS) seen++;
    }
    assert_int_equal(seen, 4);
    struct scores scores = read_scores(*state, &c);
    const double expected[DIMENSIONS] = {4, 3, 5};
    for (int d = 0; d < DIMENSIONS; d++) {
        assert_true(scores.dimensions[d].has_hard && scores.dimensions[d].has_soft);
        assert_true(scores.dimensions[d].hard == expected[d]);
        assert_true(fabs(scores.dimensions[d].normed - expected[d]) < 1e-9);
        assert_string_equal(scores.dimensions[d].problem, "");
    }
    completion_free(&c);
}

static void words_have_no_soft_score(void **state) {
    const char *text = "</think>visual quality: four\ntext alignment: 3\nphysical consistency: unclear";
    struct completion c = complete(*state, text, strlen(text));
    struct scores scores = read_scores(*state, &c);
    assert_true(scores.dimensions[0].has_hard && scores.dimensions[0].hard == 4);
    assert_false(scores.dimensions[0].has_soft);
    assert_string_equal(scores.dimensions[0].problem, "the score is not written as a digit of its own");
    assert_true(scores.dimensions[1].has_soft);
    assert_false(scores.dimensions[2].has_hard || scores.dimensions[2].has_soft);
    assert_string_equal(scores.dimensions[2].problem, "the answer says 'unclear'");
    completion_free(&c);
}

/* Every byte of the decoded text is found in the token that wrote it, also behind broken UTF-8. */
static void bytes_are_found_in_their_tokens(void **state) {
    struct tokenizer *tokenizer = *state;
    struct error err;
    int32_t ids[64];
    int64_t count = 0;
    /* a, 4, half of a character, 4, three bytes of an emoji, 5, the whole of it, a special token, 2 */
    struct token_list whole = {0};
    const char *text = "a4猫4🎬5";
    assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), &whole, &err), STATUS_OK);
    for (size_t i = 0; i < whole.count; i++) ids[count++] = whole.ids[i];
    ids[count++] = whole.ids[2]; /* the first byte of 猫, alone */
    ids[count++] = DIGIT_ONE + 3;
    ids[count++] = 288;
    ids[count++] = whole.ids[2];
    ids[count++] = whole.ids[3];
    ids[count++] = DIGIT_ONE + 1;
    struct text decoded = {0};
    tokenizer_decode(tokenizer, ids, (size_t)count, true, &decoded);
    int digits = 0;
    for (size_t offset = 0; offset < decoded.length; offset++) {
        if (decoded.data[offset] < '1' || decoded.data[offset] > '5') continue;
        int64_t index;
        assert_int_equal(token_at_byte(tokenizer, ids, count, offset, &index, &err), STATUS_OK);
        assert_true(index >= 0 && ids[index] == DIGIT_ONE + decoded.data[offset] - '1');
        digits++;
    }
    assert_int_equal(digits, 5);
    int64_t index;
    assert_int_equal(token_at_byte(tokenizer, ids, count, decoded.length, &index, &err), STATUS_OK);
    assert_int_equal(index, -1);
    text_free(&decoded);
    token_list_free(&whole);
}

static struct scores hard(double v) {
    struct scores scores = {0};
    scores.dimensions[0] = (struct dimension_score){
        .has_hard = v > 0, .hard = v, .has_soft = v > 0, .normed = v / 2, .expected = v, .confidence = 0.5};
    return scores;
}

static void samples_are_summarised(void **state) {
    (void)state;
    const struct scores samples[] = {hard(4), hard(3), hard(4), hard(0), hard(5)};
    struct score_summary s = scores_summarise(samples, 5, DIMENSION_VISUAL);
    assert_int_equal(s.read, 4);
    assert_true(s.hard == 4);
    assert_true(s.mean == 4);
    assert_true(fabs(s.standard_error - sqrt(2.0 / 3.0) / 2) < 1e-12);
    assert_true(s.agreement == 0.5);
    assert_int_equal(s.soft, 4);
    assert_true(s.normed == 2 && s.expected == 4 && s.confidence == 0.5);
    s = scores_summarise(samples, 5, DIMENSION_PHYSICAL);
    assert_int_equal(s.read, 0);
    assert_true(isnan(s.expected));
    s = scores_summarise(samples, 1, DIMENSION_VISUAL);
    assert_true(s.read == 1 && s.hard == 4 && s.agreement == 1 && isnan(s.standard_error));
    const struct scores ties[] = {hard(5), hard(1), hard(2), hard(2), hard(5), hard(3)}; /* mean 3 */
    s = scores_summarise(ties, 6, DIMENSION_VISUAL);
    assert_true(s.hard == 2); /* as near the mean as 5 is far */
    const struct scores even[] = {hard(4), hard(2)};
    s = scores_summarise(even, 2, DIMENSION_VISUAL);
    assert_true(s.hard == 2 && s.agreement == 0.5); /* the lower of two as near */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(soft_scores_follow_the_formulas),
                                       cmocka_unit_test(filtered_digits_have_no_share),
                                       cmocka_unit_test(digits_are_found_in_the_tokenizer),
                                       cmocka_unit_test(scores_come_from_the_answers_digits),
                                       cmocka_unit_test(words_have_no_soft_score),
                                       cmocka_unit_test(bytes_are_found_in_their_tokens),
                                       cmocka_unit_test(samples_are_summarised)};
    return cmocka_run_group_tests(tests, load, unload);
}
