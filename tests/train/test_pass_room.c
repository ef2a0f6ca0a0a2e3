/* What the largest pass is said to take is what such a pass takes, to the byte, without memory of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"
#include "tests/emulator/hooks.h"
#include "tests/model/support_training.h"
#include "train/pass_room.h"

/* A sequence of so many tokens: one, a video of ROWS by COLS pads, and the rest. */
enum { SEQUENCES = 2, TOKENS = 60, ROWS = 7, COLS = 8, COMPLETIONS = 3, SPOKEN = 5 };

static struct error err;

struct fixture {
    struct golden_model opened;
    struct gradients gradients;
    struct pass_runner *runner;
    int32_t tokens[TOKENS], labels[TOKENS], spoken[SPOKEN];
    struct visual_grid grid;
    float *patches;
};

static bool all_but_vision(const char *name) {
    return strncmp(name, "model.visual.", 13) != 0;
}

static void open_fixture(struct fixture *f, enum dtype compute, bool sees, bool recomputes) {
    *f = (struct fixture){0};
    golden_model_open(&f->opened, "tied", test_device("cpu"), compute);
    f->opened.model.stream = DTYPE_F32;
    f->gradients = gradients_make(&f->opened, sees ? NULL : all_but_vision);
    const struct pass_settings settings = {
        .model = &f->opened.model, .gradients = &f->gradients.model, .recompute = recomputes};
    f->runner = pass_runner_new(&settings, &err);
    const struct vision_config *vision = &f->opened.model.config.vision;
    f->grid = (struct visual_grid){.t = 1, .h = ROWS * vision->merge, .w = COLS * vision->merge};
    f->patches =
        calloc((size_t)(f->grid.h * f->grid.w * f->opened.model.vision.patch_embed.cols), sizeof *f->patches);
    assert_non_null(f->runner);
    assert_non_null(f->patches);
    for (int i = 1; i <= ROWS * COLS; i++) f->tokens[i] = f->opened.model.config.video_token;
}

static void close_fixture(struct fixture *f) {
    free(f->patches);
    pass_runner_free(f->runner);
    gradients_free(&f->gradients);
    golden_model_close(&f->opened);
}

static size_t counted(const struct fixture *f, struct pass_size size, bool backward) {
    size_t bytes = 0;
    int64_t before = emulator_counted(EMULATOR_ALLOCATIONS);
    enum status status = pass_count_bytes(f->runner, size, backward, &bytes, &err);
    if (status != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(emulator_counted(EMULATOR_ALLOCATIONS), before);
    return bytes;
}

static enum status derive(void *context, const float *logprob, const float *entropy, float *d_logprob,
                          float *d_entropy, struct error *error) {
    (void)context, (void)logprob, (void)entropy, (void)d_logprob, (void)d_entropy, (void)error;
    return STATUS_OK;
}

static void run_samples(struct fixture *f, struct pass_visuals visuals, bool backward) {
    struct pass_sample samples[SEQUENCES];
    double sums[SEQUENCES];
    for (int s = 0; s < SEQUENCES; s++)
        samples[s] = (struct pass_sample){TOKENS, f->tokens, f->labels, visuals, 1};
    if (pass_run(f->runner, samples, SEQUENCES, backward, sums, &err)) fail_msg("%s", err.message);
}

static void run_groups(struct fixture *f, struct pass_visuals visuals, bool backward) {
    const struct pass_loss loss = {derive, NULL, .reads_entropy = true, .derives_entropy = true};
    const struct pass_reading how = {.temperature = 1};
    struct pass_completion completions[COMPLETIONS];
    struct pass_group groups[SEQUENCES];
    float values[2][SEQUENCES * COMPLETIONS * SPOKEN];
    for (int c = 0; c < COMPLETIONS; c++) completions[c] = (struct pass_completion){f->spoken, SPOKEN};
    for (int s = 0; s < SEQUENCES; s++)
        groups[s] = (struct pass_group){f->tokens, TOKENS, visuals, completions, COMPLETIONS};
    enum status status =
        backward ? pass_groups_train(f->runner, groups, SEQUENCES, how, &loss, &err)
                 : pass_groups_read(f->runner, groups, SEQUENCES, how, values[0], values[1], &err);
    if (status) fail_msg("%s", err.message);
}

static void check(enum dtype compute, bool sees, bool recomputes, bool of_groups, bool backward) {
    struct fixture f;
    open_fixture(&f, compute, sees, recomputes);
    const float *patches = f.patches;
    const struct pass_visuals visuals = {.count = 1, .grids = &f.grid, .patches = &patches};
    struct pass_size size = {.sequences = SEQUENCES, .tokens = TOKENS, .patches = 4 * ROWS * COLS};
    if (of_groups) size.completions = COMPLETIONS, size.completion_tokens = SPOKEN;
    size_t expected = counted(&f, size, backward);
    assert_int_equal(pass_statistics(f.runner).activation_peak, 0);
    if (of_groups)
        run_groups(&f, visuals, backward);
    else
        run_samples(&f, visuals, backward);
    size_t taken = pass_statistics(f.runner).activation_peak;
    if (taken != expected)
        fail_msg("%s%s%s%s: %zu bytes were taken, %zu counted", of_groups ? "groups" : "samples",
                 sees ? " through a trained tower" : "", recomputes ? ", computed again" : "",
                 backward ? ", backward" : "", taken, expected);
    close_fixture(&f);
}

static void test_every_pass(void **state) {
    (void)state;
    for (int i = 0; i < 32; i++) check(i & 1 ? DTYPE_BF16 : DTYPE_F32, i & 2, i & 4, i & 8, i & 16);
}

/* What is counted is taken at once, and a pass of that size takes no more. */
static void test_reserved(void **state) {
    (void)state;
    struct fixture f;
    bool there = false;
    open_fixture(&f, DTYPE_F32, true, true);
    const struct pass_size size = {.sequences = SEQUENCES, .tokens = TOKENS, .patches = 4 * ROWS * COLS};
    const float *patches = f.patches;
    const struct pass_visuals visuals = {.count = 1, .grids = &f.grid, .patches = &patches};
    assert_int_equal(pass_reserve(f.runner, size, 1 << 20, &there, &err), STATUS_OK);
    assert_true(there);
    if (device_describe(&f.opened.device).own_memory) {
        run_samples(&f, visuals, true); /* also what operations work in */
        int64_t before = emulator_counted(EMULATOR_ALLOCATIONS);
        run_samples(&f, visuals, true);
        assert_int_equal(emulator_counted(EMULATOR_ALLOCATIONS), before);
    }
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_pass), cmocka_unit_test(test_reserved)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
