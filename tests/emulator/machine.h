/* What the files of the emulator share: its state is the machine's, as a GPU's is. */
#ifndef VS2_TESTS_EMULATOR_MACHINE_H
#define VS2_TESTS_EMULATOR_MACHINE_H

#include "tests/emulator/emulator.h"

enum {
    MACHINE_SHARED_DEFAULT = 48 << 10, /* dynamic shared memory of a block, without and with opting in */
    MACHINE_SHARED_MOST = 99 << 10,    /* the least that sm_80 to sm_120 have */
    MACHINE_THREADS_MOST = 1024,
};

/* Queued work: `run` gets a copy of the argument, made when it is queued. */
typedef void machine_work(void *argument);
cudaError_t machine_queue(cudaStream_t stream, machine_work *run, const void *argument, size_t bytes);

/* graph.c: whether the thread captures the stream's work; keeps work of that stream instead of queueing it;
 * and for calls that a capture does not take: whether there is one, which is then spoiled. */
bool machine_captures(cudaStream_t stream);
void machine_capture(machine_work *run, const void *argument, size_t bytes);
bool machine_spoils_capture(void);

/* Opens the memory of the device for its queued work that is running, until the stream stops. */
void machine_open(void);

/* Whether a call that can fail is to fail now (emulator_fail_call). */
bool machine_call_fails(void);

void machine_count(enum emulator_count what);

/* Ends the program: the emulated program made a mistake that a GPU might not report. */
void machine_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Whether [at, at + bytes) lies in one piece of the thread's device's memory. */
bool machine_is_device(const void *at, size_t bytes);

/* Runs one grid (grid.c). */
struct grid {
    emulator_body *run;
    const void *packed;
    dim3 size, block;
    size_t shared;
};
void machine_run_grid(const struct grid *grid);

/* The thread that runs, of its block; and its end, for copies.c. */
int machine_thread(void);
void machine_copies_end(void);

/* fiber.c: a stack of its own for `run`, which never returns; NULL: one for the stack that runs now. */
struct fiber;
struct fiber *fiber_new(void (*run)(void));
/* Goes on in `to`, until somebody goes on in `from`, which runs now. */
void fiber_switch(struct fiber *from, struct fiber *to);

#endif
