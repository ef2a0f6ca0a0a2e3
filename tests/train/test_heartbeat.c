/* Processes that get nowhere. Run alone nothing is watched; test_processes.sh runs it by mpirun with two,
 * which must be ended from outside: what VS2_TEST_HANG says goes wrong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/activity.h"
#include "base/clock.h"
#include "train/communicator.h"
#include "train/heartbeat.h"

enum { COLS = 64 };

static struct error err;
static struct communicator *all;

static bool hangs_by(const char *way) {
    const char *wanted = getenv("VS2_TEST_HANG");
    return wanted && strcmp(wanted, way) == 0;
}

static void test_alone(void **state) {
    (void)state;
    communicator_say(all, "one process");
    communicator_patience(all, 600);
    heartbeat_say(NULL, "nothing");
    heartbeat_patience(NULL, 1);
    heartbeat_wait(NULL, "nothing");
    heartbeat_go_on(NULL, STATUS_OK);
    heartbeat_miss(NULL);
    heartbeat_stop(NULL);
    assert_int_equal(communicator_size(all), getenv("VS2_TEST_HANG") ? 2 : 1);
}

/* One limit by its variable; the other one stays as it is. */
static void check_limit(const char *variable, double standard, size_t place) {
    static const char *const bad[] = {"", "soon", "5s", "-1", "nan"};
    const char *given = getenv(variable);
    char *before = given ? strdup(given) : NULL;
    struct heartbeat_limits limits;
    const double *limit = place ? &limits.progress : &limits.silence;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(variable, bad[i], 1);
        assert_int_equal(heartbeat_read_limits(&limits, &err), STATUS_USAGE);
        assert_non_null(strstr(err.message, variable));
    }
    setenv(variable, "2.5", 1);
    assert_int_equal(heartbeat_read_limits(&limits, &err), STATUS_OK);
    assert_true(*limit == 2.5);
    unsetenv(variable);
    assert_int_equal(heartbeat_read_limits(&limits, &err), STATUS_OK);
    assert_true(*limit == standard);
    if (before) setenv(variable, before, 1);
    free(before);
}

static void test_limits(void **state) {
    (void)state;
    check_limit("VS2_SILENCE_LIMIT", 30, 0);
    check_limit("VS2_PROGRESS_LIMIT", 45, 1);
}

/* Process 1 does something, as far as can be seen, for so many seconds, or for good. */
static void be_busy(double seconds) {
    const double end = clock_seconds() + seconds;
    while (communicator_rank(all) == 1 && clock_seconds() < end) {
        usleep(100000);
        activity_step();
    }
}

/* Process 0 waits for process 1, which takes too long. */
static void test_busy(void **state) {
    (void)state;
    double value = 1;
    if (!hangs_by("busy")) return;
    communicator_patience(all, 2);
    communicator_say(all, "dreaming");
    be_busy(INFINITY);
    assert_int_equal(communicator_sum_values(all, &value, 1, &err), STATUS_OK);
    fail_msg("process 0 was not ended");
}

/* It may take longer than VS2_PROGRESS_LIMIT, but not do nothing for that long. */
static void test_still(void **state) {
    (void)state;
    double value = 1;
    if (!hangs_by("still")) return;
    communicator_say(all, "asleep");
    be_busy(5);
    assert_int_equal(communicator_sum_values(all, &value, 1, &err), STATUS_OK);
    puts("process 1 was busy, and has got there");
    fflush(stdout);
    while (communicator_rank(all) == 1) sleep(1);
    assert_int_equal(communicator_sum_values(all, &value, 1, &err), STATUS_OK);
    fail_msg("process 0 was not ended");
}

/* Both wait for their devices, which will never be done. */
static void test_device(void **state) {
    (void)state;
    if (!hangs_by("device")) return;
    activity_wait(true);
    sleep(30);
    fail_msg("process %d was not ended", communicator_rank(all));
}

/* Process 0 wants what process 1, which waits for something else, does not send. */
static void test_wait(void **state) {
    (void)state;
    double value = 1;
    float elements[COLS] = {0};
    struct device device;
    if (!hangs_by("wait")) return;
    assert_int_equal(device_open("cpu", &device, &err), STATUS_OK);
    struct shard own = communicator_shard(all, 1, COLS, communicator_rank(all));
    struct tensor slice = tensor_at(elements, DTYPE_F32, 1, own.count);
    if (communicator_rank(all) == 0)
        communicator_collect(all, &device, 1, COLS, slice, (struct shard){0, COLS}, elements, &err);
    else if (communicator_agree(all, STATUS_OK, &err) == STATUS_OK)
        communicator_sum_values(all, &value, 1, &err);
    fail_msg("process %d was not ended", communicator_rank(all));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone), cmocka_unit_test(test_limits), cmocka_unit_test(test_busy),
        cmocka_unit_test(test_still), cmocka_unit_test(test_device), cmocka_unit_test(test_wait),
    };
    if (communicator_open(&all, &err) != STATUS_OK) return EXIT_FAILURE;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    communicator_close(all, failed ? STATUS_FAILED : STATUS_OK);
    return failed;
}
