/* Which tables of attention go through cuDNN, and what becomes of its failures, on the emulated device, whose
 * cuDNN counts what it runs. That the values are right test_attention shows, on every device. */
#include "tests/tensor/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/emulator/hooks.h"

struct shape {
    int heads, kv_heads, head_dim;
    enum dtype dtype;
    int offset; /* columns that q, k, v and out begin after */
    bool log_sum;
};

static const struct shape usual = {4, 2, 80, DTYPE_BF16, 0, true};

enum { ROWS = 96 };

static struct tensor columns(struct bench *bench, const struct shape *s, int heads, uint64_t seed) {
    int64_t cols = (int64_t)heads * s->head_dim;
    struct tensor t = random_tensor(bench, s->dtype, ROWS, cols + s->offset, 8, 1, seed);
    return tensor_cols(t, s->offset, cols);
}

/* out, then log_sum, as doubles; free() them. */
static void attend(struct bench *bench, const struct shape *s, const struct attention_segment *segments,
                   int64_t count, double **out, double **log_sum) {
    struct tensor q = columns(bench, s, s->heads, 1), k = columns(bench, s, s->kv_heads, 2);
    struct tensor v = columns(bench, s, s->kv_heads, 3), to = columns(bench, s, s->heads, 4);
    struct tensor sums = random_tensor(bench, DTYPE_F32, ROWS, s->heads, 3, 1, 5);
    attention_forward(&bench->device, to, s->log_sum ? sums : (struct tensor){0}, q, k, v,
                      (struct attention_segments){segments, count}, s->heads, s->kv_heads, 0.125f);
    *out = values_read(bench, to);
    *log_sum = values_read(bench, sums);
}

static void assert_close(const double *got, const double *want, int64_t count, double close) {
    for (int64_t i = 0; i < count; i++)
        if (got[i] != want[i] && !(fabs(got[i] - want[i]) <= close * (0.3 + fabs(want[i]))))
            fail_msg("value %d: %g, not %g", (int)i, got[i], want[i]);
}

/* How often cuDNN is asked; what comes out is what the CPU has. */
static int asked(const struct shape *s, const struct attention_segment *segments, int64_t count) {
    const char *const kinds[2] = {"cpu", "emulated"};
    double *out[2], *log_sum[2];
    int before = emulator_attentions();
    for (int i = 0; i < 2; i++) {
        struct bench bench;
        bench_open(&bench, kinds[i]);
        attend(&bench, s, segments, count, &out[i], &log_sum[i]);
        bench_close(&bench);
    }
    assert_close(out[1], out[0], (int64_t)ROWS * s->heads * s->head_dim, 0x1p-7);
    assert_close(log_sum[1], log_sum[0], (int64_t)ROWS * s->heads, 1e-5);
    for (int i = 0; i < 2; i++) {
        free(out[i]);
        free(log_sum[i]);
    }
    return emulator_attentions() - before;
}

static const struct attention_segment windows[3] = {{.query = 2, .queries = 16, .key = 5, .keys = 16},
                                                    {.query = 18, .queries = 8, .key = 21, .keys = 9},
                                                    {.query = 26, .queries = 65, .key = 30, .keys = 66}};

static void tables_that_fit(void **state) {
    (void)state;
    static const struct attention_segment frames[2] = {{.queries = 48, .keys = 48},
                                                       {.query = 48, .queries = 48, .key = 48, .keys = 48}};
    struct shape s = usual;
    assert_int_equal(asked(&s, windows, 3), 1);
    assert_int_equal(asked(&s, frames, 2), 1);
    assert_int_equal(asked(&s, frames, 1), 1);
    s.log_sum = false;
    assert_int_equal(asked(&s, windows, 3), 1);
    s = usual, s.head_dim = 128, s.offset = 8;
    assert_int_equal(asked(&s, windows, 3), 1);
    s.head_dim = 8, s.heads = s.kv_heads = 1;
    assert_int_equal(asked(&s, windows, 3), 1);
}

static void segments_that_do_not_fit(void **state) {
    (void)state;
    static const struct attention_segment others[][2] = {
        {{.queries = 8, .keys = 8, .causal = true}, {.query = 8, .queries = 8, .key = 8, .keys = 8}},
        {{.queries = 8, .keys = 8}, {.query = 8, .queries = 8, .key = 8, .keys = 8, .causal = true}},
        {{.queries = 8, .key = 20, .keys = 8, .prefix_keys = 4},
         {.query = 8, .queries = 8, .key = 28, .keys = 8}},
        {{.queries = 8, .keys = 8}, {.query = 9, .queries = 8, .key = 8, .keys = 8}},
        {{.queries = 8, .keys = 8}, {.query = 8, .queries = 8, .key = 7, .keys = 8}},
        {{.queries = 8, .keys = 8}, {.query = 8, .queries = 8, .key = 8}},
        {{.queries = 8, .keys = 8}, {.query = 8, .key = 8, .keys = 8}},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(asked(&usual, others[i], 2), 0);
    assert_int_equal(asked(&usual, NULL, 0), 0);
}

static void tensors_that_do_not_fit(void **state) {
    (void)state;
    struct shape s = usual;
    s.dtype = DTYPE_F32;
    assert_int_equal(asked(&s, windows, 3), 0);
    s = usual, s.offset = 4; /* aligned to 8 bytes */
    assert_int_equal(asked(&s, windows, 3), 0);
    s = usual, s.head_dim = 20;
    assert_int_equal(asked(&s, windows, 3), 0);
    s.head_dim = 136;
    assert_int_equal(asked(&s, windows, 3), 0);
}

/* Calls that can fail in an operation over the first `count` windows. */
static int calls_of(struct bench *bench, const struct shape *s, int64_t count) {
    double *out, *log_sum;
    struct arena_mark mark = arena_mark(&bench->arena);
    struct tensor q = columns(bench, s, s->heads, 1), k = columns(bench, s, s->kv_heads, 2);
    emulator_fail_call(0);
    attention_forward(&bench->device, q, (struct tensor){0}, q, k, k,
                      (struct attention_segments){windows, count}, s->heads, s->kv_heads, 1);
    int calls = emulator_fail_call(0);
    attend(bench, s, windows, count, &out, &log_sum);
    free(out);
    free(log_sum);
    arena_release(&bench->arena, mark);
    return calls;
}

/* A plan serves all tables that its sizes are rounded up for, and comes back when it was given up. */
static void plans_are_kept(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "emulated");
    struct shape s = usual;
    calls_of(&bench, &s, 3); /* the workspace too */
    int made = calls_of(&bench, &s, 1), kept = calls_of(&bench, &s, 1);
    assert_true(kept >= 1 && kept < 8 && made > kept + 15);
    assert_int_equal(calls_of(&bench, &s, 3), kept);
    for (s.kv_heads = 1; s.kv_heads <= 70; s.kv_heads++) {
        s.heads = s.kv_heads, s.head_dim = 8;
        calls_of(&bench, &s, 2);
    }
    assert_int_equal(calls_of(&bench, &usual, 1), made + 1); /* and a wait for what is queued */
    assert_int_equal(calls_of(&bench, &usual, 1), kept);
    bench_close(&bench);
}

/* Each call that can fail does in its turn, alone or with all after it: where no plan can be made attention
 * goes without cuDNN and is as right; else the device fails with a line that says why, and nothing is lost.
 */
static void failures_are_told(void **state) {
    (void)state;
    struct bench bench;
    struct error err;
    double *out[2], *log_sum[2];
    bench_open(&bench, "emulated");
    attend(&bench, &usual, windows, 3, &out[0], &log_sum[0]);
    bench_close(&bench);
    for (int alone = 0; alone < 2; alone++) {
        int failed = 0, by_cudnn = 0, without = 0;
        for (int n = 1;; n++) {
            bench_open(&bench, "emulated");
            for (int i = 0; i < 4; i++) columns(&bench, &usual, usual.heads, 1); /* memory for attend */
            int before = emulator_attentions();
            (alone ? emulator_fail_one_call : emulator_fail_call)(n);
            struct tensor q = columns(&bench, &usual, usual.heads, 1);
            struct tensor k = columns(&bench, &usual, usual.kv_heads, 2);
            struct tensor v = columns(&bench, &usual, usual.kv_heads, 3);
            struct tensor to = columns(&bench, &usual, usual.heads, 4);
            attention_forward(&bench.device, to, (struct tensor){0}, q, k, v,
                              (struct attention_segments){windows, 3}, usual.heads, usual.kv_heads, 0.125f);
            bool reached = emulator_fail_call(0) >= n;
            enum status status = device_synchronize(&bench.device, &err);
            assert_true(reached || status == STATUS_OK);
            failed += status != STATUS_OK;
            if (status != STATUS_OK) by_cudnn += strstr(err.message, "attention: CUDNN_STATUS_") != NULL;
            if (status == STATUS_OK) {
                without += emulator_attentions() == before;
                out[1] = values_read(&bench, to);
                assert_close(out[1], out[0], (int64_t)ROWS * usual.heads * usual.head_dim, 0x1p-7);
                free(out[1]);
            }
            bench_close(&bench);
            if (!reached) break;
        }
        assert_true(by_cudnn == 2 && failed > by_cudnn); /* naming what is where, and the execution */
        assert_true(alone ? without >= 20 : without == 0);
    }
    free(out[0]);
    free(log_sum[0]);
}

/* Without cuDNN the device opens, says so, and attention is as right. */
static void the_device_works_without(void **state) {
    (void)state;
    struct bench bench;
    double *out[2], *log_sum[2];
    emulator_fail_call(0);
    bench_open(&bench, "emulated");
    int calls = emulator_fail_call(0);
    assert_non_null(strstr(device_describe(&bench.device).name, ", cuDNN 9.19.0)"));
    attend(&bench, &usual, windows, 3, &out[0], &log_sum[0]);
    bench_close(&bench);
    emulator_fail_call(calls); /* the last one is cuDNN's */
    bench_open(&bench, "emulated");
    emulator_fail_call(0);
    assert_non_null(strstr(device_describe(&bench.device).name, ", no cuDNN)"));
    int before = emulator_attentions();
    attend(&bench, &usual, windows, 3, &out[1], &log_sum[1]);
    assert_int_equal(emulator_attentions(), before);
    assert_close(out[1], out[0], (int64_t)ROWS * usual.heads * usual.head_dim, 0x1p-7);
    assert_close(log_sum[1], log_sum[0], (int64_t)ROWS * usual.heads, 1e-5);
    for (int i = 0; i < 2; i++) {
        free(out[i]);
        free(log_sum[i]);
    }
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_that_fit),         cmocka_unit_test(segments_that_do_not_fit),
        cmocka_unit_test(tensors_that_do_not_fit), cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(failures_are_told),       cmocka_unit_test(the_device_works_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
