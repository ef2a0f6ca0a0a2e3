/* Devices and arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/arena.h"
#include "tensor/ops.h"

static void open_device(const char *kind, struct device *device) {
    struct error err = {""};
    if (device_open(kind, device, &err) != STATUS_OK) fail_msg("%s", err.message);
}

static void unknown_device_is_a_usage_error(void **state) {
    (void)state;
    struct device device;
    struct error err;
    assert_int_equal(device_open("abacus", &device, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "abacus"));
}

/* A child that reads device memory on the host must die of it; on the CPU device it lives. */
static bool reading_kills(const char *kind) {
    struct device device;
    open_device(kind, &device);
    struct arena arena;
    arena_init(&arena, &device, 0);
    struct tensor x = arena_upload(&arena, DTYPE_F32, 1, 2, (const float[]){1, 2});
    add(&device, x, x);
    float back[2] = {0};
    struct error err;
    assert_int_equal(device_read(&device, back, x, &err), STATUS_OK);
    assert_true(back[0] == 2 && back[1] == 4);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*(volatile float *)x.data == 2 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    arena_free(&arena);
    device_close(&device);
    if (!WIFSIGNALED(status)) assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void guard_memory_is_closed_outside_operations(void **state) {
    (void)state;
    assert_true(reading_kills("guard"));
    assert_false(reading_kills("cpu"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(unknown_device_is_a_usage_error),
                                       cmocka_unit_test(guard_memory_is_closed_outside_operations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
