/* Softmax over the vocabulary against double precision, on every instruction set. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tensor/float16.h"

enum { ROWS = 5, VOCAB = 1777 };

struct results {
    float logprob[ROWS], log_sum[ROWS], entropy[ROWS];
};

static float logits[ROWS * VOCAB];
static enum dtype dtype;
static float scale = 1; /* products with it are rounded to f32 */

static struct results run(struct bench *bench, const int32_t *target) {
    struct device *device = &bench->device;
    struct arena *arena = &bench->arena;
    struct arena_mark mark = arena_mark(arena);
    struct error err;
    struct results results;
    struct tensor x = tensor_cols(arena_tensor(arena, dtype, ROWS, VOCAB + 3), 1, VOCAB);
    convert(device, x, arena_upload(arena, DTYPE_F32, ROWS, VOCAB, logits));
    struct tensor logprob = arena_tensor(arena, DTYPE_F32, 1, ROWS), none = {0};
    struct tensor log_sum = arena_tensor(arena, DTYPE_F32, 1, ROWS);
    struct tensor entropy = arena_tensor(arena, DTYPE_F32, 1, ROWS);
    struct tensor targets = arena_upload(arena, DTYPE_I32, 1, ROWS, target);
    float alone[ROWS];
    logprob_forward(device, logprob, none, none, x, targets, scale);
    assert_int_equal(device_read(device, alone, logprob, &err), STATUS_OK);
    logprob_forward(device, logprob, log_sum, entropy, x, targets, scale);
    assert_int_equal(device_read(device, results.logprob, logprob, &err), STATUS_OK);
    assert_int_equal(device_read(device, results.log_sum, log_sum, &err), STATUS_OK);
    assert_int_equal(device_read(device, results.entropy, entropy, &err), STATUS_OK);
    assert_memory_equal(alone, results.logprob, sizeof alone);
    arena_release(arena, mark);
    return results;
}

static void check_close(float got, double want) {
    if (!(fabs((double)got - want) <= 2e-6 * (1 + fabs(want)))) fail_msg("%.8g, not %.8g", (double)got, want);
}

static void check_row(const float *logit, int32_t target, const struct results *results, int r) {
    static double x[VOCAB];
    for (int i = 0; i < VOCAB; i++) x[i] = (double)(scale * logit[i]);
    double largest = -INFINITY, sum = 0, entropy = 0;
    for (int i = 0; i < VOCAB; i++) largest = fmax(largest, x[i]);
    for (int i = 0; i < VOCAB; i++) sum += exp(x[i] - largest);
    double log_sum = largest + log(sum);
    for (int i = 0; i < VOCAB; i++) {
        double p = exp(x[i] - log_sum);
        if (p > 0) entropy -= p * (x[i] - log_sum);
    }
    check_close(results->logprob[r], target < 0 ? 0 : x[target] - log_sum);
    check_close(results->log_sum[r], log_sum);
    check_close(results->entropy[r], entropy);
}

static void fill(float size) {
    for (int i = 0; i < ROWS * VOCAB; i++) {
        struct random_key key = {.seed = 3, .position = (uint64_t)i};
        logits[i] = ((float)random_uniform(key) - 0.4f) * size;
        if (dtype == DTYPE_BF16) logits[i] = float_from_bf16(float_to_bf16(logits[i]));
    }
}

static void check_all(struct bench *bench) {
    static const int32_t target[ROWS] = {0, VOCAB - 1, -1, 777, 1};
    struct results results = run(bench, target);
    for (int r = 0; r < ROWS; r++) check_row(logits + r * VOCAB, target[r], &results, r);
}

static void equals_double(void **state) {
    (void)state;
    static const float sizes[] = {0.01f, 10, 60, 3000};
    for (size_t n = 0; n < 2 * sizeof sizes / sizeof sizes[0]; n++) {
        dtype = n % 2 ? DTYPE_BF16 : DTYPE_F32;
        fill(sizes[n / 2]);
        for (int i = 0; i < VOCAB; i++)
            logits[VOCAB + i] = (float)(i / 8) - 100; /* the largest comes last: every block rescales */
        for (int i = 0; i < 900; i++) logits[3 * VOCAB + i] = i == 777 ? 1 : -INFINITY;
        on_every_device(check_all);
    }
}

static void equals_double_at_other_temperatures(void **state) {
    (void)state;
    static const float scales[] = {0.5f, 1 / 0.7f, 20};
    dtype = DTYPE_F32;
    fill(60);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        scale = scales[i];
        on_every_device(check_all);
    }
    scale = 1;
}

static void check_not_numbers(struct bench *bench) {
    static const int32_t target[ROWS] = {0, 1, 2, 3, 4};
    struct results results = run(bench, target);
    for (int r = 0; r < 3; r++) assert_true(isnan(results.logprob[r]) && isnan(results.entropy[r]));
    assert_true(isnan(results.log_sum[0]) && isnan(results.log_sum[1]));
    assert_true(results.log_sum[2] == -INFINITY && results.logprob[3] == -INFINITY);
    check_row(logits + 4 * VOCAB, 4, &results, 4);
}

static void not_numbers_stay_in_their_rows(void **state) {
    (void)state;
    dtype = DTYPE_F32;
    fill(10);
    logits[1200] = NAN;
    logits[VOCAB + 1] = INFINITY;
    for (int i = 0; i < VOCAB; i++) logits[2 * VOCAB + i] = -INFINITY;
    logits[3 * VOCAB + 3] = -INFINITY;
    on_every_device(check_not_numbers);
}

static void a_target_out_of_range_fails_the_device(void **state) {
    (void)state;
    static const int32_t wrong[] = {-2, VOCAB, INT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct bench bench;
        struct error err;
        bench_open(&bench, "cpu");
        struct tensor x = arena_tensor(&bench.arena, DTYPE_F32, 2, VOCAB), none = {0};
        struct tensor logprob = arena_tensor(&bench.arena, DTYPE_F32, 1, 2);
        logprob_forward(&bench.device, logprob, none, none, x,
                        arena_upload(&bench.arena, DTYPE_I32, 1, 2, (const int32_t[]){0, wrong[i]}), 1);
        assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, "target"));
        bench_close(&bench);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_double),
        cmocka_unit_test(equals_double_at_other_temperatures),
        cmocka_unit_test(not_numbers_stay_in_their_rows),
        cmocka_unit_test(a_target_out_of_range_fails_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
