#include "base/activity.h"

#include <stdatomic.h>

static atomic_uint_fast64_t steps;
static atomic_bool waiting;

void activity_step(void) {
    atomic_fetch_add_explicit(&steps, 1, memory_order_relaxed);
}

void activity_wait(bool waits) {
    atomic_store_explicit(&waiting, waits, memory_order_relaxed);
    activity_step();
}

struct activity activity_now(void) {
    return (struct activity){.steps = atomic_load_explicit(&steps, memory_order_relaxed),
                             .waits = atomic_load_explicit(&waiting, memory_order_relaxed)};
}
