/* The backward halves against their formulas in double, and against differences of the forward halves. */
#include "tests/tensor/support.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/float16.h"

static const enum dtype floats[] = {DTYPE_F32, DTYPE_BF16};
static const int64_t shapes[][2] = {{0, 3}, {1, 1}, {2, 7}, {3, 33}, {5, 1100}, {33, 512}, {300, 67}};
enum { CASES = 8 * sizeof shapes / sizeof shapes[0] };

/* A case: a shape, the types of input, gradient of the output and gradient of the input. */
struct backward_case {
    int64_t rows, cols, pad;
    enum dtype x, d_out, d_x;
};

static struct backward_case case_of(int choice) {
    const int64_t *shape = shapes[choice / 8];
    return (struct backward_case){
        shape[0], shape[1], choice % 3, floats[choice & 1], floats[choice >> 1 & 1], floats[choice >> 2 & 1]};
}

static void on_every_case(struct bench *bench, void (*check)(struct bench *, struct backward_case)) {
    for (int i = 0; i < (int)CASES; i++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        check(bench, case_of(i));
        arena_release(&bench->arena, mark);
    }
}

static double rounded(double value, enum dtype dtype) {
    return dtype == DTYPE_BF16 ? float_from_bf16(float_to_bf16((float)value)) : value;
}

static double *zeros(int64_t count) {
    double *x = calloc((size_t)count + 1, sizeof *x);
    assert_non_null(x);
    return x;
}

/* ---- RMSNorm ----------------------------------------------------------------------------------------- */

/* Adds the gradients to d_x and d_weight. */
static void expected_rmsnorm(struct backward_case c, const double *d_out, const double *x,
                             const double *weight, const double *inverse, double *d_x, double *d_weight) {
    for (int64_t r = 0; r < c.rows; r++) {
        const double *d = d_out + r * c.cols, *v = x + r * c.cols;
        double sum = 0;
        for (int64_t i = 0; i < c.cols; i++) sum += d[i] * weight[i] * v[i] * inverse[r];
        sum /= (double)c.cols;
        for (int64_t i = 0; i < c.cols; i++) {
            double normal = v[i] * inverse[r];
            d_x[r * c.cols + i] += inverse[r] * (d[i] * weight[i] - normal * sum);
            d_weight[i] += d[i] * rounded(normal, c.x);
        }
    }
}

static void check_rmsnorm(struct bench *bench, struct backward_case c) {
    struct device *device = &bench->device;
    struct tensor x = random_tensor(bench, c.x, c.rows, c.cols, c.pad, 3, 1);
    struct tensor weight = random_tensor(bench, DTYPE_F32, 1, c.cols, 0, 2, 2);
    struct tensor d_out = random_tensor(bench, c.d_out, c.rows, c.cols, 1, 1, 3);
    struct tensor d_x = random_tensor(bench, c.d_x, c.rows, c.cols, 2, 1, 4);
    struct tensor d_weight = random_tensor(bench, DTYPE_F32, 1, c.cols, 0, 1, 5), none = {0};
    struct tensor inverse = arena_tensor(&bench->arena, DTYPE_F32, 1, c.rows);
    struct tensor out = arena_tensor(&bench->arena, DTYPE_F32, c.rows, c.cols);
    struct tensor again = arena_tensor(&bench->arena, c.d_x, c.rows, c.cols);
    convert(device, again, d_x);
    rmsnorm_forward(device, out, inverse, x, weight, 1e-3f);

    double *values = values_read(bench, x), *scale = values_read(bench, weight);
    double *inverses = values_read(bench, inverse), *d = values_read(bench, d_out);
    double *want = values_read(bench, d_x), *want_weight = values_read(bench, d_weight);
    expected_rmsnorm(c, d, values, scale, inverses, want, want_weight);
    rmsnorm_backward(device, d_x, d_weight, d_out, x, weight, inverse);
    assert_values(bench, d_x, want, 2e-6, 5e-6);
    /* A value between two of bf16 may be rounded to the other one than in double. */
    assert_values(bench, d_weight, want_weight, 1e-6,
                  (c.x == DTYPE_BF16 ? 0x1p-6 : 1e-6) * sqrt((double)c.rows));
    rmsnorm_backward(device, again, none, d_out, x, weight, inverse);
    assert_same_bits(bench, again, d_x);
    free(values), free(scale), free(inverses), free(d), free(want), free(want_weight);
}

static void rmsnorm_on(struct bench *bench) {
    on_every_case(bench, check_rmsnorm);
}

static void rmsnorm(void **state) {
    (void)state;
    on_every_device(rmsnorm_on);
}

/* ---- Activations ------------------------------------------------------------------------------------- */

static void check_swiglu(struct bench *bench, struct backward_case c) {
    struct tensor gate_up = random_tensor(bench, c.x, c.rows, 2 * c.cols, c.pad, 12, 1);
    struct tensor d_out = random_tensor(bench, c.d_out, c.rows, c.cols, 1, 1, 2);
    struct tensor d_gate_up = random_tensor(bench, c.d_x, c.rows, 2 * c.cols, 2, 1, 3);
    double *x = values_read(bench, gate_up), *d = values_read(bench, d_out);
    double *want = zeros(c.rows * 2 * c.cols);
    for (int64_t r = 0; r < c.rows; r++) {
        for (int64_t i = 0; i < c.cols; i++) {
            double gate = x[r * 2 * c.cols + i], up = x[r * 2 * c.cols + c.cols + i];
            double sigmoid = 1 / (1 + exp(-gate)), slope = sigmoid * (1 + gate * (1 - sigmoid));
            want[r * 2 * c.cols + i] = d[r * c.cols + i] * up * slope;
            want[r * 2 * c.cols + c.cols + i] = d[r * c.cols + i] * rounded(gate * sigmoid, c.x);
        }
    }
    swiglu_backward(&bench->device, d_gate_up, d_out, gate_up);
    double inner = c.x == DTYPE_BF16 ? 0x1p-7 : 0; /* a rounding inside may fall on the other side */
    assert_values(bench, d_gate_up, want, 1e-6 + inner, 2e-6);
    struct tensor copy = arena_tensor(&bench->arena, c.d_x, c.rows, 2 * c.cols);
    convert(&bench->device, copy, d_gate_up);
    swiglu_backward(&bench->device, gate_up, d_out, gate_up);
    if (c.x == c.d_x) assert_same_bits(bench, gate_up, copy);
    free(x), free(d), free(want);
}

static void check_gelu(struct bench *bench, struct backward_case c) {
    struct tensor x = random_tensor(bench, c.x, c.rows, c.cols, c.pad, 6, 1);
    struct tensor d_out = random_tensor(bench, c.d_out, c.rows, c.cols, 1, 1, 2);
    struct tensor d_x = random_tensor(bench, c.d_x, c.rows, c.cols, 2, 1, 3);
    double *values = values_read(bench, x), *d = values_read(bench, d_out);
    double *want = zeros(c.rows * c.cols);
    for (int64_t i = 0; i < c.rows * c.cols; i++) {
        double v = values[i], density = exp(-v * v / 2) * 0.39894228040143267794;
        want[i] = d[i] * (erfc(-v * 0.70710678118654752440) / 2 + v * density);
    }
    gelu_backward(&bench->device, d_x, d_out, x);
    assert_values(bench, d_x, want, 1e-6, 5e-7);
    struct tensor copy = arena_tensor(&bench->arena, c.d_x, c.rows, c.cols);
    convert(&bench->device, copy, d_x);
    gelu_backward(&bench->device, d_out, d_out, x);
    if (c.d_out == c.d_x) assert_same_bits(bench, d_out, copy);
    free(values), free(d), free(want);
}

static void activations_on(struct bench *bench) {
    on_every_case(bench, check_swiglu);
    on_every_case(bench, check_gelu);
}

static void activations(void **state) {
    (void)state;
    on_every_device(activations_on);
}

/* ---- Softmax over the vocabulary --------------------------------------------------------------------- */

/* Adds the gradient of d_logprob * logprob + d_entropy * entropy of softmax(scale * x) to d_x. */
static void expected_logprob(const double *x, double scale, int64_t cols, int64_t target, double d_logprob,
                             double d_entropy, double *d_x) {
    double sum = 0, entropy = 0;
    for (int64_t i = 0; i < cols; i++) sum += exp(scale * x[i]);
    for (int64_t i = 0; i < cols; i++) entropy -= exp(scale * x[i]) / sum * (scale * x[i] - log(sum));
    for (int64_t i = 0; i < cols && target >= 0; i++) {
        double p = exp(scale * x[i]) / sum;
        d_x[i] += scale * (d_logprob * ((i == target) - p) - d_entropy * p * (log(p) + entropy));
    }
}

/* With an entropy's share, or without. */
static void check_logprob_with(struct bench *bench, struct backward_case c, float scale, bool bends) {
    struct arena *arena = &bench->arena;
    struct tensor logits = random_tensor(bench, c.x, c.rows, c.cols, c.pad, 8, 1), none = {0};
    struct tensor d_logits = random_tensor(bench, c.d_x, c.rows, c.cols, 1, 1, 2);
    struct tensor factor = random_tensor(bench, DTYPE_F32, 1, c.rows, 0, 3, 3);
    struct tensor bend = random_tensor(bench, DTYPE_F32, 1, c.rows, 0, 3, 4);
    struct tensor log_sum = arena_tensor(arena, DTYPE_F32, 1, c.rows);
    struct tensor logprob = arena_tensor(arena, DTYPE_F32, 1, c.rows);
    struct tensor entropy = arena_tensor(arena, DTYPE_F32, 1, c.rows);
    int32_t targets[301];
    for (int64_t r = 0; r < c.rows; r++) targets[r] = (int32_t)(r * 31 % (c.cols + 1)) - 1;
    struct tensor target = arena_upload(arena, DTYPE_I32, 1, c.rows, targets);
    logprob_forward(&bench->device, logprob, log_sum, entropy, logits, target, scale);
    double *x = values_read(bench, logits), *f = values_read(bench, factor), *b = values_read(bench, bend);
    double *want = zeros(c.rows * c.cols);
    for (int64_t r = 0; r < c.rows; r++)
        expected_logprob(x + r * c.cols, (double)scale, c.cols, targets[r], f[r], bends ? b[r] : 0,
                         want + r * c.cols);
    logprob_backward(&bench->device, d_logits, factor, bends ? bend : none, logits, log_sum,
                     bends ? entropy : none, target, scale);
    assert_values(bench, d_logits, want, 3e-6, bends ? 4e-6 : 1e-6);
    struct tensor copy = arena_tensor(arena, c.d_x, c.rows, c.cols);
    convert(&bench->device, copy, d_logits);
    logprob_backward(&bench->device, logits, factor, bends ? bend : none, logits, log_sum, entropy, target,
                     scale);
    if (c.x == c.d_x) assert_same_bits(bench, logits, copy);
    free(x), free(f), free(b), free(want);
}

static void check_logprob(struct bench *bench, struct backward_case c) {
    check_logprob_with(bench, c, 1, false);
    check_logprob_with(bench, c, 0.7f, false);
    check_logprob_with(bench, c, 1.25f, true);
}

static void logprobs_on(struct bench *bench) {
    on_every_case(bench, check_logprob);
}

static void logprobs(void **state) {
    (void)state;
    on_every_device(logprobs_on);
}

/* ---- Sums -------------------------------------------------------------------------------------------- */

static void check_sums(struct bench *bench, struct backward_case c) {
    struct tensor x = random_tensor(bench, c.x, c.rows, c.cols, c.pad, 1, 1);
    struct tensor out = random_tensor(bench, DTYPE_F32, 1, c.cols, 0, 1, 2);
    double *values = values_read(bench, x), *want = values_read(bench, out);
    for (int64_t i = 0; i < c.rows * c.cols; i++) want[i % c.cols] += values[i];
    sum_rows(&bench->device, out, x);
    assert_values(bench, out, want, 1e-6, 1e-6 * sqrt((double)c.rows));

    /* Rows of a table that are added to more than once, and some that are left out. */
    enum { TABLE = 5 };
    int32_t indices[301];
    for (int64_t r = 0; r < c.rows; r++) indices[r] = (int32_t)(r * 5 % (TABLE + 1)) - 1;
    struct tensor index = arena_upload(&bench->arena, DTYPE_I32, 1, c.rows, indices);
    struct tensor table = random_tensor(bench, DTYPE_F32, TABLE, c.cols, 3, 1, 3);
    double *sums = values_read(bench, table);
    for (int64_t i = 0; i < c.rows * c.cols; i++)
        if (indices[i / c.cols] >= 0) sums[indices[i / c.cols] * c.cols + i % c.cols] += values[i];
    scatter_add_rows(&bench->device, table, x, index);
    assert_values(bench, table, sums, 1e-6, 1e-6 * sqrt((double)c.rows));

    struct tensor all = tensor_cols(random_tensor(bench, c.x, c.rows, c.cols + 4, 0, 1, 4), 2, c.cols);
    double *kept = zeros(c.rows * c.cols);
    clear(&bench->device, all);
    assert_values(bench, all, kept, 0, 0);
    free(values), free(want), free(sums), free(kept);
}

static void sums_on(struct bench *bench) {
    on_every_case(bench, check_sums);
    /* What lies beside a view stays. */
    struct tensor whole = random_tensor(bench, DTYPE_F32, 3, 5, 0, 1, 1);
    double *want = values_read(bench, whole);
    for (int i = 0; i < 15; i++) want[i] = i % 5 >= 1 && i % 5 <= 3 ? 0 : want[i];
    clear(&bench->device, tensor_cols(whole, 1, 3));
    assert_values(bench, whole, want, 0, 0);
    free(want);
}

static void sums(void **state) {
    (void)state;
    on_every_device(sums_on);
}

/* ---- Differences of the forward halves --------------------------------------------------------------- */

enum { ROWS = 3, COLS = 11, COUNT = ROWS * COLS };

/* The forward halves as functions of one f32 input [ROWS, COLS]; out: f32. */
static void forward_rmsnorm(struct bench *bench, struct tensor out, struct tensor x) {
    struct tensor weight = random_tensor(bench, DTYPE_F32, 1, COLS, 0, 2, 9), none = {0};
    rmsnorm_forward(&bench->device, out, none, x, weight, 1e-2f);
}
static void backward_rmsnorm(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x) {
    struct tensor weight = random_tensor(bench, DTYPE_F32, 1, COLS, 0, 2, 9), none = {0};
    struct tensor out = arena_tensor(&bench->arena, DTYPE_F32, ROWS, COLS);
    struct tensor inverse = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    rmsnorm_forward(&bench->device, out, inverse, x, weight, 1e-2f);
    rmsnorm_backward(&bench->device, d_x, none, d_out, x, weight, inverse);
}
static void forward_gelu(struct bench *bench, struct tensor out, struct tensor x) {
    gelu_forward(&bench->device, out, x);
}
static void backward_gelu(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x) {
    gelu_backward(&bench->device, d_x, d_out, x);
}
/* x is the gate, or the other factor. */
static void forward_swiglu(struct bench *bench, struct tensor out, struct tensor x, bool gate) {
    struct tensor both = random_tensor(bench, DTYPE_F32, ROWS, 2 * COLS, 0, 2, 8);
    convert(&bench->device, tensor_cols(both, gate ? 0 : COLS, COLS), x);
    swiglu_forward(&bench->device, out, both);
}
static void backward_swiglu(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x,
                            bool gate) {
    struct tensor both = random_tensor(bench, DTYPE_F32, ROWS, 2 * COLS, 0, 2, 8);
    convert(&bench->device, tensor_cols(both, gate ? 0 : COLS, COLS), x);
    swiglu_backward(&bench->device, both, d_out, both);
    convert(&bench->device, d_x, tensor_cols(both, gate ? 0 : COLS, COLS));
}
static void forward_gate(struct bench *bench, struct tensor out, struct tensor x) {
    forward_swiglu(bench, out, x, true);
}
static void backward_gate(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x) {
    backward_swiglu(bench, d_x, d_out, x, true);
}
static void forward_up(struct bench *bench, struct tensor out, struct tensor x) {
    forward_swiglu(bench, out, x, false);
}
static void backward_up(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x) {
    backward_swiglu(bench, d_x, d_out, x, false);
}
/* The first column of out is the log-probability, the second the entropy, the others are zero. */
static const int32_t few_targets[ROWS] = {4, -1, 10};
static void forward_logprob(struct bench *bench, struct tensor out, struct tensor x) {
    struct tensor target = arena_upload(&bench->arena, DTYPE_I32, 1, ROWS, few_targets), none = {0};
    struct tensor logprob = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    struct tensor entropy = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    logprob_forward(&bench->device, logprob, none, entropy, x, target, 0.8f);
    clear(&bench->device, out);
    convert(&bench->device, tensor_cols(out, 0, 1), tensor_reshape(logprob, ROWS, 1));
    convert(&bench->device, tensor_cols(out, 1, 1), tensor_reshape(entropy, ROWS, 1));
    clear(&bench->device, tensor_rows(out, 1, 1)); /* no target */
}
static void backward_logprob(struct bench *bench, struct tensor d_x, struct tensor d_out, struct tensor x) {
    struct tensor target = arena_upload(&bench->arena, DTYPE_I32, 1, ROWS, few_targets);
    struct tensor logprob = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    struct tensor log_sum = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    struct tensor entropy = arena_tensor(&bench->arena, DTYPE_F32, 1, ROWS);
    struct tensor d_logprob = arena_tensor(&bench->arena, DTYPE_F32, ROWS, 1);
    struct tensor d_entropy = arena_tensor(&bench->arena, DTYPE_F32, ROWS, 1);
    logprob_forward(&bench->device, logprob, log_sum, entropy, x, target, 0.8f);
    convert(&bench->device, d_logprob, tensor_cols(d_out, 0, 1));
    convert(&bench->device, d_entropy, tensor_cols(d_out, 1, 1));
    logprob_backward(&bench->device, d_x, tensor_reshape(d_logprob, 1, ROWS),
                     tensor_reshape(d_entropy, 1, ROWS), x, log_sum, entropy, target, 0.8f);
}

static const struct {
    void (*forward)(struct bench *, struct tensor out, struct tensor x);
    void (*backward)(struct bench *, struct tensor d_x, struct tensor d_out, struct tensor x);
} pairs[] = {{forward_rmsnorm, backward_rmsnorm},
             {forward_gelu, backward_gelu},
             {forward_gate, backward_gate},
             {forward_up, backward_up},
             {forward_logprob, backward_logprob}};

/* The sum of out * d_out with `step` added to one element of x. */
static double weighed(struct bench *bench, int pair, int element, float step, const double *d_out) {
    struct tensor x = random_tensor(bench, DTYPE_F32, ROWS, COLS, 0, 2, 1);
    struct tensor out = arena_tensor(&bench->arena, DTYPE_F32, ROWS, COLS);
    struct tensor one = tensor_cols(tensor_rows(x, element / COLS, 1), element % COLS, 1);
    add(&bench->device, one, arena_upload(&bench->arena, DTYPE_F32, 1, 1, &step));
    pairs[pair].forward(bench, out, x);
    double *values = values_read(bench, out), sum = 0;
    for (int i = 0; i < COUNT; i++) sum += values[i] * d_out[i];
    free(values);
    return sum;
}

static void differences_on(struct bench *bench) {
    const float step = 0x1p-6f;
    for (int pair = 0; pair < (int)(sizeof pairs / sizeof pairs[0]); pair++) {
        struct arena_mark mark = arena_mark(&bench->arena);
        struct tensor x = random_tensor(bench, DTYPE_F32, ROWS, COLS, 0, 2, 1);
        struct tensor d_out = random_tensor(bench, DTYPE_F32, ROWS, COLS, 0, 1, 2);
        struct tensor d_x = arena_tensor(&bench->arena, DTYPE_F32, ROWS, COLS);
        pairs[pair].backward(bench, d_x, d_out, x);
        double *d = values_read(bench, d_out), *got = values_read(bench, d_x);
        for (int i = 0; i < COUNT; i++) {
            struct arena_mark inner = arena_mark(&bench->arena);
            double slope =
                (weighed(bench, pair, i, step, d) - weighed(bench, pair, i, -step, d)) / (2 * (double)step);
            if (!(fabs(slope - got[i]) <= 5e-4))
                fail_msg("pair %d, element %d: %g, not %g", pair, i, got[i], slope);
            arena_release(&bench->arena, inner);
        }
        free(d), free(got);
        arena_release(&bench->arena, mark);
    }
}

static void differences(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    differences_on(&bench);
    bench_close(&bench);
}

/* ---- Bits and faults --------------------------------------------------------------------------------- */

static void threads_change_nothing(void **state) {
    (void)state;
    if (!on_own_device()) skip();
    enum { TOKENS = 999, WIDTH = 700 };
    int threads = omp_get_max_threads();
    struct bench bench;
    bench_open(&bench, "cpu");
    struct tensor x = random_tensor(&bench, DTYPE_BF16, TOKENS, WIDTH, 3, 1, 1);
    struct tensor d_out = random_tensor(&bench, DTYPE_F32, TOKENS, WIDTH, 0, 1, 2);
    struct tensor weight = random_tensor(&bench, DTYPE_F32, 1, WIDTH, 0, 1, 3);
    struct tensor inverse = random_tensor(&bench, DTYPE_F32, 1, TOKENS, 0, 1, 4);
    int32_t indices[TOKENS];
    for (int i = 0; i < TOKENS; i++) indices[i] = i * 7 % 11;
    struct tensor index = arena_upload(&bench.arena, DTYPE_I32, 1, TOKENS, indices);
    struct tensor first[4];
    static const int counts[] = {1, 2, 3, 7, 24};
    for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
        omp_set_num_threads(counts[n]);
        struct tensor results[4] = {arena_tensor(&bench.arena, DTYPE_F32, TOKENS, WIDTH),
                                    arena_tensor(&bench.arena, DTYPE_F32, 1, WIDTH),
                                    arena_tensor(&bench.arena, DTYPE_F32, 1, WIDTH),
                                    arena_tensor(&bench.arena, DTYPE_F32, 11, WIDTH)};
        rmsnorm_backward(&bench.device, results[0], results[1], d_out, x, weight, inverse);
        sum_rows(&bench.device, results[2], x);
        scatter_add_rows(&bench.device, results[3], d_out, index);
        for (int i = 0; i < 4; i++) {
            if (n == 0) first[i] = results[i];
            assert_same_bits(&bench, results[i], first[i]);
        }
    }
    omp_set_num_threads(threads);
    bench_close(&bench);
}

static void expect_failure(struct bench *bench, const char *what) {
    struct error err;
    assert_int_equal(device_synchronize(&bench->device, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, what));
    bench_close(bench);
}

static void bad_indices_fail_the_device(void **state) {
    (void)state;
    static const int32_t wrong[] = {-2, 4, INT32_MAX};
    for (int i = 0; i < 6; i++) {
        struct bench bench;
        const char *kind = i & 1 ? "guard" : "cpu";
        bench_open(&bench, kind);
        struct tensor table = random_tensor(&bench, DTYPE_F32, 4, 3, 0, 1, 1);
        struct tensor x = random_tensor(&bench, DTYPE_F32, 1, 3, 0, 1, 2);
        struct tensor index = arena_upload(&bench.arena, DTYPE_I32, 1, 1, &wrong[i / 2]);
        scatter_add_rows(&bench.device, table, x, index);
        expect_failure(&bench, "scatter_add_rows: index 0");
        bench_open(&bench, kind);
        x = random_tensor(&bench, DTYPE_F32, 1, 4, 0, 1, 1);
        struct tensor one = random_tensor(&bench, DTYPE_F32, 1, 1, 0, 1, 2);
        index = arena_upload(&bench.arena, DTYPE_I32, 1, 1, &wrong[i / 2]);
        logprob_backward(&bench.device, x, one, (struct tensor){0}, x, one, one, index, 1);
        expect_failure(&bench, "logprob_backward: target");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm),
        cmocka_unit_test(activations),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(sums),
        cmocka_unit_test(differences),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(bad_indices_fail_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
