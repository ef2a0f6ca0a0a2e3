/* What is the CUDA backend's own, beside its operations: on the emulated device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/device.h"

/* ---- Which of several GPUs --------------------------------------------------------------------------- */

static const char *const variables[] = {"VS2_EMULATED_GPUS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                        "OMPI_COMM_WORLD_LOCAL_RANK"};

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
    start("2", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", "x", 1);
    assert_int_equal(device_open("emulated", &device, &err), STATUS_USAGE);
    assert_string_equal(err.message, "environment: OMPI_COMM_WORLD_LOCAL_RANK=x names no process");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_process_takes_the_gpu_of_its_place, alone, alone),
        cmocka_unit_test_setup_teardown(a_gpu_that_is_not_there_is_a_usage_error, alone, alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
