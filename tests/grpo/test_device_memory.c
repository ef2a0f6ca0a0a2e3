/* Steps of GRPO with rollouts on devices that are too small for them, from hardly any memory to enough: in
 * whatever they find no more, they end with what was wanted and what to lower. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/grpo.h"
#include "tests/emulator/hooks.h"
#include "tests/grpo/support_small_run.h"
#include "tests/train/support_outputs.h"

static struct error err;

static enum status run_within(size_t bytes) {
    static const char *const extra[] = {"device=emulated", "beta=0.04", NULL};
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    assert_non_null(words);
    say_small_run(words, outputs_group(), "run", extra);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    emulator_set_memory(bytes);
    enum status status = grpo_run(&config, &err);
    emulator_set_memory(0);
    train_config_free(&config);
    free(words);
    return status;
}

static void test_full_device(void **state) {
    (void)state;
    static const char *const expected[] = {"out of memory for ", " free)",
                                           "lower num_generations, max_completion_length or pass_tokens",
                                           "offload_optimizer=true", "beta=0"};
    int full = 0;
    for (size_t bytes = 64 << 10; run_within(bytes) != STATUS_OK; bytes += bytes / 3, full++)
        for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
            if (!strstr(err.message, expected[i])) fail_msg("no '%s' in: %s", expected[i], err.message);
    assert_true(full >= 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full_device)};
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
