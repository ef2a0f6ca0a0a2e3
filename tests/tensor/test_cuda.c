/* What is the CUDA backend's own, beside its operations: on the emulated device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/arena.h"
#include "tensor/collective.h"
#include "tensor/ops.h"
#include "tests/emulator/hooks.h"

/* ---- Which of several GPUs --------------------------------------------------------------------------- */

static const char *const variables[] = {"VS2_EMULATED_GPUS",         "VS2_EMULATED_GPUS_ARE_BROKEN",
                                        "VS2_EMULATED_GPUS_ARE_OLD", "OMPI_COMM_WORLD_RANK",
                                        "OMPI_COMM_WORLD_SIZE",      "OMPI_COMM_WORLD_LOCAL_RANK"};

static int alone(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    return 0;
}

/* As the process of that rank of eight, four on each machine with `gpus` GPUs. */
static void start(const char *gpus, int rank) {
    setenv("VS2_EMULATED_GPUS", gpus, 1);
    setenv("OMPI_COMM_WORLD_SIZE", "8", 1);
    setenv("OMPI_COMM_WORLD_RANK", (const char[]){(char)('0' + rank), 0}, 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", (const char[]){(char)('0' + rank % 4), 0}, 1);
}

/* What its description begins with; it goes on with the libraries. */
static void expect_gpu(const char *name, const char *description) {
    struct device device;
    struct error err;
    if (device_open(name, &device, &err)) fail_msg("%s", err.message);
    struct device_info info = device_describe(&device);
    assert_memory_equal(info.name, description, strlen(description));
    device_close(&device);
}

static void a_process_takes_the_gpu_of_its_place(void **state) {
    (void)state;
    expect_gpu("emulated", "emulator 0 (sm_86");
    start("4", 6);
    expect_gpu("emulated", "emulator 2 (sm_86");
    expect_gpu("emulated:1", "emulator 1 (sm_86");
    start("3", 7);
    expect_gpu("emulated", "emulator 0 (sm_86");
    start("1", 7);
    expect_gpu("emulated", "emulator 0 (sm_86");
}

static void a_gpu_that_is_not_there_is_a_usage_error(void **state) {
    (void)state;
    struct device device;
    struct error err;
    assert_int_equal(device_open("emulated:1", &device, &err), STATUS_USAGE);
    assert_string_equal(err.message, "device \"emulated:1\": there is 1 of them here, numbered from 0");
    setenv("VS2_EMULATED_GPUS", "2", 1);
    assert_int_equal(device_open("emulated:2", &device, &err), STATUS_USAGE);
    assert_string_equal(err.message, "device \"emulated:2\": there are 2 of them here, numbered from 0");
    setenv("VS2_EMULATED_GPUS", "0", 1);
    assert_int_equal(device_open("emulated", &device, &err), STATUS_USAGE);
    assert_string_equal(err.message,
                        "device emulated: there is no GPU here (no CUDA-capable device is detected)");
    setenv("VS2_EMULATED_GPUS", "2", 1);
    setenv("VS2_EMULATED_GPUS_ARE_BROKEN", "1", 1);
    assert_int_equal(device_open("emulated", &device, &err), STATUS_FAILED);
    assert_string_equal(err.message, "device emulated: the GPUs cannot be used: system not yet initialized");
    unsetenv("VS2_EMULATED_GPUS_ARE_BROKEN");
    setenv("VS2_EMULATED_GPUS_ARE_OLD", "1", 1);
    assert_int_equal(device_open("emulated:1", &device, &err), STATUS_USAGE);
    assert_string_equal(err.message,
                        "device emulated: GPU 1 is of compute capability 7.6, and the oldest that "
                        "can be used is 8.0");
    unsetenv("VS2_EMULATED_GPUS_ARE_OLD");
    start("2", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "x", 1);
    assert_int_equal(device_open("emulated", &device, &err), STATUS_FAILED);
    assert_string_equal(err.message, "environment: OMPI_COMM_WORLD_LOCAL_RANK=x names no process");
}

/* ---- Groups of operations ---------------------------------------------------------------------------- */

enum { WIDTH = 40, LARGE = 3 << 20 };

struct bench {
    struct device device;
    struct arena arena;
};

static enum status bench_open(struct bench *bench, struct error *err) {
    enum status status = device_open("emulated", &bench->device, err);
    if (status == STATUS_OK) arena_init(&bench->arena, &bench->device, 1 << 20);
    return status;
}

static void bench_close(struct bench *bench) {
    arena_free(&bench->arena);
    device_close(&bench->device);
}

/* What a group holds beside its operations. */
enum interruption { NOTHING, A_READ, MEMORY, LARGE_WRITES, INTERRUPTIONS };

static void interrupt(struct bench *bench, struct tensor x, enum interruption what) {
    struct error err;
    float values[WIDTH];
    if (what == A_READ) device_read(&bench->device, values, x, &err);
    if (what == MEMORY)
        device_release(&bench->device, device_allocate(&bench->device, 4096, "a group", &err));
    if (what != LARGE_WRITES) return;
    float *large = calloc(LARGE / sizeof *large, sizeof *large);
    assert_non_null(large);
    for (int i = 0; i < 2; i++) arena_upload(&bench->arena, DTYPE_F32, 1, LARGE / sizeof *large, large);
    free(large);
}

/* sum = start + start + start, in a group. */
static enum status add_in_group(struct bench *bench, float start, int64_t key, enum interruption what,
                                float sum[WIDTH], struct error *err) {
    struct arena_mark mark = arena_mark(&bench->arena);
    float values[WIDTH];
    for (int i = 0; i < WIDTH; i++) values[i] = start + (float)i;
    device_group_begin(&bench->device, key);
    struct tensor x = arena_upload(&bench->arena, DTYPE_F32, 1, WIDTH, values);
    struct tensor y = arena_upload(&bench->arena, DTYPE_F32, 1, WIDTH, values);
    memset(values, 0xff, sizeof values); /* a write has read its memory when it returns */
    add(&bench->device, x, y);
    interrupt(bench, x, what);
    add(&bench->device, x, y);
    device_group_end(&bench->device);
    enum status status = device_read(&bench->device, sum, x, err);
    arena_release(&bench->arena, mark);
    return status;
}

static void expect_sum(struct bench *bench, float start, int64_t key, enum interruption what) {
    float sum[WIDTH];
    struct error err;
    if (add_in_group(bench, start, key, what, sum, &err)) fail_msg("%s", err.message);
    for (int i = 0; i < WIDTH; i++) assert_true(sum[i] == 3 * (start + (float)i));
}

/* A group is captured when the one before had its key, and made anew only when its operations are others. */
static void groups_are_launched_whole(void **state) {
    (void)state;
    struct bench bench;
    struct error err;
    assert_int_equal(bench_open(&bench, &err), STATUS_OK);
    static const int64_t keys[] = {5, 5, 5, 6, 5, 5};
    static const int captured[] = {0, 1, 1, 0, 0, 1};
    int64_t launches = 0, first = emulator_counted(EMULATOR_GRAPH_LAUNCHES);
    int64_t graphs = emulator_counted(EMULATOR_GRAPHS);
    for (int i = 0; i < 6; i++) {
        expect_sum(&bench, (float)i, keys[i], NOTHING);
        launches += captured[i];
        assert_int_equal(emulator_counted(EMULATOR_GRAPH_LAUNCHES) - first, launches);
    }
    assert_int_equal(emulator_counted(EMULATOR_GRAPHS) - graphs, 1);
    bench_close(&bench);
}

static void what_a_graph_cannot_hold_ends_it(void **state) {
    (void)state;
    struct bench bench;
    struct error err;
    assert_int_equal(bench_open(&bench, &err), STATUS_OK);
    for (int round = 0; round < 3; round++)
        for (int what = 0; what < INTERRUPTIONS; what++)
            expect_sum(&bench, (float)(10 * round + what), 1, (enum interruption)what);
    assert_true(emulator_counted(EMULATOR_GRAPHS) > 3);
    device_group_end(&bench.device); /* nothing begun: nothing happens */
    device_group_begin(&bench.device, 1);
    device_fail(&bench.device, "a fault");
    device_group_begin(&bench.device, 1);
    device_group_end(&bench.device);
    assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
    bench_close(&bench);
    assert_int_equal(bench_open(&bench, &err), STATUS_OK);
    for (int i = 0; i < 2; i++) device_group_begin(&bench.device, 1);
    bench_close(&bench); /* in a capture */
}

/* Groups, graphs, and rooms for what devices exchange; then no call fails any more. *calls: how many could.
 */
static enum status live(float sum[WIDTH], int *calls, struct error *err) {
    struct bench bench;
    enum status opened = bench_open(&bench, err), status = opened;
    for (int i = 0; i < 3 && status == STATUS_OK; i++) status = add_in_group(&bench, 1, 1, NOTHING, sum, err);
    if (status == STATUS_OK) status = collective_make_rooms(&bench.device, 0, 2, 1 << 20, err);
    if (status == STATUS_OK) status = device_synchronize(&bench.device, err);
    *calls = emulator_fail_call(0);
    if (opened == STATUS_OK) bench_close(&bench);
    return status;
}

/* Every call fails in its turn, with all after it or alone: it is told, unless nothing is lost by it. */
static void every_failed_call_is_told(void **state) {
    (void)state;
    struct error err;
    float sum[WIDTH];
    int calls, ignored, survived[2] = {0};
    emulator_fail_call(0);
    assert_int_equal(live(sum, &calls, &err), STATUS_OK);
    assert_in_range(calls, 50, 300);
    for (int alone = 0; alone < 2; alone++)
        for (int n = 1; n <= calls; n++) {
            err.message[0] = '\0';
            (alone ? emulator_fail_one_call : emulator_fail_call)(n);
            enum status status = live(sum, &ignored, &err);
            survived[alone] += status == STATUS_OK;
            for (int i = 0; status == STATUS_OK && i < WIDTH; i++) assert_true(sum[i] == 3 * (1 + (float)i));
            if (status != STATUS_OK) assert_true(strlen(err.message) > 0);
        }
    assert_int_equal(survived[0], 0);
    assert_in_range(survived[1], 1, 5); /* describing the GPU; a graph that is made anew */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_process_takes_the_gpu_of_its_place, alone, alone),
        cmocka_unit_test_setup_teardown(a_gpu_that_is_not_there_is_a_usage_error, alone, alone),
        cmocka_unit_test(groups_are_launched_whole),
        cmocka_unit_test(what_a_graph_cannot_hold_ends_it),
        cmocka_unit_test(every_failed_call_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
