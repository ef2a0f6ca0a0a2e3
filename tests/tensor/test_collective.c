/* The queue of collectives beside the operations: on the emulated device, joined with itself alone. What runs
 * in several processes is tested by tests/train/test_nccl.sh. */
#include "tensor/collective.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/ops.h"
#include "tests/emulator/hooks.h"

enum { COUNT = 100, BYTES = COUNT * sizeof(float) };

static struct error err;

struct fixture {
    struct device device;
    struct tensor source, x, y; /* f32 [1, COUNT]; source: 1, 2, ... */
};

static struct tensor make(struct fixture *f, const float *values) {
    void *memory = device_allocate(&f->device, BYTES, "test", &err);
    assert_non_null(memory);
    struct tensor made = tensor_at(memory, DTYPE_F32, 1, COUNT);
    if (values) device_write(&f->device, made, values);
    return made;
}

static enum status join(struct device *device) {
    struct collective_id id;
    enum status status = collective_make_rooms(device, 0, 1, BYTES, &err);
    if (status != STATUS_OK) return status;
    status = collective_name(device, &id, &err);
    return status == STATUS_OK ? collective_join(device, &id, &err) : status;
}

static void prepare(struct fixture *f) {
    float values[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = (float)(i + 1);
    assert_int_equal(device_open("emulated", &f->device, &err), STATUS_OK);
    f->source = make(f, values);
    f->x = make(f, NULL);
    f->y = make(f, NULL);
}

static void finish(struct fixture *f) {
    device_release(&f->device, f->source.data);
    device_release(&f->device, f->x.data);
    device_release(&f->device, f->y.data);
    device_close(&f->device);
}

/* y = x, by way of everybody. */
static void pass_round(struct fixture *f) {
    struct tensor one = tensor_at(f->device.collective->one, DTYPE_F32, 1, COUNT),
                  all = tensor_at(f->device.collective->all, DTYPE_F32, 1, COUNT);
    collective_begin(&f->device);
    convert(&f->device, one, f->x);
    all_gather(&f->device, all, one);
    reduce_scatter(&f->device, one, all);
    convert(&f->device, f->y, one);
    collective_end(&f->device, COLLECTIVE_SUMS);
}

/* Whether t has `times` times the source's values. */
static bool holds(struct fixture *f, struct tensor t, float times) {
    float values[COUNT];
    if (device_read(&f->device, values, t, &err) != STATUS_OK) fail_msg("%s", err.message);
    for (int i = 0; i < COUNT; i++)
        if (values[i] != times * (float)(i + 1)) return false;
    return true;
}

/* Operations before and after a collective meet it at their places, whichever queue the host waits for first:
 * x is written before it is sent, and y is read when it has come. */
static bool meets(bool host_waits_first) {
    struct fixture f;
    prepare(&f);
    assert_int_equal(join(&f.device), STATUS_OK);
    convert(&f.device, f.x, f.source);
    pass_round(&f);
    if (host_waits_first) collective_finish(&f.device);
    collective_wait(&f.device, COLLECTIVE_SUMS);
    add(&f.device, f.x, f.y); /* 2 * source, and y has x as it was */
    bool well = holds(&f, f.x, 2) && holds(&f, f.y, 1);
    finish(&f);
    return well;
}

static void queues_meet_at_their_marks(void **state) {
    (void)state;
    assert_true(meets(false));
    assert_true(meets(true));
}

/* The test of the test: without the events both go wrong. */
static void without_events_it_shows(void **state) {
    (void)state;
    emulator_forget_events(true);
    assert_false(meets(false));
    assert_false(meets(true));
    emulator_forget_events(false);
}

/* A mark is for what was queued before it: what comes later may still change. */
static void waiting_is_for_one_kind(void **state) {
    (void)state;
    struct fixture f;
    prepare(&f);
    assert_int_equal(join(&f.device), STATUS_OK);
    convert(&f.device, f.x, f.source);
    pass_round(&f);
    collective_begin(&f.device);
    add(&f.device, f.y, f.source);
    collective_end(&f.device, COLLECTIVE_WHOLES);
    collective_wait(&f.device, COLLECTIVE_SUMS);
    assert_true(holds(&f, f.y, 1));
    collective_wait(&f.device, COLLECTIVE_WHOLES);
    assert_true(holds(&f, f.y, 2));
    finish(&f);
}

static void nothing_is_allocated_meanwhile(void **state) {
    (void)state;
    struct fixture f;
    prepare(&f);
    assert_int_equal(join(&f.device), STATUS_OK);
    int64_t before = emulator_counted(EMULATOR_ALLOCATIONS);
    for (int i = 0; i < 3; i++) pass_round(&f);
    collective_finish(&f.device);
    assert_int_equal(emulator_counted(EMULATOR_ALLOCATIONS), before);
    finish(&f);
}

/* Every call may fail, from the rooms to the last wait: it is reported, the operations' queue is there again,
 * and the device closes. */
static void failures_are_reported(void **state) {
    (void)state;
    for (int failing = 1;; failing++) {
        struct fixture f;
        float values[COUNT];
        prepare(&f);
        emulator_fail_call(failing);
        enum status status = join(&f.device);
        if (status == STATUS_OK) {
            pass_round(&f);
            collective_wait(&f.device, COLLECTIVE_SUMS);
            collective_finish(&f.device);
            status = device_read(&f.device, values, f.y, &err);
        }
        bool reached = emulator_fail_call(0) >= failing;
        assert_int_equal(status, reached ? STATUS_FAILED : STATUS_OK);
        if (reached) assert_true(err.message[0] != '\0');
        finish(&f);
        if (!reached) break;
        err.message[0] = '\0';
    }
}

static void a_failed_collective_is_named(void **state) {
    (void)state;
    struct fixture f;
    prepare(&f);
    assert_int_equal(join(&f.device), STATUS_OK);
    struct tensor one = tensor_at(f.device.collective->one, DTYPE_F32, 1, COUNT),
                  all = tensor_at(f.device.collective->all, DTYPE_F32, 1, COUNT);
    collective_begin(&f.device);
    emulator_fail_call(1);
    all_gather(&f.device, all, one);
    emulator_fail_call(0);
    collective_end(&f.device, COLLECTIVE_WHOLES);
    assert_int_equal(device_synchronize(&f.device, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "all_gather: NCCL: unhandled system error"));
    finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_meet_at_their_marks),     cmocka_unit_test(without_events_it_shows),
        cmocka_unit_test(waiting_is_for_one_kind),        cmocka_unit_test(failures_are_reported),
        cmocka_unit_test(nothing_is_allocated_meanwhile), cmocka_unit_test(a_failed_collective_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
