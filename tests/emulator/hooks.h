/* For tests: what the emulator counts, and calls that fail by order. Needs none of CUDA's headers. */
#ifndef VS2_TESTS_EMULATOR_HOOKS_H
#define VS2_TESTS_EMULATOR_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the n-th call from now on that can fail do so, with all after it until the next emulator_fail_call;
 * n = 0: none fails. Returns how many calls were counted since the last. */
int emulator_fail_call(int n);

/* From now on no stream waits for another one's events: what a program that forgets them would compute. */
void emulator_forget_events(bool forgets);

/* The same, but calls after the n-th succeed. */
int emulator_fail_one_call(int n);

/* Gives each device so many bytes of memory, of which what is taken counts; 0: the 8 GiB that it has. */
void emulator_set_memory(size_t bytes);

enum emulator_count {
    EMULATOR_ALLOCATIONS,    /* device and pinned memory, taken or given back */
    EMULATOR_KERNELS,        /* launched by themselves, not those of graphs */
    EMULATOR_GRAPHS,         /* made executable */
    EMULATOR_GRAPH_LAUNCHES, /* of whole graphs */
    EMULATOR_HEURISTICS,     /* of cuBLASLt, asked for an algorithm */
    EMULATOR_COUNTS,
};

/* How often there was one since the process began. */
int64_t emulator_counted(enum emulator_count what);

/* How many operations of attention cuDNN has run. */
int emulator_attentions(void);

#ifdef __cplusplus
}
#endif

#endif
