/* Blocks and threads. A block's threads are fibers that are kept from block to block. A warp runs until all
 * its lanes wait at a barrier or are done, then the next; when all wait, the barrier opens. */
#include <stdio.h>
#include <string.h>

#include "tests/emulator/machine.h"

enum thread_state { THREAD_READY, THREAD_AT_BARRIER, THREAD_IN_WARP, THREAD_DONE };

struct thread {
    struct fiber *fiber;
    uint3 index;
    enum thread_state state;
    const char *file; /* where it waits */
    int line;
    bool vote;                 /* at a barrier */
    emulator_combine *combine; /* and in what operation of its warp */
    unsigned mask;
    void *argument;
};

static struct {
    const struct grid *grid;
    uint3 block;
    struct thread threads[MACHINE_THREADS_MOST];
    int count, current;
    bool vote;      /* whether any thread voted yes at the last barrier */
    unsigned phase; /* between barriers, over all blocks so far */
    _Alignas(1024) unsigned char shared[MACHINE_SHARED_MOST];
} machine;

/* ---- What a thread sees ------------------------------------------------------------------------------ */

const uint3 *emulator_thread_index(void) {
    return &machine.threads[machine.current].index;
}

const uint3 *emulator_block_index(void) {
    return &machine.block;
}

const dim3 *emulator_block_size(void) {
    return &machine.grid->block;
}

const dim3 *emulator_grid_size(void) {
    return &machine.grid->size;
}

void *emulator_shared_memory(void) {
    return machine.shared;
}

bool emulator_barrier(bool vote, const char *file, int line) {
    struct thread *thread = &machine.threads[machine.current];
    thread->state = THREAD_AT_BARRIER;
    thread->vote = vote;
    thread->file = file;
    thread->line = line;
    fiber_leave(thread->fiber);
    return machine.vote;
}

/* Whether all lanes of the mask have come; lanes that the block does not have count as there. */
static bool warp_complete(int first, unsigned mask, const struct thread *own) {
    bool complete = true;
    for (int lane = 0; lane < EMULATOR_WARP && first + lane < machine.count; lane++) {
        if (!(mask >> lane & 1)) continue;
        const struct thread *other = &machine.threads[first + lane];
        if (other->state == THREAD_DONE)
            machine_die("%s:%d: lane %d of the mask %08x has returned", own->file, own->line, lane, mask);
        if (other->state != THREAD_IN_WARP) {
            complete = false;
        } else if (other->combine != own->combine || other->mask != mask) {
            machine_die("%s:%d: lanes of one warp meet in different operations (the other at %s:%d)",
                        own->file, own->line, other->file, other->line);
        }
    }
    return complete;
}

void emulator_warp(emulator_combine *combine, unsigned mask, void *argument, const char *file, int line) {
    int first = machine.current / EMULATOR_WARP * EMULATOR_WARP;
    struct thread *own = &machine.threads[machine.current];
    if (!(mask >> machine.current % EMULATOR_WARP & 1))
        machine_die("%s:%d: lane %d is not in its mask %08x", file, line, machine.current % EMULATOR_WARP,
                    mask);
    own->state = THREAD_IN_WARP;
    own->combine = combine;
    own->mask = mask;
    own->argument = argument;
    own->file = file;
    own->line = line;
    if (!warp_complete(first, mask, own)) {
        fiber_leave(own->fiber);
        return;
    }
    void *lanes[EMULATOR_WARP] = {0};
    for (int lane = 0; lane < EMULATOR_WARP && first + lane < machine.count; lane++) {
        if (!(mask >> lane & 1)) continue;
        lanes[lane] = machine.threads[first + lane].argument;
        machine.threads[first + lane].state = THREAD_READY;
    }
    combine(lanes);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

static void thread_run(void) {
    for (;;) {
        struct thread *thread = &machine.threads[machine.current];
        machine.grid->run(machine.grid->packed);
        thread->state = THREAD_DONE;
        fiber_leave(thread->fiber);
    }
}

/* Runs the lanes of a warp until none is ready. */
static void warp_run(int first) {
    int lanes = machine.count - first < EMULATOR_WARP ? machine.count - first : EMULATOR_WARP;
    bool ran = true;
    while (ran) {
        ran = false;
        for (int i = 0; i < lanes; i++) {
            machine.current = first + (machine.phase & 1 ? lanes - 1 - i : i);
            struct thread *thread = &machine.threads[machine.current];
            if (thread->state != THREAD_READY) continue;
            fiber_enter(thread->fiber);
            ran = true;
        }
    }
}

/* After all warps ran: the barrier opens, or the block is done (false). */
static bool barrier_open(void) {
    int waiting = 0, done = 0;
    const struct thread *first = NULL;
    for (int i = 0; i < machine.count; i++) {
        const struct thread *thread = &machine.threads[i];
        if (thread->state == THREAD_DONE) {
            done++;
            continue;
        }
        if (thread->state == THREAD_IN_WARP)
            machine_die("%s:%d: thread %d waits for lanes of its warp that never come", thread->file,
                        thread->line, i);
        if (first && (first->line != thread->line || strcmp(first->file, thread->file) != 0))
            machine_die("divergent barrier: threads wait at %s:%d and at %s:%d", first->file, first->line,
                        thread->file, thread->line);
        first = thread;
        waiting++;
    }
    if (!waiting) return false;
    if (done)
        machine_die("divergent barrier: %d of %d threads have returned, the others wait at %s:%d", done,
                    machine.count, first->file, first->line);
    machine.vote = false;
    for (int i = 0; i < machine.count; i++) {
        machine.vote = machine.vote || machine.threads[i].vote;
        machine.threads[i].state = THREAD_READY;
    }
    return true;
}

static void block_run(void) {
    memset(machine.shared, 0xff, machine.grid->shared);
    for (int i = 0; i < machine.count; i++) machine.threads[i].state = THREAD_READY;
    do {
        machine.phase++;
        int warps = (machine.count + EMULATOR_WARP - 1) / EMULATOR_WARP;
        for (int w = 0; w < warps; w++) warp_run(EMULATOR_WARP * (machine.phase & 1 ? warps - 1 - w : w));
    } while (barrier_open());
}

static void threads_prepare(dim3 block) {
    machine.count = (int)(block.x * block.y * block.z);
    for (int i = 0; i < machine.count; i++) {
        struct thread *thread = &machine.threads[i];
        unsigned n = (unsigned)i;
        thread->index = (uint3){n % block.x, n / block.x % block.y, n / block.x / block.y};
        if (!thread->fiber) thread->fiber = fiber_new(thread_run);
    }
}

void machine_run_grid(const struct grid *grid) {
    machine.grid = grid;
    threads_prepare(grid->block);
    for (machine.block.z = 0; machine.block.z < grid->size.z; machine.block.z++)
        for (machine.block.y = 0; machine.block.y < grid->size.y; machine.block.y++)
            for (machine.block.x = 0; machine.block.x < grid->size.x; machine.block.x++) block_run();
}
