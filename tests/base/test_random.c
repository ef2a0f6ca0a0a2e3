/* Known answers of Philox4x32-10, from the test vectors of the Random123 distribution (kat_vectors). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"

static void known_answers(void **state) {
    (void)state;
    uint32_t words[4];
    random_words((struct random_key){0}, words);
    assert_int_equal(words[0], 0x6627e8d5u);
    assert_int_equal(words[1], 0xe169c58du);
    assert_int_equal(words[2], 0xbc57ac4cu);
    assert_int_equal(words[3], 0x9b00dbd8u);

    random_words((struct random_key){.seed = 0x299f31d0a4093822u,
                                     .position = 0x85a308d3243f6a88u,
                                     .stream = 0x13198a2eu,
                                     .sample = 0x03707344u},
                 words);
    assert_int_equal(words[0], 0xd16cfe09u);
    assert_int_equal(words[1], 0x94fdccebu);
    assert_int_equal(words[2], 0x5001e420u);
    assert_int_equal(words[3], 0x24126ea1u);
}

static void uniform_is_in_range_and_even(void **state) {
    (void)state;
    enum { DRAWS = 100000 };
    double sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double u = random_uniform((struct random_key){.seed = 7, .position = i});
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum / DRAWS > 0.495 && sum / DRAWS < 0.505);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers),
                                       cmocka_unit_test(uniform_is_in_range_and_even)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
