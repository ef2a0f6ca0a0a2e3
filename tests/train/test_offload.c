/* A parameter of several pieces whose state is on the host: to the bit what AdamW makes of it in one piece.
 */
#include "train/offload.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device.h"
#include "tests/emulator/hooks.h"

/* Pieces have 2^18 elements. */
enum { ROWS = 7, COLS = 100003, COUNT = ROWS * COLS };

static struct error err;
static const struct adamw_options options = {.learning_rate = 0.01,
                                             .beta1 = 0.9,
                                             .beta2 = 0.999,
                                             .epsilon = 1e-8,
                                             .weight_decay = 0.1,
                                             .gradient_scale = 0.5,
                                             .step = 1};

static struct tensor make(struct device *device, enum dtype dtype, const float *values) {
    void *memory = device_allocate(device, (size_t)COUNT * dtype_size(dtype), "test", &err);
    assert_non_null(memory);
    struct tensor made = tensor_at(memory, dtype, ROWS, COLS);
    if (values) device_write(device, made, values);
    return made;
}

static float *read_all(struct device *device, struct tensor t) {
    float *values = calloc(COUNT, sizeof *values);
    assert_non_null(values);
    if (device_read(device, values, t, &err)) fail_msg("%s", err.message);
    return values;
}

/* A parameter on the two devices; with both the same, one that is stepped in one piece. */
struct bench {
    struct device *device, *host;
    struct trained_parameter trained;
};

/* `values` has the gradient afterwards. */
static void bench_make(struct bench *bench, struct device *device, struct device *host, float *values) {
    struct trained_parameter *t = &bench->trained;
    *bench = (struct bench){.device = device, .host = host};
    for (int i = 0; i < COUNT; i++) values[i] = cosf((float)i);
    t->parts[OPTIMIZER_WEIGHT] = make(host, DTYPE_F32, values);
    t->own = device == host ? t->parts[OPTIMIZER_WEIGHT] : make(device, DTYPE_F32, values);
    t->parts[OPTIMIZER_FIRST] = make(host, DTYPE_F32, NULL);
    t->parts[OPTIMIZER_SECOND] = make(host, DTYPE_F32, NULL);
    t->copy = make(device, DTYPE_BF16, NULL);
    for (int i = 0; i < COUNT; i++) values[i] = sinf((float)i);
    t->parts[OPTIMIZER_GRADIENT] = make(device, DTYPE_F32, values);
}

static void bench_free(struct bench *bench) {
    struct trained_parameter *t = &bench->trained;
    for (int part = 0; part < OPTIMIZER_GRADIENT; part++) device_release(bench->host, t->parts[part].data);
    if (t->own.data != t->parts[OPTIMIZER_WEIGHT].data) device_release(bench->device, t->own.data);
    device_release(bench->device, t->parts[OPTIMIZER_GRADIENT].data);
    device_release(bench->device, t->copy.data);
}

static void check_same(struct device *device, struct tensor t, struct device *other, struct tensor expected) {
    float *a = read_all(device, t), *b = read_all(other, expected);
    assert_memory_equal(a, b, (size_t)COUNT * dtype_size(t.dtype));
    free(a);
    free(b);
}

/* Two steps, since the second meets what the first has queued. */
static void pieces_make_the_whole(void **state) {
    (void)state;
    struct device device, host;
    struct bench whole, pieces;
    float *values = malloc(COUNT * sizeof *values);
    test_device_open("guard", &device);
    assert_int_equal(device_open("cpu", &host, &err), STATUS_OK);
    bench_make(&whole, &host, &host, values);
    bench_make(&pieces, &device, &host, values);
    struct offload *offload = offload_new(&device, &host, &err);
    assert_non_null(offload);
    const struct trained_parameter *w = &whole.trained, *p = &pieces.trained;
    for (int step = 1; step <= 2; step++) {
        struct adamw_options with = options;
        with.step = step;
        device_write(&host, w->parts[OPTIMIZER_GRADIENT], values);
        device_write(&device, p->parts[OPTIMIZER_GRADIENT], values);
        adamw_step(&host, w->parts[OPTIMIZER_WEIGHT], w->parts[OPTIMIZER_FIRST], w->parts[OPTIMIZER_SECOND],
                   w->parts[OPTIMIZER_GRADIENT], w->copy, with);
        offload_step(offload, p, with);
    }
    for (int part = 0; part < OPTIMIZER_GRADIENT; part++)
        check_same(&host, p->parts[part], &host, w->parts[part]);
    check_same(&device, p->own, &host, w->own);
    check_same(&device, p->copy, &host, w->copy);
    check_same(&device, p->parts[OPTIMIZER_GRADIENT], &host, w->parts[OPTIMIZER_GRADIENT]);
    offload_free(offload);
    bench_free(&whole);
    bench_free(&pieces);
    free(values);
    device_close(&device);
    device_close(&host);
}

/* A call that fails leaves the pieces after it as they were, and the device says so. */
static void a_failure_ends_the_step(void **state) {
    (void)state;
    float *values = malloc(COUNT * sizeof *values);
    for (int failing = 1;; failing += 5) {
        struct device device, host;
        struct bench pieces;
        assert_int_equal(device_open("emulated", &device, &err), STATUS_OK);
        assert_int_equal(device_open("cpu", &host, &err), STATUS_OK);
        bench_make(&pieces, &device, &host, values);
        struct offload *offload = offload_new(&device, &host, &err);
        assert_non_null(offload);
        assert_int_equal(device_synchronize(&device, &err), STATUS_OK);
        emulator_fail_call(failing);
        offload_step(offload, &pieces.trained, options);
        bool reached = emulator_fail_call(0) >= failing;
        assert_int_equal(device_synchronize(&device, &err), reached ? STATUS_FAILED : STATUS_OK);
        offload_free(offload);
        bench_free(&pieces);
        device_close(&device);
        device_close(&host);
        if (!reached) break;
    }
    free(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_make_the_whole),
        cmocka_unit_test(a_failure_ends_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
