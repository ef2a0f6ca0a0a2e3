/* The reference model: it stays where training began, or moves as TRL's does, and a moving one is part of the
 * run's tensors. */
#include "grpo/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"

static struct error err;

/* A run as far as its model. */
struct opened {
    struct train_config config;
    struct train_run run;
};

static void open_run(struct opened *opened, const char *bf16) {
    static char folder[] = "tests/golden/model/tied";
    const char *const words[] = {"stage=grpo",   "model_name_or_path=tests/golden/model/tied",
                                 "output_dir=x", "dataset=tests/golden/grpo/rows.jsonl",
                                 "device=cpu",   bf16};
    if (train_config_read(NULL, words, 6, &opened->config, &err)) fail_msg("%s", err.message);
    opened->run = (struct train_run){.config = &opened->config, .folder = folder};
    const struct freeze freeze = run_freeze(&opened->config);
    struct train_run *run = &opened->run;
    test_device_open("cpu", &run->device);
    assert_int_equal(
        optimizer_open_model(folder, &run->device, run_dtype(&opened->config), &freeze, &run->model, &err),
        STATUS_OK);
    assert_int_equal(optimizer_open(&run->optimizer, &run->model, &freeze, run_sharing(run), &err),
                     STATUS_OK);
}

static void close_run(struct opened *opened) {
    optimizer_close(&opened->run.optimizer);
    model_close(&opened->run.model);
    device_close(&opened->run.device);
    train_config_free(&opened->config);
}

/* The first weights of a trained parameter. */
enum { SEEN = 64 };
static void read_weights(struct device *device, const struct optimizer *optimizer, size_t number,
                         float *values) {
    struct tensor whole = optimizer->trained[number].parts[OPTIMIZER_WEIGHT];
    struct tensor piece = tensor_cols(tensor_reshape(whole, 1, whole.rows * whole.cols), 0, SEEN);
    piece.stride = SEEN;
    assert_int_equal(device_read(device, values, piece, &err), STATUS_OK);
}

static void write_weights(struct device *device, const struct optimizer *optimizer, size_t number,
                          const float *values) {
    struct tensor whole = optimizer->trained[number].parts[OPTIMIZER_WEIGHT];
    struct tensor piece = tensor_cols(tensor_reshape(whole, 1, whole.rows * whole.cols), 0, SEEN);
    piece.stride = SEEN;
    device_write(device, piece, values);
}

/* The first parameter, whose weights products do not take as they are, and the last of those with SEEN
 * weights. */
static void check_moves(const char *bf16) {
    struct opened opened;
    struct reference reference;
    open_run(&opened, bf16);
    struct train_run *run = &opened.run;
    assert_int_equal(reference_open(&reference, run, true, &err), STATUS_OK);
    assert_ptr_equal(run->tensors.reference, &reference.weights);
    assert_int_equal(reference.weights.count, run->optimizer.count);
    const double alpha = 0.25;
    for (size_t p = 0; p < run->optimizer.count; p++) {
        const struct parameter *parameter = run->optimizer.trained[p].parameter;
        float ours[SEEN], theirs[SEEN], mixed[SEEN];
        if (parameter->rows * parameter->cols < SEEN) continue;
        read_weights(&run->device, &run->optimizer, p, theirs);
        read_weights(&run->device, &reference.weights, p, ours);
        assert_memory_equal(ours, theirs, sizeof ours); /* both begin where the checkpoint is */
        for (int i = 0; i < SEEN; i++) theirs[i] += 1 + (float)i;
        write_weights(&run->device, &run->optimizer, p, theirs);
        assert_int_equal(reference_sync(&reference, &run->optimizer, alpha, &err), STATUS_OK);
        read_weights(&run->device, &reference.weights, p, mixed);
        for (int i = 0; i < SEEN; i++)
            assert_true(fabsf(mixed[i] - ((float)(1 - alpha) * ours[i] + (float)alpha * theirs[i])) < 1e-5f);
        struct tensor copy = reference.weights.trained[p].copy;
        if (copy.data) { /* what the model multiplies with has moved, too */
            float rounded[SEEN];
            struct tensor first = tensor_cols(tensor_reshape(copy, 1, copy.rows * copy.cols), 0, 1);
            uint16_t bits;
            assert_int_equal(device_read(&run->device, &bits, first, &err), STATUS_OK);
            uint32_t word = (uint32_t)bits << 16;
            memcpy(rounded, &word, sizeof word);
            assert_true(fabsf(rounded[0] - mixed[0]) <= fabsf(mixed[0]) / 128);
        }
        p += run->optimizer.count / 5;
    }
    reference_close(&reference);
    close_run(&opened);
}

static void test_moves(void **state) {
    (void)state;
    check_moves("bf16=false");
    check_moves("bf16=true");
}

static void test_stays(void **state) {
    (void)state;
    struct opened opened;
    struct reference reference = {0};
    reference_close(&reference); /* one that was never opened */
    open_run(&opened, "bf16=true");
    assert_int_equal(reference_open(&reference, &opened.run, false, &err), STATUS_OK);
    assert_non_null(reference.runner);
    assert_null(opened.run.tensors.reference);
    assert_null(reference.weights.model);
    reference_close(&reference);
    static char nowhere[] = "tests/golden/model/nowhere";
    opened.run.folder = nowhere;
    assert_int_equal(reference_open(&reference, &opened.run, true, &err), STATUS_FAILED);
    assert_null(reference.runner);
    assert_null(opened.run.tensors.reference);
    close_run(&opened);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
