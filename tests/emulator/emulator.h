/* The emulator: a stand-in for a CUDA device, so that the sources of tensor/cuda run on a machine without
 * one.
 *
 * include/ holds headers of CUDA's names that declare what tensor/cuda uses, no more; the same .cu files are
 * compiled by the host's C++ compiler against them. A kernel's blocks run one after the other and its threads
 * are fibers of one host thread (grid.c), so a run has one order and repeats to the bit. It is strict where a
 * GPU is silent:
 * - work is queued and runs when somebody waits for it, each stream as far as it is waited for: a missing
 * event or synchronisation shows (runtime.c). There is no default stream;
 * - what is captured for a graph keeps the parameters it was queued with, and reads host memory when the
 * graph runs; waiting and allocating within a capture are refused and spoil it (graph.c);
 * - device memory cannot be touched by the host outside queued work, and has closed pages around it;
 * - there are as many devices as the environment's VS2_EMULATED_GPUS says (1): memory and streams belong to
 *   the one that was the thread's when they were made, and using them on another ends the program;
 * - a barrier that some threads of a block do not reach, a warp operation that some lanes of its mask do not
 *   reach, and lanes that meet in different operations end the program with a line that names the place;
 * - from one phase between barriers to the next the order of the threads turns round, so that a missing
 * barrier gives wrong results;
 * - shared memory holds NaN when a block begins, and where an asynchronous copy goes until its thread has
 * waited for it (copies.c);
 * - vector loads of misaligned addresses trap (the build asks the compiler for that);
 * - matrix products refuse what cuBLASLt is not documented to take (cublaslt.c), and attention what cuDNN
 *   refuses (cudnn.c).
 * What it cannot show: speed, races through global memory, anything of the hardware's own. */
#ifndef VS2_TESTS_EMULATOR_EMULATOR_H
#define VS2_TESTS_EMULATOR_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda_runtime_api.h"
#include "tests/emulator/hooks.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- For the headers: launching ---------------------------------------------------------------------- */

/* A kernel with its arguments: `run` calls it once, as one thread. */
typedef void emulator_body(const void *packed);
cudaError_t emulator_launch(const void *kernel, emulator_body *run, const void *packed, size_t bytes,
                            dim3 grid, dim3 block, size_t shared, cudaStream_t stream);

/* ---- For the headers: what a thread sees -------------------------------------------------------------- */

enum { EMULATOR_WARP = 32 };

/* Where the thread is that runs. A variable, as every access of a kernel reads it. */
struct emulator_place {
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern struct emulator_place emulator_here __attribute__((visibility("hidden")));
void *emulator_shared_memory(void);

/* __syncthreads; __syncthreads_or: whether any thread votes yes. */
bool emulator_barrier(bool vote, const char *file, int line);

/* An operation of the lanes in `mask`: the last to come calls `combine` with the arguments of all (NULL for
 * lanes outside the mask), which writes each lane's result into its argument. */
typedef void emulator_combine(void *const lanes[EMULATOR_WARP]);
void emulator_warp(emulator_combine *combine, unsigned mask, void *argument, const char *file, int line);

/* Ends the program unless `at` lies in the block's dynamic shared memory, aligned to its size. */
void emulator_check_shared(const char *what, const void *at, size_t bytes);

/* cp.async, cp.async.commit_group and cp.async.wait_group. */
void emulator_copy(void *to, const void *from, size_t bytes, bool there);
void emulator_copies_commit(void);
void emulator_copies_wait(int left);

#ifdef __cplusplus
}
#endif

#endif
