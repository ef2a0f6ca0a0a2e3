/* Steps of training on an emulated GPU take no memory of it: what they need is there from the first on, and
 * as much as the plan of the run says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grpo/grpo.h"
#include "grpo/rollout.h"
#include "tensor/arena.h"
#include "tests/emulator/hooks.h"
#include "tests/grpo/support_small_run.h"
#include "tests/train/support_outputs.h"
#include "train/pass_room.h"
#include "train/run.h"
#include "train/sft.h"

enum { MOST_STEPS = 4 };

static struct error err;
static int64_t taken[MOST_STEPS]; /* how often each step took or gave back memory */
static int steps;

enum status __real_run_take_step(struct train_run *run, struct run_step *step, struct error *error);
enum status __wrap_run_take_step(struct train_run *run, struct run_step *step, struct error *error);
enum status __wrap_run_take_step(struct train_run *run, struct run_step *step, struct error *error) {
    int64_t before = emulator_counted(EMULATOR_ALLOCATIONS);
    enum status status = __real_run_take_step(run, step, error);
    assert_true(steps < MOST_STEPS);
    taken[steps++] = emulator_counted(EMULATOR_ALLOCATIONS) - before;
    return status;
}

void __real_arena_init(struct arena *arena, struct device *device, size_t chunk_bytes);
void __wrap_arena_init(struct arena *arena, struct device *device, size_t chunk_bytes);

/* Rows are small here, and one chunk would hold all that longer ones need. */
void __wrap_arena_init(struct arena *arena, struct device *device, size_t chunk_bytes) {
    __real_arena_init(arena, device, chunk_bytes ? chunk_bytes : 4096);
}

/* Bytes taken before the first step; of the largest passes that read and that train, and of rollouts. */
static size_t reserved, planned[2], cached;

enum status __real_arena_reserve(struct arena *arena, size_t bytes, struct error *error);
enum status __wrap_arena_reserve(struct arena *arena, size_t bytes, struct error *error);
enum status __wrap_arena_reserve(struct arena *arena, size_t bytes, struct error *error) {
    if (reserved == 0) reserved = bytes;
    return __real_arena_reserve(arena, bytes, error);
}

enum status __real_pass_plan_bytes(const struct pass_plan *plan, struct pass_size size, bool backward,
                                   size_t *bytes, struct error *error);
enum status __wrap_pass_plan_bytes(const struct pass_plan *plan, struct pass_size size, bool backward,
                                   size_t *bytes, struct error *error);
enum status __wrap_pass_plan_bytes(const struct pass_plan *plan, struct pass_size size, bool backward,
                                   size_t *bytes, struct error *error) {
    enum status status = __real_pass_plan_bytes(plan, size, backward, bytes, error);
    planned[backward] = *bytes;
    return status;
}

int64_t __real_rollout_cache_bytes(const struct rollout *rollout, int64_t longest, int64_t samples,
                                   int64_t count);
int64_t __wrap_rollout_cache_bytes(const struct rollout *rollout, int64_t longest, int64_t samples,
                                   int64_t count);
int64_t __wrap_rollout_cache_bytes(const struct rollout *rollout, int64_t longest, int64_t samples,
                                   int64_t count) {
    int64_t bytes = __real_rollout_cache_bytes(rollout, longest, samples, count);
    cached = (size_t)bytes;
    return bytes;
}

/* Runs so many steps, and looks at all but the first. */
static void
check_steps(struct words *words, int wanted, enum status (*run)(const struct train_config *, struct error *),
            enum status (*plan)(const struct train_config *, const struct gpu *, struct error *)) {
    struct train_config config;
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    free(words);
    steps = 0;
    reserved = planned[0] = planned[1] = cached = 0;
    if (run(&config, &err) != STATUS_OK) fail_msg("%s", err.message);
    if (plan(&config, NULL, &err) != STATUS_OK) fail_msg("%s", err.message);
    train_config_free(&config);
    assert_true(planned[1] > 0);
    assert_int_equal(reserved, planned[0] + cached > planned[1] ? planned[0] + cached : planned[1]);
    assert_int_equal(steps, wanted);
    for (int i = 1; i < wanted; i++) assert_int_equal(taken[i], 0);
}

static void test_sft(void **state) {
    (void)state;
    static const char *const settings[] = {"stage=sft",
                                           "model_name_or_path=tests/golden/model/untied",
                                           "dataset=golden",
                                           "dataset_dir=tests/golden/trainer",
                                           "media_dir=tests/golden/video",
                                           "template=qwen2_vl",
                                           "cutoff_len=4096",
                                           "video_maxlen=4",
                                           "video_max_pixels=12544",
                                           "max_steps=4",
                                           "save_strategy=no",
                                           "report_to=none",
                                           "disable_tqdm=true",
                                           "device=emulated",
                                           "bf16=true",
                                           "per_device_train_batch_size=2",
                                           "gradient_accumulation_steps=2"};
    struct words *words = calloc(1, sizeof *words);
    assert_non_null(words);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) say(words, "%s", settings[i]);
    say(words, "output_dir=%s/sft", outputs_group());
    check_steps(words, 4, train_sft_run, train_sft_plan);
}

static void test_grpo(void **state) {
    (void)state;
    const char *const extra[] = {"device=emulated", "max_steps=2", "pass_tokens=1", /* a group a pass */
                                 "reward_funcs=['cmd:awk \"{ print NR }\"']", NULL};
    struct words *words = calloc(1, sizeof *words);
    assert_non_null(words);
    say_small_run(words, outputs_group(), "grpo", extra);
    check_steps(words, 2, grpo_run, grpo_plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sft), cmocka_unit_test(test_grpo)};
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
