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
static const char *const keys[] = {"loss", "grad_norm", "kl", "entropy", "reward", "completion_length"};
enum { KEYS = sizeof keys / sizeof *keys };

/* Two steps, the second from what the first made of the weights, or from the checkpoint between the two of
 * the run `from`, unless that is NULL; the lines of the log. */
static json_t *run_on(const char *name, const char *device, const char *from) {
    char word[64], resume[128] = "resume_from_checkpoint=null", path[128];
    snprintf(word, sizeof word, "device=%s", device);
    if (from)
        snprintf(resume, sizeof resume, "resume_from_checkpoint=%s/%s/checkpoint-1", outputs_group(), from);
    const char *const extra[] = {word,
                                 resume,
                                 "save_strategy=steps",
                                 "save_steps=1",
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
    const char *device = test_device("guard");
    double limit = on_own_device() ? 0 : 1e-3;
    json_t *expected = run_on("cpu", "cpu", NULL), *ours = run_on("device", device, NULL);
    assert_int_equal(json_array_size(expected), 2);
    assert_int_equal(json_array_size(ours), 2);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < KEYS; k++) {
            double a = number(json_array_get(ours, i), keys[k]),
                   b = number(json_array_get(expected, i), keys[k]);
            if (!(fabs(a - b) <= limit * fabs(b) + limit * 1e-3))
                fail_msg("step %zu: %s is %.9g on %s, not %.9g", i + 1, keys[k], a, device, b);
        }
    json_decref(expected);
    json_decref(ours);
}

/* The second step of the run above once more, to the bit. */
static void test_going_on(void **state) {
    (void)state;
    json_t *ours = run_on("resumed", test_device("guard"), "device");
    char path[128];
    snprintf(path, sizeof path, "%s/device", outputs_group());
    json_t *expected = read_lines(path, "trainer_log.jsonl", "loss");
    const json_t *last = json_array_get(ours, 1);
    assert_int_equal(json_array_size(ours), 2); /* with what the checkpoint has of the first */
    assert_false(outputs_exists(outputs_group(), "resumed/checkpoint-1"));
    for (size_t k = 0; k < KEYS; k++)
        if (number(last, keys[k]) != number(json_array_get(expected, 1), keys[k]))
            fail_msg("%s is %.9g, not %.9g", keys[k], number(last, keys[k]),
                     number(json_array_get(expected, 1), keys[k]));
    json_decref(expected);
    json_decref(ours);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_on_the_cpu),
                                       cmocka_unit_test(test_going_on)};
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
