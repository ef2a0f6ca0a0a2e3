/* Norms, activations and rotary positions against plain loops in double. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/float16.h"

static const enum dtype floats[] = {DTYPE_F32, DTYPE_BF16};
static const int64_t shapes[][2] = {{0, 3}, {1, 1}, {2, 7}, {3, 33}, {5, 1100}, {33, 512}};
enum { CASES = 4 * sizeof shapes / sizeof shapes[0] };

/* A case: a shape and the types of input and output. */
struct layer_case {
    int64_t rows, cols, pad;
    enum dtype in, out;
};

static struct layer_case case_of(int choice) {
    const int64_t *shape = shapes[choice / 4];
    return (struct layer_case){shape[0], shape[1], choice % 3, floats[choice & 1], floats[choice >> 1 & 1]};
}

static double rounded(double value, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? float_from_bf16(float_to_bf16((float)value)) : value;
}

/* In bf16 a rounding inside may fall on the other side: one unit (2^-7) instead of half a one. */
static double inner_rounding(enum dtype in) {
    return in == DTYPE_BF16 ? 0x1p-7 : 0;
}

static void expected_rmsnorm(double *values, double *inverse, int64_t rows, int64_t cols,
                             const double *weight, double epsilon, enum dtype dtype) {
    for (int64_t r = 0; r < rows; r++) {
        double *row = values + r * cols, squares = 0;
        for (int64_t i = 0; i < cols; i++) squares += row[i] * row[i];
        inverse[r] = 1 / sqrt(squares / (double)cols + epsilon);
        for (int64_t i = 0; i < cols; i++) row[i] = rounded(row[i] * inverse[r], dtype) * weight[i];
    }
}

static void check_rmsnorm(struct bench *bench, struct layer_case c, bool keep) {
    struct tensor x = random_tensor(bench, c.in, c.rows, c.cols, c.pad, 3, 1);
    struct tensor weight = random_tensor(bench, DTYPE_F32, 1, c.cols, 0, 2, 2);
    struct tensor out = random_tensor(bench, c.out, c.rows, c.cols, 1, 1, 3);
    struct tensor inverse = keep ? arena_tensor(&bench->arena, DTYPE_F32, 1, c.rows) : (struct tensor){0};
    double *values = values_read(bench, x), *scale = values_read(bench, weight);
    double *inverses = malloc((size_t)(c.rows + 1) * sizeof *inverses);
    expected_rmsnorm(values, inverses, c.rows, c.cols, scale, 1e-3, c.in);
    rmsnorm_forward(&bench->device, out, inverse, x, weight, 1e-3f);
    assert_values(bench, out, values, 1e-6 + inner_rounding(c.in), 0);
    if (keep) assert_values(bench, inverse, inverses, 1e-6, 0);

    /* With an addition before: the sum is stored, and what was stored is normed. */
    struct tensor more = random_tensor(bench, c.out, c.rows, c.cols, 2, 3, 4);
    double *sum = values_read(bench, x), *terms = values_read(bench, more);
    for (int64_t i = 0; i < c.rows * c.cols; i++) sum[i] += terms[i];
    add_rmsnorm_forward(&bench->device, out, inverse, x, more, weight, 1e-3f);
    assert_values(bench, x, sum, 1e-7, 0);
    double *stored = values_read(bench, x);
    expected_rmsnorm(stored, inverses, c.rows, c.cols, scale, 1e-3, c.in);
    assert_values(bench, out, stored, 1e-6 + inner_rounding(c.in), 0);
    if (keep) assert_values(bench, inverse, inverses, 1e-6, 0);
    free(values), free(scale), free(inverses), free(sum), free(terms), free(stored);
}

static void rmsnorm_on(struct bench *bench) {
    for (int i = 0; i < (int)CASES; i++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        check_rmsnorm(bench, case_of(i), i % 2);
        arena_release(&bench->arena, mark);
    }
}

static void rmsnorm(void **state) {
    (void)state;
    on_every_device(rmsnorm_on);
}

static void check_activations(struct bench *bench, struct layer_case c) {
    struct tensor gate_up = random_tensor(bench, c.in, c.rows, 2 * c.cols, c.pad, 12, 1);
    struct tensor out = random_tensor(bench, c.out, c.rows, c.cols, 1, 1, 2);
    struct tensor wide = random_tensor(bench, c.out, c.rows, 2 * c.cols, 1, 1, 3);
    double *x = values_read(bench, gate_up);
    double *expected = malloc((size_t)(c.rows * c.cols + 1) * sizeof *expected);
    for (int64_t r = 0; r < c.rows; r++) {
        for (int64_t i = 0; i < c.cols; i++) {
            double gate = x[r * 2 * c.cols + i], up = x[r * 2 * c.cols + c.cols + i];
            expected[r * c.cols + i] = rounded(gate / (1 + exp(-gate)), c.in) * up;
        }
    }
    swiglu_forward(&bench->device, out, gate_up);
    assert_values(bench, out, expected, 1e-6 + inner_rounding(c.in), 1e-30);

    for (int64_t i = 0; i < c.rows * 2 * c.cols; i++) x[i] = x[i] / 2 * erfc(-x[i] * 0.70710678118654752440);
    gelu_forward(&bench->device, wide, gate_up);
    assert_values(bench, wide, x, 3e-7, 2e-6); /* the tail is a difference near zero */
    gelu_forward(&bench->device, gate_up, gate_up);
    assert_values(bench, gate_up, x, 3e-7, 2e-6);
    free(x), free(expected);
}

static void activations_on(struct bench *bench) {
    for (int i = 0; i < (int)CASES; i++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        check_activations(bench, case_of(i));
        arena_release(&bench->arena, mark);
    }
}

static void activations(void **state) {
    (void)state;
    on_every_device(activations_on);
}

/* mRoPE as in the model: a dimension of the head takes its angle from one of three axes. */
static void rotary_on(struct bench *bench) {
    enum { TOKENS = 70, HALF = 19, HEADS = 3, WIDTH = 2 * HALF * HEADS };
    int32_t positions[3 * TOKENS], axes[HALF];
    float frequencies[HALF];
    for (int i = 0; i < 3 * TOKENS; i++) positions[i] = i * 37 % 5000;
    for (int i = 0; i < HALF; i++) axes[i] = i % 3, frequencies[i] = powf(10000, -(float)i / HALF);
    double *cosines = malloc(sizeof *cosines * TOKENS * HALF), *sines = malloc(sizeof *sines * TOKENS * HALF);
    for (int t = 0; t < TOKENS; t++) {
        for (int i = 0; i < HALF; i++) {
            float angle = (float)positions[axes[i] * TOKENS + t] * frequencies[i];
            cosines[t * HALF + i] = cos((double)angle);
            sines[t * HALF + i] = sin((double)angle);
        }
    }
    struct tensor cosine = arena_tensor(&bench->arena, DTYPE_F32, TOKENS, HALF);
    struct tensor sine = arena_tensor(&bench->arena, DTYPE_F32, TOKENS, HALF);
    rope_table(&bench->device, cosine, sine, arena_upload(&bench->arena, DTYPE_I32, 3, TOKENS, positions),
               arena_upload(&bench->arena, DTYPE_I32, 1, HALF, axes),
               arena_upload(&bench->arena, DTYPE_F32, 1, HALF, frequencies));
    assert_values(bench, cosine, cosines, 1e-6, 1e-7);
    assert_values(bench, sine, sines, 1e-6, 1e-7);

    for (int type = 0; type < 2; type++) {
        struct tensor x = random_tensor(bench, floats[type], TOKENS, WIDTH, 5, 2, 1);
        double *before = values_read(bench, x), *turned = values_read(bench, x);
        for (int i = 0; i < TOKENS * HEADS * HALF; i++) {
            int t = i / (HEADS * HALF), head = i / HALF % HEADS, j = i % HALF;
            double *u = turned + (int64_t)t * WIDTH + head * 2 * HALF + j, *v = u + HALF;
            double c = cosines[t * HALF + j], s = sines[t * HALF + j], a = *u, b = *v;
            *u = a * c - b * s;
            *v = b * c + a * s;
        }
        rope_forward(&bench->device, x, cosine, sine, HEADS, false);
        assert_values(bench, x, turned, 1e-6, 1e-6);
        rope_forward(&bench->device, x, cosine, sine, HEADS, true);
        assert_values(bench, x, before, 1e-6, type ? 0.02 : 1e-6); /* two roundings to bf16 */
        free(before), free(turned);
    }
    free(cosines), free(sines);
}

static void rotary(void **state) {
    (void)state;
    on_every_device(rotary_on);
}

static void bad_axis_fails_the_device(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    struct tensor cosine = arena_tensor(&bench.arena, DTYPE_F32, 1, 1);
    struct tensor sine = arena_tensor(&bench.arena, DTYPE_F32, 1, 1);
    struct tensor position = arena_upload(&bench.arena, DTYPE_I32, 1, 1, (const int32_t[]){5});
    struct tensor axis = arena_upload(&bench.arena, DTYPE_I32, 1, 1, (const int32_t[]){1});
    rope_table(&bench.device, cosine, sine, position, axis, random_tensor(&bench, DTYPE_F32, 1, 1, 0, 1, 1));
    struct error err;
    assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "axis 1"));
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm),
        cmocka_unit_test(activations),
        cmocka_unit_test(rotary),
        cmocka_unit_test(bad_axis_fails_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
