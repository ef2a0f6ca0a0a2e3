/* Three steps of GRPO from recorded rollouts against PyTorch and transformers (tests/reference/grpo.py),
 * where every completion is a sequence with a prompt of its own: here a prompt is computed once for all of
 * its completions. */
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
#include "tests/model/support_golden.h"
#include "tests/train/support_outputs.h"
#include "tests/train/support_runs.h"

enum { STEPS = 3 };

static struct error err;

/* Runs the steps as the golden ones were, from the same rollouts, into FOLDER/NAME. */
static void run(const char *shape, const char *name, const json_t *settings) {
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    assert_non_null(words);
    say_settings(words, settings);
    say(words, "stage=grpo");
    say(words, "model_name_or_path=%s/model/%s", golden_root(), shape);
    say(words, "dataset=%s/grpo/rows.jsonl", golden_root());
    say(words, "rollouts=%s/grpo/%s/rollouts.jsonl", golden_root(), shape);
    say(words, "media_dir=tests/golden/video");
    say(words, "output_dir=%s/%s", outputs_group(), name);
    say(words, "max_steps=%d", STEPS);
    say(words, "logging_steps=1");
    say(words, "save_strategy=no");
    say(words, "save_dtype=f32");
    say(words, "report_to=none");
    say(words, "plot_loss=false");
    say(words, "disable_tqdm=true");
    say(words, "device=%s", test_device("cpu"));
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    enum status status = grpo_run(&config, &err);
    train_config_free(&config);
    free(words);
    if (status != STATUS_OK) fail_msg("%s", err.message);
}

/* Relative, and absolute for values near 0: the loss of type grpo, and the KL of the first step. */
static void check_number(const char *what, size_t step, double ours, double theirs, double relative,
                         double absolute) {
    if (!(fabs(ours - theirs) <= relative * fabs(theirs) + absolute))
        fail_msg("step %zu: %s is %.9g, not %.9g", step + 1, what, ours, theirs);
}

/* What is logged of a step. */
static void check_step(size_t step, const json_t *ours, const json_t *theirs, const json_t *settings) {
    static const struct {
        const char *key, *golden, *condition; /* logged where this setting is there and not 0 */
        double relative, absolute;
    } values[] = {
        {"loss", "loss", NULL, 1e-3, 1e-6},
        {"grad_norm", "grad_norm", NULL, 1e-3, 0},
        {"lr", "lr", NULL, 1e-9, 0},
        {"kl", "kl_completion", "beta", 1e-3, 1e-6},
        {"entropy", "entropy", NULL, 1e-4, 0},
        {"clip_ratio", "clip_region_mean", NULL, 1e-9, 0},
        {"clip_ratio/low_mean", "clip_low_mean", NULL, 1e-9, 0},
        {"clip_ratio/high_mean", "clip_high_mean", NULL, 1e-9, 0},
        {"sampling/importance_sampling_ratio/mean", "correction_mean", "importance_sampling_cap", 1e-4, 0},
        {"reward", "reward", NULL, 1e-9, 1e-12},
        {"reward_std", "reward_std", NULL, 1e-9, 1e-12},
        {"frac_reward_zero_std", "frac_reward_zero_std", NULL, 1e-9, 0},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (values[i].condition && json_number_value(json_object_get(settings, values[i].condition)) == 0)
            continue;
        check_number(values[i].key, step, number(ours, values[i].key), number(theirs, values[i].golden),
                     values[i].relative, values[i].absolute);
    }
    if (step == 0) check_number("loss", step, number(ours, "loss"), number(theirs, "loss"), 1e-4, 1e-6);
    print_message("  step %zu: loss %.3g, gradient norm %.3g off\n", step + 1,
                  fabs(number(ours, "loss") - number(theirs, "loss")),
                  fabs(number(ours, "grad_norm") / number(theirs, "grad_norm") - 1));
}

/* What is written of the completions when they are trained on first. */
static void check_completions(const char *path, size_t step, const json_t *theirs) {
    char name[64];
    snprintf(name, sizeof name, "completions/step_%zu.jsonl", step + 1);
    json_t *lines = read_lines(path, name, "completion_ids");
    const json_t *advantages = json_object_get(theirs, "advantages");
    const json_t *sums = json_object_get(theirs, "logprob_sums");
    assert_int_equal(json_array_size(lines), json_array_size(advantages));
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        check_number("an advantage", step, number(line, "advantage"),
                     json_number_value(json_array_get(advantages, i)), 1e-9, 1e-12);
        check_number("a sum of log-probabilities", step, number(line, "logp"),
                     json_number_value(json_array_get(sums, i)), 1e-4, 0);
    }
    json_decref(lines);
}

static void check_case(const char *shape, const char *name) {
    char path[320], before[320];
    snprintf(path, sizeof path, "%s/grpo/%s/%s.json", golden_root(), shape, name);
    json_t *golden = json_read_file(path, 1 << 20, &err);
    if (!golden) fail_msg("%s", err.message);
    const json_t *settings = json_object_get(golden, "settings"), *steps = json_object_get(golden, "steps");
    run(shape, name, settings);
    snprintf(path, sizeof path, "%s/%s", outputs_group(), name);
    json_t *log = read_lines(path, "trainer_log.jsonl", "loss");
    size_t iterations = (size_t)number(settings, "num_iterations");
    assert_int_equal(json_array_size(log), STEPS);
    assert_int_equal(json_array_size(steps), STEPS);
    for (size_t step = 0; step < STEPS; step++) {
        const json_t *theirs = json_array_get(steps, step);
        check_step(step, json_array_get(log, step), theirs, settings);
        if (step % iterations == 0) check_completions(path, step, theirs);
    }
    snprintf(before, sizeof before, "%s/model/%s", golden_root(), shape);
    check_moves(before, path, json_object_get(golden, "moves"), 1e-3);
    json_decref(log);
    json_decref(golden);
}

static void test_grpo(void **state) {
    (void)state;
    check_case("untied", "grpo");
}

static void test_grpo_again(void **state) {
    (void)state;
    check_case("tied", "grpo-again");
}

static void test_bnpo(void **state) {
    (void)state;
    check_case("square", "bnpo");
}

static void test_dr_grpo(void **state) {
    (void)state;
    check_case("tied", "dr_grpo");
}

static void test_dapo(void **state) {
    (void)state;
    check_case("untied", "dapo");
}

static void test_cispo(void **state) {
    (void)state;
    check_case("untied", "cispo");
}

static void test_gspo(void **state) {
    (void)state;
    check_case("square", "gspo");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grpo),    cmocka_unit_test(test_grpo_again), cmocka_unit_test(test_bnpo),
        cmocka_unit_test(test_dr_grpo), cmocka_unit_test(test_dapo),       cmocka_unit_test(test_cispo),
        cmocka_unit_test(test_gspo),
    };
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
