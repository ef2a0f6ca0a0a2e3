/* Whole steps of GRPO with rollouts of its own, on a device whose memory the host cannot reach, against the
 * CPU's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/grpo.h"
#include "tests/device.h"
#include "tests/grpo/support_small_run.h"
#include "tests/train/support_outputs.h"

static struct error err;

/* Two steps, the second from what the first made of the weights; the lines of the log. */
static json_t *run_on(const char *name, const char *device) {
    char word[64], path[128];
    snprintf(word, sizeof word, "device=%s", device);
    const char *const extra[] = {word,
                                 "max_steps=2",
                                 "bf16=false",
                                 "offload_optimizer=true",
                                 "reward_funcs=['cmd:awk \"{ print NR }\"']",
                                 "sync_ref_model=true",
                                 "ref_model_sync_steps=1",
                                 NULL};
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    assert_non_null(words);
    say_small_run(words, outputs_group(), name, extra);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    enum status status = grpo_run(&config, &err);
    train_config_free(&config);
    free(words);
    if (status != STATUS_OK) fail_msg("%s", err.message);
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    return read_lines(path, "trainer_log.jsonl", "loss");
}

static void test_same_as_on_the_cpu(void **state) {
    (void)state;
    static const char *const keys[] = {"loss", "grad_norm", "kl", "entropy", "reward", "completion_length"};
    const char *device = test_device("guard");
    double limit = on_own_device() ? 0 : 1e-3;
    json_t *expected = run_on("cpu", "cpu"), *ours = run_on("device", device);
    assert_int_equal(json_array_size(expected), 2);
    assert_int_equal(json_array_size(ours), 2);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            double a = number(json_array_get(ours, i), keys[k]),
                   b = number(json_array_get(expected, i), keys[k]);
            if (!(fabs(a - b) <= limit * fabs(b) + limit * 1e-3))
                fail_msg("step %zu: %s is %.9g on %s, not %.9g", i + 1, keys[k], a, device, b);
        }
    json_decref(expected);
    json_decref(ours);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_on_the_cpu)};
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
