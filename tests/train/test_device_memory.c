/* Runs on a device that is too small for them: what the plan and the error say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/weights.h"
#include "tests/emulator/hooks.h"
#include "tests/train/support_outputs.h"
#include "tests/train/support_runs.h"
#include "train/optimizer.h"
#include "train/sft.h"

static struct error err;

static struct train_config config_of(const char *extra) {
    struct words *words = calloc(1, sizeof *words);
    struct train_config config;
    assert_non_null(words);
    say(words, "stage=sft");
    say(words, "model_name_or_path=tests/golden/model/untied");
    say(words, "dataset=golden");
    say(words, "dataset_dir=tests/golden/trainer");
    say(words, "media_dir=tests/golden/video");
    say(words, "template=qwen2_vl");
    say(words, "cutoff_len=4096");
    say(words, "video_maxlen=4");
    say(words, "video_max_pixels=12544");
    say(words, "output_dir=%s/run", outputs_group());
    say(words, "max_steps=1");
    say(words, "save_strategy=no");
    say(words, "report_to=none");
    say(words, "disable_tqdm=true");
    say(words, "device=emulated");
    say(words, "per_device_train_batch_size=4");
    say(words, "%s", extra);
    if (train_config_read(NULL, words->list, words->count, &config, &err)) fail_msg("%s", err.message);
    free(words);
    return config;
}

/* What the plan prints; free() it. */
static char *plan_of(const char *extra) {
    char path[64];
    struct train_config config = config_of(extra);
    snprintf(path, sizeof path, "%s/plan", outputs_group());
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    assert_non_null(freopen(path, "w", stdout));
    enum status status = train_sft_plan(&config, NULL, &err);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    train_config_free(&config);
    if (status != STATUS_OK) fail_msg("%s", err.message);
    size_t length;
    char *text;
    if (file_read(path, 1 << 16, &text, &length, &err) != STATUS_OK) fail_msg("%s", err.message);
    return text;
}

static void expect(const char *text, const char *words) {
    if (!strstr(text, words)) fail_msg("no '%s' in: %s", words, text);
}

static void expect_not(const char *text, const char *words) {
    if (strstr(text, words)) fail_msg("'%s' in: %s", words, text);
}

/* With the value that the plan gives the key it fits. */
static void check_advice(const char *text, const char *key) {
    char word[64];
    const char *line = strstr(text, key);
    if (!line || sscanf(line, "%63s", word) != 1) fail_msg("%s is not advised in: %s", key, text);
    expect(line, "then it fits");
    char *advised = plan_of(word);
    expect(advised, " has 0.003 GB free: it fits");
    expect_not(advised, "DOES NOT FIT");
    free(advised);
}

/* With room enough nothing is to be lowered; with less, what the plan says does. */
static void test_plan(void **state) {
    (void)state;
    char *text = plan_of("seed=1");
    expect(text, " has 8.590 GB free: it fits");
    expect(text, "GB of the host");
    expect_not(text, "saves");
    free(text);
    emulator_set_memory(3 << 20);
    text = plan_of("seed=1");
    expect(text, " has 0.003 GB free: it DOES NOT FIT");
    expect(text, "offload_optimizer=true saves ");
    expect(text, "per_device_train_batch_size=");
    expect(text, "cutoff_len=");
    check_advice(text, "per_device_train_batch_size=");
    free(text);
    text = plan_of("offload_optimizer=true");
    expect(text, "master weights, moments");
    expect_not(text, "offload_optimizer=true saves");
    free(text);
    emulator_set_memory(0);
}

/* From hardly any to enough: wherever a run finds no more, it says what it wanted and what to lower. */
static void test_full_device(void **state) {
    (void)state;
    struct train_config config = config_of("seed=1");
    int full = 0;
    for (size_t bytes = 64 << 10;; bytes += bytes / 3, full++) {
        emulator_set_memory(bytes);
        enum status status = train_sft_run(&config, &err);
        emulator_set_memory(0);
        if (status == STATUS_OK) break;
        expect(err.message, "out of memory for ");
        expect(err.message, " free)");
        expect(err.message, "lower per_device_train_batch_size or cutoff_len");
        expect(err.message, "offload_optimizer=true");
    }
    assert_true(full >= 10);
    train_config_free(&config);
}

/* What is trained is on the device as the optimizer has it, and not as the checkpoint has it too. */
static void test_one_copy(void **state) {
    (void)state;
    const struct freeze freeze = {.vision_tower = true, .projector = true};
    static const char *const folders[] = {"tests/golden/model/untied", "tests/golden/model/tied"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct device device;
        struct model model;
        struct optimizer optimizer;
        assert_int_equal(device_open("emulated", &device, &err), STATUS_OK);
        size_t before = device_describe(&device).free_memory, frozen = 0, stored = 0;
        assert_int_equal(optimizer_open_model(folders[i], &device, DTYPE_BF16, &freeze, &model, &err),
                         STATUS_OK);
        size_t opened = device_describe(&device).free_memory;
        const struct optimizer_sharing alone = {0};
        assert_int_equal(optimizer_open(&optimizer, &model, &freeze, alone, &err), STATUS_OK);
        for (size_t k = 0; k < optimizer.parameter_count; k++) {
            const struct parameter *p = &optimizer.parameters[k];
            size_t bytes = (size_t)(p->rows * p->cols) * sizeof(uint16_t);
            bool vector = p->kind == PARAMETER_NORM || p->kind == PARAMETER_BIAS;
            if (vector || freeze_holds(&freeze, p))
                frozen += 2 * bytes; /* or f32 */
            else
                stored += bytes;
        }
        size_t taken = before - device_describe(&device).free_memory;
        assert_true(before - opened >= stored);
        if (taken > (size_t)optimizer.bytes + frozen + stored / 4)
            fail_msg("%s: %zu bytes are taken, %lld for what is trained; %zu were stored", folders[i], taken,
                     (long long)optimizer.bytes, stored);
        optimizer_close(&optimizer);
        model_close(&model);
        device_close(&device);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_full_device),
        cmocka_unit_test(test_one_copy),
    };
    return cmocka_run_group_tests(tests, outputs_group_make, outputs_group_remove);
}
