/* Copies to a device beside its operations, and the turns at which both wait for each other. */
#include "tensor/ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/ops.h"
#include "tests/emulator/hooks.h"

/* More than the pinned memory that copies go through, so that a put waits for copies before it. */
enum { COUNT = 3 << 20, BYTES = COUNT * sizeof(float), ROOM_BYTES = BYTES + 64 };

static struct error err;

struct fixture {
    struct device device;
    struct ahead *ahead;
    float *first, *second; /* [COUNT] of host memory: 1, 2, ... and twice that */
    struct tensor sum;     /* f32 [1, COUNT] */
};

static enum status prepare(struct fixture *f, const char *device) {
    *f = (struct fixture){.first = malloc(BYTES), .second = malloc(BYTES)};
    assert_true(f->first && f->second);
    for (int i = 0; i < COUNT; i++) {
        f->first[i] = (float)(i + 1);
        f->second[i] = 2 * (float)(i + 1);
    }
    if (device_open(device, &f->device, &err) != STATUS_OK) return STATUS_FAILED;
    void *memory = device_allocate(&f->device, BYTES, "test", &err);
    if (!memory) return STATUS_FAILED;
    f->sum = tensor_at(memory, DTYPE_F32, 1, COUNT);
    f->ahead = ahead_new(&f->device, ROOM_BYTES, &err);
    return f->ahead ? STATUS_OK : STATUS_FAILED;
}

static void finish(struct fixture *f) {
    ahead_free(f->ahead);
    if (f->device.backend) {
        device_release(&f->device, f->sum.data);
        device_close(&f->device);
    }
    free(f->first);
    free(f->second);
}

static struct tensor find(struct fixture *f, const float *host) {
    void *there = ahead_find(f->ahead, host);
    assert_non_null(there);
    return tensor_at(there, DTYPE_F32, 1, COUNT);
}

/* Whether the sum is `times` 1, 2, ... */
static bool is_sum(struct fixture *f, float times) {
    float *values = malloc(BYTES);
    assert_non_null(values);
    if (device_read(&f->device, values, f->sum, &err) != STATUS_OK) fail_msg("%s", err.message);
    bool same = true;
    for (int i = 0; i < COUNT && same; i++) same = values[i] == times * (float)(i + 1);
    free(values);
    return same;
}

/* What is put is there after a turn, whether the host has waited for the copies or not. */
static bool arrives(const char *device) {
    struct fixture f;
    if (prepare(&f, device)) fail_msg("%s", err.message);
    assert_true(ahead_put(f.ahead, f.first, BYTES));
    assert_null(ahead_find(f.ahead, f.first)); /* not before the turn */
    ahead_turn(f.ahead);
    add(&f.device, f.sum, find(&f, f.first));
    bool same = is_sum(&f, 1);
    finish(&f);
    return same;
}

/* Copies into a room wait for the operations that read what was in it. */
static bool waits_for_readers(const char *device) {
    struct fixture f;
    if (prepare(&f, device)) fail_msg("%s", err.message);
    assert_true(ahead_put(f.ahead, f.first, BYTES));
    ahead_turn(f.ahead);
    add(&f.device, f.sum, find(&f, f.first));
    ahead_turn(f.ahead);
    assert_null(ahead_find(f.ahead, f.first));
    assert_true(ahead_put(f.ahead, f.second, BYTES)); /* over the first */
    ahead_turn(f.ahead);
    add(&f.device, f.sum, find(&f, f.second));
    bool same = is_sum(&f, 3);
    finish(&f);
    return same;
}

/* A read in two halves has what lies behind the operations queued before, each place its own. */
static bool fetches(const char *device) {
    enum { PART = DEVICE_FETCH_BYTES / sizeof(float) };
    struct fixture f;
    float *values = malloc(DEVICE_FETCH_BYTES);
    assert_non_null(values);
    if (prepare(&f, device)) fail_msg("%s", err.message);
    assert_true(ahead_put(f.ahead, f.first, BYTES));
    ahead_turn(f.ahead);
    device_synchronize(&f.device, &err);
    add(&f.device, f.sum, find(&f, f.first));
    bool same = true;
    for (int place = 0; place < DEVICE_FETCHES; place++)
        device_fetch(&f.device, place, tensor_cols(f.sum, place * PART, PART));
    for (int place = 0; place < DEVICE_FETCHES; place++) {
        struct tensor part = tensor_cols(f.sum, place * PART, PART);
        assert_int_equal(device_fetched(&f.device, place, values, part, &err), STATUS_OK);
        for (int i = 0; i < PART && same; i++) same = values[i] == (float)(place * PART + i + 1);
    }
    finish(&f);
    free(values);
    return same;
}

static void copies_and_operations_meet(void **state) {
    (void)state;
    static const char *const devices[] = {"cpu", "guard", "emulated"};
    for (size_t d = 0; d < sizeof devices / sizeof *devices; d++) {
        assert_true(arrives(devices[d]));
        assert_true(waits_for_readers(devices[d]));
        assert_true(fetches(devices[d]));
    }
}

/* The test of the test: without the events all go wrong. */
static void without_events_it_shows(void **state) {
    (void)state;
    emulator_forget_events(true);
    assert_false(arrives("emulated"));
    assert_false(waits_for_readers("emulated"));
    assert_false(fetches("emulated"));
    emulator_forget_events(false);
}

/* Host memory may be written again as soon as the put returns. */
static void host_memory_is_free_again(void **state) {
    (void)state;
    struct fixture f;
    if (prepare(&f, "emulated")) fail_msg("%s", err.message);
    assert_true(ahead_put(f.ahead, f.first, BYTES));
    memset(f.first, 0, BYTES);
    ahead_turn(f.ahead);
    add(&f.device, f.sum, find(&f, f.first));
    assert_true(is_sum(&f, 1));
    finish(&f);
}

/* What does not fit is left out; the rest has its place. */
static void a_full_room_takes_no_more(void **state) {
    (void)state;
    struct fixture f;
    if (prepare(&f, "guard")) fail_msg("%s", err.message);
    assert_false(ahead_put(f.ahead, f.first, ROOM_BYTES + 1));
    assert_true(ahead_put(f.ahead, f.first, BYTES));
    assert_false(ahead_put(f.ahead, f.second, BYTES));
    assert_true(ahead_put(f.ahead, f.second, 1));
    ahead_turn(f.ahead);
    assert_int_equal((char *)ahead_find(f.ahead, f.second) - (char *)ahead_find(f.ahead, f.first), BYTES);
    int puts = 0;
    while (ahead_put(f.ahead, f.first + puts, 1)) puts++;
    assert_int_equal(puts, 64);
    finish(&f);
}

static void nothing_is_allocated_meanwhile(void **state) {
    (void)state;
    struct fixture f;
    if (prepare(&f, "emulated")) fail_msg("%s", err.message);
    int64_t before = emulator_counted(EMULATOR_ALLOCATIONS);
    for (int i = 0; i < 3; i++) {
        assert_true(ahead_put(f.ahead, f.first, BYTES));
        ahead_turn(f.ahead);
    }
    assert_int_equal(emulator_counted(EMULATOR_ALLOCATIONS), before);
    finish(&f);
}

/* Every call may fail, from the opening on: it is reported, and all is given back. */
static void failures_are_reported(void **state) {
    (void)state;
    for (int failing = 1;; failing++) {
        struct fixture f;
        emulator_fail_call(failing);
        enum status status = prepare(&f, "emulated");
        if (status == STATUS_OK) {
            ahead_put(f.ahead, f.first, 64);
            ahead_turn(f.ahead);
            float one;
            device_fetch(&f.device, 1, tensor_cols(f.sum, 0, 1));
            status = device_fetched(&f.device, 1, &one, tensor_cols(f.sum, 0, 1), &err);
            if (status == STATUS_OK) status = device_synchronize(&f.device, &err);
        }
        bool reached = emulator_fail_call(0) >= failing;
        assert_int_equal(status != STATUS_OK, reached);
        if (reached) assert_true(err.message[0] != '\0');
        finish(&f);
        if (!reached) break;
        err.message[0] = '\0';
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_operations_meet), cmocka_unit_test(without_events_it_shows),
        cmocka_unit_test(host_memory_is_free_again),  cmocka_unit_test(a_full_room_takes_no_more),
        cmocka_unit_test(failures_are_reported),      cmocka_unit_test(nothing_is_allocated_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
