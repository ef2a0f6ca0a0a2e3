/* Memory that ends in the middle of a run: wherever an allocation is refused, the run fails with a message,
 * gives back what it has (the sanitizers see), and writes no model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "grpo/grpo.h"
#include "tests/grpo/support_small_run.h"
#include "tests/refuse.h"
#include "tests/train/support_outputs.h"

/* Refuses allocation number 0, 1, 2, 4, 7, 11, ... until none is refused any more. */
static void survives(const char *name, const char *const *extra) {
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    struct error err;
    char model[128];
    assert_non_null(words);
    say_small_run(words, outputs_group(), name, extra);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    snprintf(model, sizeof model, "%s/%s/model.safetensors", outputs_group(), name);
    for (int count = 0, gap = 1, tries = 0;; count += gap++, tries++) {
        memset(&err, 0, sizeof err);
        allocations_left = count;
        enum status status = grpo_run(&config, &err);
        allocations_left = -1;
        if (status == STATUS_OK) {
            print_message("%s: %d runs failed\n", name, tries);
            assert_true(tries > 20);
            break;
        }
        assert_int_not_equal(status, STATUS_OK);
        assert_int_not_equal(err.message[0], '\0');
        assert_int_not_equal(access(model, F_OK), 0);
    }
    assert_int_equal(access(model, F_OK), 0);
    train_config_free(&config);
    free(words);
}

static void test_sampled(void **state) {
    (void)state;
    const char *const extra[] = {"reward_funcs=[accuracy, length, temporal]", "num_iterations=2",
                                 "dynamic_sampling=true", NULL};
    survives("sampled", extra);
}

static void test_recorded(void **state) {
    (void)state;
    const char *const extra[] = {"rollouts=tests/golden/grpo/tied/rollouts.jsonl", "sync_ref_model=true",
                                 "importance_sampling_cap=2", NULL};
    survives("recorded", extra);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampled),
        cmocka_unit_test(test_recorded),
    };
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
