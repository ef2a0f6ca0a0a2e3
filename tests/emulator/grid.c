/* Blocks and threads. A warp runs until all its lanes wait at a barrier or are done, then the next; when all
 * wait, the barrier opens. A thread needs a fiber of its own only while it waits: a fiber whose thread is
 * done goes on with the next one that has not begun, so that a kernel without barriers and warp operations is
 * a loop. A thread that waits hands over to the next ready lane of its warp; only when there is none does the
 * machine's own fiber go on. */
#include <stdio.h>
#include <string.h>

#include "tests/emulator/machine.h"

enum { WARPS_MOST = MACHINE_THREADS_MOST / EMULATOR_WARP };

struct thread {
    struct fiber *fiber; /* NULL: it has not begun, or is done */
    uint3 index;
    const char *file; /* where it waits */
    int line;
    emulator_combine *combine; /* in what operation of its warp */
    unsigned mask;
    void *argument;
};

/* The lanes of a warp, a bit each; those in none of the last three wait at the barrier. */
struct warp {
    unsigned lanes; /* that the block has */
    unsigned ready, meeting, done;
};

/* Who waits at the barrier. */
struct barrier {
    int count;
    const struct thread *first; /* to come */
    bool vote;                  /* whether any voted yes */
};

struct emulator_place emulator_here;

static struct {
    const struct grid *grid;
    struct thread threads[MACHINE_THREADS_MOST];
    struct warp warps[WARPS_MOST];
    int count, current;
    struct fiber *own;                             /* what calls machine_run_grid */
    struct fiber *spare[MACHINE_THREADS_MOST + 1]; /* fibers without a thread */
    int spare_count;
    struct barrier barrier;
    bool vote;      /* at the last barrier */
    unsigned phase; /* between barriers, over all blocks so far */
    _Alignas(1024) unsigned char shared[MACHINE_SHARED_MOST];
} machine;

void *emulator_shared_memory(void) {
    return machine.shared;
}

int machine_thread(void) {
    return machine.current;
}

void emulator_check_shared(const char *what, const void *at, size_t bytes) {
    uintptr_t first = (uintptr_t)machine.shared, place = (uintptr_t)at;
    if (place < first || place + bytes > first + machine.grid->shared)
        machine_die("%s does not lie in the shared memory that the launch asked for", what);
    if (place % bytes) machine_die("%s is not aligned to %d bytes", what, (int)bytes);
}

/* ---- Handing over ------------------------------------------------------------------------------------ */

static void fiber_run(void);

static struct fiber *spare_fiber(void) {
    return machine.spare_count ? machine.spare[--machine.spare_count] : fiber_new(fiber_run);
}

/* Makes the next ready lane of the warp the current thread, in the order of this phase; false: none is. */
static bool next_lane(const struct warp *warp) {
    int lane = machine.current % EMULATOR_WARP;
    unsigned ready = warp->ready, before = ready & ((1u << lane) - 1), after = ready & (~1u << lane);
    if (!ready) return false;
    if (machine.phase & 1)
        lane = 31 - __builtin_clz(before ? before : ready);
    else
        lane = __builtin_ctz(after ? after : ready);
    machine.current = machine.current / EMULATOR_WARP * EMULATOR_WARP + lane;
    emulator_here.thread = machine.threads[machine.current].index;
    return true;
}

/* The fiber in which the current thread goes on or begins. */
static struct fiber *current_fiber(void) {
    struct thread *thread = &machine.threads[machine.current];
    if (!thread->fiber) thread->fiber = spare_fiber();
    return thread->fiber;
}

/* The current thread waits, as its warp's lanes say, until it is ready again. */
static void thread_wait(const struct warp *warp) {
    struct fiber *fiber = machine.threads[machine.current].fiber;
    fiber_switch(fiber, next_lane(warp) ? current_fiber() : machine.own);
}

/* Threads from their beginning to their end, one after the other. */
static void fiber_run(void) {
    for (;;) {
        struct thread *thread = &machine.threads[machine.current];
        struct warp *warp = &machine.warps[machine.current / EMULATOR_WARP];
        struct fiber *fiber = thread->fiber;
        machine.grid->run(machine.grid->packed);
        machine_copies_end();
        unsigned lane = 1u << machine.current % EMULATOR_WARP;
        warp->ready &= ~lane;
        warp->done |= lane;
        thread->fiber = NULL;
        bool more = next_lane(warp);
        struct thread *next = &machine.threads[machine.current];
        if (more && !next->fiber) {
            next->fiber = fiber;
            continue;
        }
        machine.spare[machine.spare_count++] = fiber;
        fiber_switch(fiber, more ? next->fiber : machine.own);
    }
}

/* ---- Barriers and warps ------------------------------------------------------------------------------ */

/* Whether a thread waits in this line; in most cases it has the very same text. */
static bool waits_at(const struct thread *thread, const char *file, int line) {
    return thread->line == line && (thread->file == file || strcmp(thread->file, file) == 0);
}

bool emulator_barrier(bool vote, const char *file, int line) {
    struct thread *own = &machine.threads[machine.current];
    struct warp *warp = &machine.warps[machine.current / EMULATOR_WARP];
    struct barrier *barrier = &machine.barrier;
    own->file = file;
    own->line = line;
    if (barrier->count++ == 0) barrier->first = own;
    if (!waits_at(barrier->first, file, line))
        machine_die("divergent barrier: threads wait at %s:%d and at %s:%d", barrier->first->file,
                    barrier->first->line, file, line);
    barrier->vote = barrier->vote || vote;
    warp->ready &= ~(1u << machine.current % EMULATOR_WARP);
    thread_wait(warp);
    return machine.vote;
}

/* Ends the program if the lane that `own` meets is in another operation. */
static void meet_check(const struct thread *own, const struct thread *other) {
    if (other->combine != own->combine || other->mask != own->mask)
        machine_die("%s:%d: lanes of one warp meet in different operations (the other at %s:%d)", own->file,
                    own->line, other->file, other->line);
}

/* All lanes of the mask that the block has are there; they become ready. */
static void warp_combine(struct warp *warp, const struct thread *own, unsigned lanes) {
    const struct thread *threads = &machine.threads[machine.current / EMULATOR_WARP * EMULATOR_WARP];
    void *arguments[EMULATOR_WARP] = {0};
    for (unsigned left = lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        meet_check(own, &threads[lane]);
        arguments[lane] = threads[lane].argument;
    }
    warp->meeting &= ~lanes;
    warp->ready |= lanes;
    own->combine(arguments);
}

void emulator_warp(emulator_combine *combine, unsigned mask, void *argument, const char *file, int line) {
    struct thread *own = &machine.threads[machine.current];
    struct warp *warp = &machine.warps[machine.current / EMULATOR_WARP];
    int lane = machine.current % EMULATOR_WARP;
    if (!(mask >> lane & 1)) machine_die("%s:%d: lane %d is not in its mask %08x", file, line, lane, mask);
    own->combine = combine;
    own->mask = mask;
    own->argument = argument;
    own->file = file;
    own->line = line;
    unsigned lanes = mask & warp->lanes, others = lanes & warp->meeting;
    if (lanes & warp->done)
        machine_die("%s:%d: lane %d of the mask %08x has returned", file, line,
                    __builtin_ctz(lanes & warp->done), mask);
    if (others) meet_check(own, own - lane + __builtin_ctz(others));
    warp->ready &= ~(1u << lane);
    warp->meeting |= 1u << lane;
    if ((warp->meeting & lanes) == lanes)
        warp_combine(warp, own, lanes);
    else
        thread_wait(warp);
}

/* ---- Blocks ------------------------------------------------------------------------------------------ */

/* Runs the lanes of a warp until none is ready. */
static void warp_run(int index) {
    struct warp *warp = &machine.warps[index];
    /* Where the lanes of this phase begin. */
    machine.current = index * EMULATOR_WARP + (machine.phase & 1 ? 0 : EMULATOR_WARP - 1);
    if (next_lane(warp)) fiber_switch(machine.own, current_fiber());
}

/* After all warps ran: the barrier opens, or the block is done (false). */
static bool barrier_open(int warps) {
    const struct barrier *barrier = &machine.barrier;
    for (int i = 0; i < warps; i++) {
        if (!machine.warps[i].meeting) continue;
        int index = i * EMULATOR_WARP + __builtin_ctz(machine.warps[i].meeting);
        machine_die("%s:%d: thread %d waits for lanes of its warp that never come",
                    machine.threads[index].file, machine.threads[index].line, index);
    }
    if (!barrier->count) return false;
    if (barrier->count != machine.count)
        machine_die("divergent barrier: %d of %d threads have returned, the others wait at %s:%d",
                    machine.count - barrier->count, machine.count, barrier->first->file,
                    barrier->first->line);
    for (int i = 0; i < warps; i++) machine.warps[i].ready = machine.warps[i].lanes;
    machine.vote = barrier->vote;
    machine.barrier = (struct barrier){0};
    return true;
}

static void block_run(void) {
    int warps = (machine.count + EMULATOR_WARP - 1) / EMULATOR_WARP;
    memset(machine.shared, 0xff, machine.grid->shared);
    for (int i = 0; i < warps; i++) {
        machine.warps[i].ready = machine.warps[i].lanes;
        machine.warps[i].done = 0;
    }
    do {
        machine.phase++;
        for (int w = 0; w < warps; w++) warp_run(machine.phase & 1 ? warps - 1 - w : w);
    } while (barrier_open(warps));
}

static void threads_prepare(dim3 block) {
    machine.count = (int)(block.x * block.y * block.z);
    for (int i = 0; i < machine.count; i++) {
        unsigned n = (unsigned)i;
        machine.threads[i].index = (uint3){n % block.x, n / block.x % block.y, n / block.x / block.y};
    }
    for (int first = 0; first < machine.count; first += EMULATOR_WARP) {
        int lanes = machine.count - first < EMULATOR_WARP ? machine.count - first : EMULATOR_WARP;
        machine.warps[first / EMULATOR_WARP] = (struct warp){.lanes = ~0u >> (EMULATOR_WARP - lanes)};
    }
}

void machine_run_grid(const struct grid *grid) {
    if (!machine.own) machine.own = fiber_new(NULL);
    machine.grid = grid;
    threads_prepare(grid->block);
    emulator_here.block_size = grid->block;
    emulator_here.grid_size = grid->size;
    uint3 *block = &emulator_here.block;
    for (block->z = 0; block->z < grid->size.z; block->z++)
        for (block->y = 0; block->y < grid->size.y; block->y++)
            for (block->x = 0; block->x < grid->size.x; block->x++) block_run();
}
