/* Devices and arenas, and what happens when there is no memory. */
#include "tests/tensor/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Which of the coming calls fails, with all after it; 0 once it has; negative: none. */
static int calls_left = -1;

static bool call_fails(void) {
    if (calls_left > 0) calls_left--;
    return calls_left == 0;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return call_fails() ? NULL : __real_calloc(count, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return call_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return call_fails() ? MAP_FAILED : __real_mmap(address, length, protection, flags, file, offset);
}

/* Whether a driver seems installed where none is, and whether the module is gone. */
static bool driver_is_there, module_is_missing;

void *__real_dlopen(const char *file, int mode);
void *__wrap_dlopen(const char *file, int mode);
void *__wrap_dlopen(const char *file, int mode) {
    if (driver_is_there && strcmp(file, "libcuda.so.1") == 0)
        file = NULL; /* the program */
    else if (module_is_missing && strcmp(file, "vs2_cuda.so") == 0)
        file = "no_such_module.so";
    return __real_dlopen(file, mode);
}

static void unknown_device_is_a_usage_error(void **state) {
    (void)state;
    struct device device;
    struct error err;
    assert_int_equal(device_open("abacus", &device, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "abacus"));
    static const char *const names[] = {"",      "cud",    "cudaa",   "cuda:",        "cuda:x",
                                        "cpu:0", "auto:1", "cuda:-1", "cuda:1234567", "cuda:1 "};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(device_name_check(names[i], &err), STATUS_USAGE);
    assert_int_equal(device_name_check("cuda:12", &err), STATUS_OK);
}

/* Where it was not built in, and where it was and there is no GPU; else it opens. */
static void an_absent_gpu_is_a_usage_error(void **state) {
    (void)state;
    struct device device;
    struct error err;
    enum status status = device_open("cuda", &device, &err);
    if (status == STATUS_OK) {
        device_close(&device);
        skip();
    }
    assert_int_equal(status, STATUS_USAGE);
    assert_true(strstr(err.message, "built without CUDA") || strstr(err.message, "there is no GPU here"));
    assert_null(strchr(err.message, '\n'));
    bool built_in = !strstr(err.message, "built without CUDA");
    for (int driver = 0; driver < 2; driver++) {
        driver_is_there = driver;
        if (driver && built_in) { /* a driver that is too old, or has no GPU that works */
            assert_int_equal(device_open("auto", &device, &err), STATUS_FAILED);
            assert_non_null(strstr(err.message, "the GPUs cannot be used: "));
            continue;
        }
        assert_int_equal(device_open("auto", &device, &err), STATUS_OK);
        struct device_info info = device_describe(&device);
        assert_null(strstr(info.name, "sm_"));
        device_close(&device);
    }
    driver_is_there = false;
}

/* Where there is a driver: a run that takes any device does not go to the CPU in silence. */
static void a_module_that_does_not_load_is_a_failure(void **state) {
    (void)state;
    struct device device;
    struct error err;
    module_is_missing = driver_is_there = true;
    enum status status = device_open("cuda", &device, &err);
    bool built_in = !strstr(err.message, "built without CUDA");
    assert_int_equal(status, built_in ? STATUS_FAILED : STATUS_USAGE);
    assert_true(!built_in || strstr(err.message, "cannot be loaded: "));
    assert_int_equal(device_open("auto", &device, &err), built_in ? STATUS_FAILED : STATUS_OK);
    if (!built_in) device_close(&device);
    module_is_missing = driver_is_there = false;
}

static void unknown_instruction_set_is_a_usage_error(void **state) {
    (void)state;
    struct device device;
    struct error err;
    setenv("VS2_CPU_ISA", "mmx", 1);
    assert_int_equal(device_open("auto", &device, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "mmx"));
    unsetenv("VS2_CPU_ISA");
}

static void devices_describe_themselves(void **state) {
    (void)state;
    struct bench bench;
    setenv("VS2_CPU_ISA", "generic", 1);
    bench_open(&bench, "guard");
    struct device_info info = device_describe(&bench.device);
    assert_non_null(strstr(info.name, "(generic)"));
    assert_true(info.threads >= 1 && !info.native_bf16);
    bench_close(&bench);
    unsetenv("VS2_CPU_ISA");
}

/* A child that reads device memory on the host must die of it; on the CPU device it lives. */
static bool reading_kills(const char *kind, bool imported) {
    struct bench bench;
    bench_open(&bench, kind);
    const float host[2] = {1, 2};
    struct error err;
    struct tensor x = arena_upload(&bench.arena, DTYPE_F32, 1, 2, host);
    void *import = device_import(&bench.device, host, sizeof host, "numbers", &err);
    assert_non_null(import);
    add(&bench.device, x, tensor_at(import, DTYPE_F32, 1, 2));
    float back[2] = {0};
    assert_int_equal(device_read(&bench.device, back, x, &err), STATUS_OK);
    assert_true(back[0] == 2 && back[1] == 4);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* the sanitizer's handler would end it otherwise */
        _exit(*(volatile float *)(imported ? import : x.data) == (imported ? 1 : 2) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    device_unimport(&bench.device, import);
    bench_close(&bench);
    if (!WIFSIGNALED(status)) assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void guard_memory_is_closed_outside_operations(void **state) {
    (void)state;
    for (int imported = 0; imported < 2; imported++) {
        assert_true(reading_kills("guard", imported));
        assert_false(reading_kills("cpu", imported));
    }
}

/* Failed calls one by one, until opening and using the device survives them all: each failure is told and
 * nothing is used after it. */
static bool survives_failure(const char *kind, int failing) {
    calls_left = failing;
    struct device device;
    struct error err = {0};
    if (device_open(kind, &device, &err) != STATUS_OK) {
        calls_left = -1;
        assert_non_null(strstr(err.message, "out of memory"));
        return false;
    }
    struct arena arena;
    arena_init(&arena, &device, 0);
    const float ones[2] = {1, 1};
    struct tensor x = arena_upload(&arena, DTYPE_F32, 1, 2, ones);
    struct tensor y = arena_tensor(&arena, DTYPE_F32, 1, 1);
    matmul(&device, y, x, x, (struct matmul_options){.transpose_b = true});
    float product = 0;
    enum status status = device_read(&device, &product, y, &err);
    calls_left = -1;
    assert_true(status == STATUS_OK ? product == 2 : device.failed);
    if (status != STATUS_OK) assert_non_null(strstr(err.message, "device "));
    arena_free(&arena);
    device_close(&device);
    return status == STATUS_OK;
}

static void every_failed_call_is_told(void **state) {
    (void)state;
    static const char *const kinds[] = {"cpu", "guard"};
    for (int i = 0; i < 2; i++) {
        int failing = 1;
        while (!survives_failure(kinds[i], failing)) assert_true(++failing < 100);
        assert_true(failing > 4);
    }
}

static void no_memory_names_its_use(void **state) {
    (void)state;
    static const char *const kinds[] = {"cpu", "guard"};
    for (int i = 0; i < 2; i++) {
        struct bench bench;
        bench_open(&bench, kinds[i]);
        struct error err;
        calls_left = 1;
        assert_null(device_allocate(&bench.device, 12345, "the cache", &err));
        calls_left = -1;
        assert_string_equal(err.message, "out of memory for the cache (12345 bytes)");
        assert_null(device_allocate(&bench.device, SIZE_MAX - 5, "the cache", &err));
        assert_false(bench.device.failed);
        bench_close(&bench);
    }
    struct bench bench;
    struct error err;
    bench_open(&bench, "emulated"); /* with memory of its own */
    assert_null(device_allocate(&bench.device, (size_t)1 << 60, "the cache", &err));
    assert_non_null(
        strstr(err.message, "out of memory for the cache (1152921504606846976 bytes; the GPU has "));
    assert_true(device_describe(&bench.device).free_memory > (size_t)1 << 30);
    bench_close(&bench);
    /* Import copies on the guard device only. */
    bench_open(&bench, "guard");
    calls_left = 1;
    assert_null(device_import(&bench.device, "", 1, "a file", &err));
    calls_left = -1;
    bench_close(&bench);
}

static void absurd_tensor_fails_the_device(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    struct tensor t = arena_tensor(&bench.arena, DTYPE_F32, INT64_MAX / 2, INT64_MAX / 2);
    assert_null(t.data);
    struct error err;
    assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "device cpu: out of memory for activations"));
    device_fail(&bench.device, "something else");
    assert_int_equal(device_synchronize(&bench.device, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "out of memory")); /* the first failure stays */
    bench_close(&bench);
}

/* Memory given back is handed out again; larger wishes take a chunk of their own. */
static void arenas_reuse_memory(void **state) {
    (void)state;
    struct device device;
    struct error err = {0};
    assert_int_equal(device_open("cpu", &device, &err), STATUS_OK);
    struct arena arena;
    arena_init(&arena, &device, 1024);
    void *addresses[4] = {0};
    for (int pass = 0; pass < 3; pass++) {
        struct arena_mark mark = arena_mark(&arena);
        const int64_t sizes[4] = {200, 10, 4000, 250};
        for (int i = 0; i < 4; i++) {
            struct tensor t = arena_tensor(&arena, DTYPE_F32, 1, sizes[i]);
            assert_non_null(t.data);
            assert_int_equal((uintptr_t)t.data % 64, 0);
            if (pass > 0) assert_ptr_equal(t.data, addresses[i]);
            addresses[i] = t.data;
        }
        assert_int_equal(arena.in_use, 832 + 64 + 16000 + 1024);
        arena_release(&arena, mark);
        assert_int_equal(arena.in_use, 0);
    }
    assert_int_equal(arena.count, 3);
    assert_int_equal(arena.peak, 832 + 64 + 16000 + 1024);

    /* A chunk too small for the next wish is passed over, and serves the one after. */
    struct tensor large = arena_tensor(&arena, DTYPE_BF16, 20, 100);
    struct tensor empty = arena_tensor(&arena, DTYPE_F32, 0, 7);
    assert_ptr_equal(large.data, addresses[2]);
    assert_non_null(empty.data);
    assert_int_equal(arena.count, 3);
    arena_free(&arena);
    device_close(&device);
}

/* Operations on tensors without elements do nothing, whatever their data. */
static void empty_tensors_are_skipped(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "guard");
    struct tensor none = tensor_at(NULL, DTYPE_F32, 0, 8);
    add(&bench.device, none, none);
    convert(&bench.device, none, none);
    device_write(&bench.device, none, NULL);
    struct tensor one = random_tensor(&bench, DTYPE_F32, 1, 1, 0, 1, 1);
    reduce_sum(&bench.device, one, none);
    assert_values(&bench, one, (const double[]){0}, 0, 0);
    bench_close(&bench);
}

/* A wrong shape is a mistake of ours and stops the program. */
static void wrong_shapes_abort(void **state) {
    (void)state;
    struct bench bench;
    bench_open(&bench, "cpu");
    struct tensor a = random_tensor(&bench, DTYPE_F32, 2, 3, 0, 1, 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(2);
        add(&bench.device, a, tensor_rows(a, 0, 1));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_device_is_a_usage_error),
        cmocka_unit_test(an_absent_gpu_is_a_usage_error),
        cmocka_unit_test(a_module_that_does_not_load_is_a_failure),
        cmocka_unit_test(unknown_instruction_set_is_a_usage_error),
        cmocka_unit_test(devices_describe_themselves),
        cmocka_unit_test(guard_memory_is_closed_outside_operations),
        cmocka_unit_test(every_failed_call_is_told),
        cmocka_unit_test(no_memory_names_its_use),
        cmocka_unit_test(absurd_tensor_fails_the_device),
        cmocka_unit_test(arenas_reuse_memory),
        cmocka_unit_test(empty_tensors_are_skipped),
        cmocka_unit_test(wrong_shapes_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
