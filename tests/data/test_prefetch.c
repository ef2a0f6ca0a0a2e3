/* Work ahead: order, errors of items, bounds, early ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/prefetch.h"

/* What a test watches; all under the lock. */
struct watch {
    pthread_mutex_t lock;
    int64_t made, released, taken;
    int64_t most_ahead; /* items made and not taken */
    size_t held, most_held;
    size_t bytes; /* of every item */
    bool fail_thirds;
};

static enum status make(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    struct watch *watch = context;
    usleep((useconds_t)(item * 7919 % 5) * 100); /* out of order */
    if (watch->fail_thirds && item % 3 == 0) return error_set(err, "item %lld", (long long)item);
    int64_t *made = malloc(sizeof *made);
    assert_non_null(made);
    *made = item;
    *result = made;
    *bytes = watch->bytes;
    pthread_mutex_lock(&watch->lock);
    watch->made++;
    watch->held += watch->bytes;
    if (watch->held > watch->most_held) watch->most_held = watch->held;
    if (watch->made - watch->taken > watch->most_ahead) watch->most_ahead = watch->made - watch->taken;
    pthread_mutex_unlock(&watch->lock);
    return STATUS_OK;
}

static void release(void *context, void *result) {
    struct watch *watch = context;
    pthread_mutex_lock(&watch->lock);
    watch->released++;
    pthread_mutex_unlock(&watch->lock);
    free(result);
}

static void take(struct watch *watch, struct prefetch *prefetch, int64_t item) {
    struct error err;
    void *result;
    enum status status = prefetch_next(prefetch, &result, &err);
    if (watch->fail_thirds && item % 3 == 0) {
        char message[32];
        assert_int_equal(status, STATUS_FAILED);
        assert_null(result);
        snprintf(message, sizeof message, "item %lld", (long long)item);
        assert_string_equal(err.message, message);
        return;
    }
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(*(int64_t *)result, item);
    pthread_mutex_lock(&watch->lock);
    watch->taken++;
    watch->held -= watch->bytes;
    pthread_mutex_unlock(&watch->lock);
    free(result);
}

static void run(struct watch *watch, int64_t count, int64_t takes, struct prefetch_limits limits) {
    struct error err;
    struct prefetch_work work = {.context = watch, .make = make, .release = release};
    pthread_mutex_init(&watch->lock, NULL);
    struct prefetch *prefetch = prefetch_start(&work, count, &limits, &err);
    assert_non_null(prefetch);
    for (int64_t i = 0; i < takes; i++) take(watch, prefetch, i);
    prefetch_stop(prefetch);
    assert_int_equal(watch->made, watch->taken + watch->released);
    pthread_mutex_destroy(&watch->lock);
}

static void test_order(void **state) {
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        struct watch watch = {.bytes = 1};
        run(&watch, 60, 60, (struct prefetch_limits){.threads = threads});
        assert_int_equal(watch.taken, 60);
        assert_true(watch.most_ahead <= 2 * threads);
    }
}

static void test_errors(void **state) {
    (void)state;
    struct watch watch = {.bytes = 1, .fail_thirds = true};
    run(&watch, 50, 50, (struct prefetch_limits){.threads = 3, .ahead = 4});
    assert_int_equal(watch.taken, 33);
}

/* With a bound of three items, no more than that are ever held, though six may be ahead. The first ones, made
 * before any size is known, count too. */
static void test_memory_bound(void **state) {
    (void)state;
    struct watch watch = {.bytes = 100};
    run(&watch, 60, 60, (struct prefetch_limits){.threads = 2, .ahead = 6, .max_bytes = 300});
    assert_true(watch.most_held <= 300);
    /* An item larger than the bound still comes, one at a time after the first ones. */
    struct watch large = {.bytes = 1000};
    run(&large, 20, 20, (struct prefetch_limits){.threads = 2, .ahead = 6, .max_bytes = 300});
    assert_int_equal(large.taken, 20);
    assert_true(large.most_held <= 2000);
}

static void test_early_stop(void **state) {
    (void)state;
    struct watch watch = {.bytes = 1};
    run(&watch, 1000, 3, (struct prefetch_limits){.threads = 4});
    assert_true(watch.made < 30);
    struct watch none = {.bytes = 1};
    run(&none, 0, 0, (struct prefetch_limits){.threads = 2});
    assert_int_equal(none.made, 0);
    prefetch_stop(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_memory_bound),
        cmocka_unit_test(test_early_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
