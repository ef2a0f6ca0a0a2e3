/* The emulator itself: that it computes as CUDA defines, and that it tells the mistakes it is there to tell.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

#include "cublasLt.h"
#include "tensor/cuda/hardware.cuh"

static cudaStream_t stream, other;

static int open_streams(void **) {
    return cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess ||
           cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) != cudaSuccess;
}

static int close_streams(void **) {
    return cudaStreamDestroy(stream) != cudaSuccess || cudaStreamDestroy(other) != cudaSuccess;
}

template <typename T> static T *device_array(int count) {
    void *memory;
    assert_int_equal(cudaMalloc(&memory, (size_t)count * sizeof(T)), cudaSuccess);
    return static_cast<T *>(memory);
}

template <typename T> static void upload(T *to, const T *from, int count) {
    assert_int_equal(cudaMemcpyAsync(to, from, (size_t)count * sizeof(T), cudaMemcpyHostToDevice, stream), 0);
}

template <typename T> static void download(T *to, const T *from, int count) {
    assert_int_equal(cudaMemcpyAsync(to, from, (size_t)count * sizeof(T), cudaMemcpyDeviceToHost, stream), 0);
}

static cudaError_t launch(void (*kernel)(int *), dim3 grid, dim3 block, size_t shared, int *out) {
    void *arguments[] = {&out};
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

/* Runs a mistake in a child; what it says on stderr must hold `message`, and it must die of `signal`. */
template <typename Mistake> static void expect_end(Mistake mistake, int death, const char *message) {
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL), signal(SIGSEGV, SIG_DFL), signal(SIGILL, SIG_DFL);
        dup2(pipes[1], 2);
        mistake();
        _exit(0);
    }
    close(pipes[1]);
    char text[4096] = "";
    size_t length = 0;
    for (ssize_t got; (got = read(pipes[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == death);
    if (!strstr(text, message)) fail_msg("\"%s\" does not say \"%s\"", text, message);
}

/* The same of a kernel. */
static void expect_death(void (*kernel)(int *), unsigned threads, int death, const char *message) {
    expect_end(
        [=] {
            int *out = device_array<int>(64);
            launch(kernel, dim3(1), dim3(threads), 128, out);
            cudaStreamSynchronize(stream);
        },
        death, message);
}

/* ---- Threads ----------------------------------------------------------------------------------------- */

static __global__ void place_kernel(int *out) {
    unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    out[block * 30 + thread] = static_cast<int>(block * 1000 + thread);
}

static void every_thread_runs_once(void **) {
    enum { COUNT = 24 * 30 };
    int got[COUNT], *out = device_array<int>(COUNT);
    assert_int_equal(launch(place_kernel, dim3(2, 3, 4), dim3(5, 3, 2), 0, out), cudaSuccess);
    download(got, out, COUNT);
    for (int i = 0; i < COUNT; i++) assert_int_equal(got[i], i / 30 * 1000 + i % 30);
    cudaFree(out);
}

/* Each thread passes a number to both neighbours, `rounds` times, with or without waiting for them. */
template <bool BARRIER> static __global__ void pass_kernel(int *out) {
    __shared__ int numbers[64];
    unsigned t = threadIdx.x, n = blockDim.x;
    int own = static_cast<int>(t);
    for (int round = 0; round < 3; round++) {
        numbers[t] = own;
        if (BARRIER) __syncthreads();
        own = numbers[(t + 1) % n] + 2 * numbers[(t + n - 1) % n];
        __syncthreads();
    }
    out[t] = own;
}

static void a_missing_barrier_gives_wrong_results(void **) {
    int got[64], bare[64], want[64], old[64], *out = device_array<int>(64);
    for (int i = 0; i < 64; i++) want[i] = i;
    for (int round = 0; round < 3; round++) {
        memcpy(old, want, sizeof old);
        for (int i = 0; i < 64; i++) want[i] = old[(i + 1) % 64] + 2 * old[(i + 63) % 64];
    }
    launch(pass_kernel<true>, dim3(1), dim3(64), 0, out);
    download(got, out, 64);
    launch(pass_kernel<false>, dim3(1), dim3(64), 0, out);
    download(bare, out, 64);
    assert_memory_equal(got, want, sizeof want);
    assert_memory_not_equal(bare, want, sizeof want);
    cudaFree(out);
}

static __global__ void returning_kernel(int *) {
    if (threadIdx.x == 5) return;
    __syncthreads();
}
static __global__ void branching_kernel(int *) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
}
static __global__ void leaving_kernel(int *) {
    if (threadIdx.x < 3) return;
    __syncwarp();
}
static __global__ void mixed_kernel(int *out) {
    out[0] = threadIdx.x < 16 ? __shfl_xor_sync(0xffffffffu, 1, 1) : (int)__ballot_sync(0xffffffffu, true);
}
static __global__ void stranger_kernel(int *out) {
    out[0] = __shfl_sync(0xffffu, 1, 0);
}
static __global__ void stuck_kernel(int *) {
    if (threadIdx.x < 16) __syncwarp();
    __syncthreads();
}

static void divergence_is_told(void **) {
    expect_death(returning_kernel, 64, SIGABRT, "divergent barrier: 1 of 64 threads have returned");
    expect_death(branching_kernel, 64, SIGABRT, "divergent barrier: threads wait at");
    expect_death(leaving_kernel, 32, SIGABRT, "has returned");
    expect_death(mixed_kernel, 32, SIGABRT, "meet in different operations");
    expect_death(stranger_kernel, 32, SIGABRT, "is not in its mask");
    expect_death(stuck_kernel, 32, SIGABRT, "never come");
}

static __global__ void vote_kernel(int *out) {
    int lane = static_cast<int>(threadIdx.x);
    bool all = __syncthreads_or(lane == 40);
    if (lane >= 32) return;
    out[lane] = __shfl_xor_sync(0xffffffffu, lane * lane, 5);
    if (lane < 8) out[32 + lane] = static_cast<int>(__ballot_sync(0xffu, lane % 3 == 0));
    if (lane < 8) out[40 + lane] = __shfl_sync(0xffu, lane, 7 - lane);
    if (lane == 9) out[48] = all;
    if (lane == 9)
        out[49] = atomicAdd(&out[50], 3) + atomicMin(&out[50], 2) * 10 + atomicCAS(&out[50], 2, 8) * 100;
}

static void warps_and_atomics(void **) {
    int got[64] = {0}, *out = device_array<int>(64);
    upload(out, got, 64);
    launch(vote_kernel, dim3(1), dim3(64), 0, out);
    download(got, out, 64);
    for (int i = 0; i < 32; i++) assert_int_equal(got[i], (i ^ 5) * (i ^ 5));
    for (int i = 0; i < 8; i++) assert_int_equal(got[32 + i], 1 | 8 | 64);
    for (int i = 0; i < 8; i++) assert_int_equal(got[40 + i], 7 - i);
    assert_int_equal(got[48], 1);
    assert_int_equal(got[49], 0 + 30 + 200);
    assert_int_equal(got[50], 8);
    cudaFree(out);
}

/* A tensor-core product against plain loops, with the registers filled as PTX lays them out. */
static __global__ void mma_kernel(float *out, const unsigned short *a, const unsigned short *b) {
    int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    unsigned left[4], right[2];
    for (int i = 0; i < 4; i++) {
        const unsigned short *at = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        left[i] = at[0] | static_cast<unsigned>(at[1]) << 16;
    }
    for (int i = 0; i < 2; i++) {
        int k = 2 * t + i * 8;
        right[i] = b[k * 8 + g] | static_cast<unsigned>(b[(k + 1) * 8 + g]) << 16;
    }
    float sum[4] = {1, 1, 1, 1};
    mma_bf16(sum, left, right);
    for (int i = 0; i < 4; i++) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

static unsigned short small_bf16(int value) {
    return static_cast<unsigned short>(__float_as_uint(static_cast<float>(value)) >> 16);
}

static void tensor_cores(void **) {
    unsigned short a[256], b[128], *device_a = device_array<unsigned short>(256);
    unsigned short *device_b = device_array<unsigned short>(128);
    float got[128], *out = device_array<float>(128);
    for (int i = 0; i < 256; i++) a[i] = small_bf16(i * 7 % 13 - 6);
    for (int i = 0; i < 128; i++) b[i] = small_bf16(i * 5 % 11 - 5);
    upload(device_a, a, 256), upload(device_b, b, 128);
    void *arguments[] = {&out, &device_a, &device_b};
    assert_int_equal(cudaLaunchKernel(mma_kernel, dim3(1), dim3(32), arguments, 0, stream), cudaSuccess);
    download(got, out, 128);
    for (int row = 0; row < 16; row++) {
        for (int col = 0; col < 8; col++) {
            int want = 1;
            for (int k = 0; k < 16; k++) want += ((row * 16 + k) * 7 % 13 - 6) * ((k * 8 + col) * 5 % 11 - 5);
            assert_true(got[row * 8 + col] == static_cast<float>(want));
        }
    }
    cudaFree(out), cudaFree(device_a), cudaFree(device_b);
}

/* Four matrices whose rows lie 24 elements apart in shared memory, element (row, col) of the 32 rows 8 row +
 * col, as they lie and transposed. */
static __global__ void matrices_kernel(int *out) {
    unsigned short *rows = reinterpret_cast<unsigned short *>(shared_floats());
    int lane = static_cast<int>(threadIdx.x);
    for (int i = 0; i < 8; i++) rows[lane * 24 + i] = static_cast<unsigned short>(8 * lane + i);
    __syncwarp();
    unsigned got[8];
    load_matrices(got, rows + lane * 24);
    load_matrices_transposed(got + 4, rows + lane * 24);
    for (int i = 0; i < 8; i++) out[lane * 8 + i] = static_cast<int>(got[i]);
}

static void matrices_of_shared_memory(void **) {
    int got[256], *out = device_array<int>(256);
    assert_int_equal(launch(matrices_kernel, dim3(1), dim3(32), 32 * 48, out), cudaSuccess);
    download(got, out, 256);
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < 4; i++) {
            int low = 64 * i + 8 * (lane / 4) + lane % 4 * 2, across = 64 * i + lane % 4 * 16 + lane / 4;
            assert_int_equal(got[lane * 8 + i], low | (low + 1) << 16);
            assert_int_equal(got[lane * 8 + 4 + i], across | (across + 8) << 16);
        }
    }
    cudaFree(out);
}

/* Copies in two groups: what is there before, between and after the waits. */
static __global__ void copies_kernel(int *out) {
    int *shared = reinterpret_cast<int *>(shared_floats()), t = static_cast<int>(threadIdx.x);
    shared[t * 8] = 5;
    copy_16(shared + t * 8, out, true);
    copy_8(shared + t * 8 + 4, out, false);
    copies_commit();
    copy_8(shared + t * 8 + 6, out + 2, true);
    copies_commit();
    int early = shared[t * 8];
    copies_wait<1>();
    int first = shared[t * 8 + 3], late = shared[t * 8 + 6];
    copies_wait<0>();
    int *to = out + 8 + t * 8;
    to[0] = early, to[1] = first, to[2] = late, to[3] = shared[t * 8 + 4], to[4] = shared[t * 8 + 7];
}

static void copies_are_late(void **) {
    int got[24], values[8] = {1, 2, 3, 4, 5, 6, 7, 8}, *out = device_array<int>(24);
    upload(out, values, 8);
    assert_int_equal(launch(copies_kernel, dim3(1), dim3(2), 64, out), cudaSuccess);
    download(got, out, 24);
    for (int t = 0; t < 2; t++) {
        static const int want[] = {-1, 4, -1, 0, 4};
        assert_memory_equal(got + 8 + t * 8, want, sizeof want);
    }
    cudaFree(out);
}

static __global__ void odd_matrix_kernel(int *) {
    unsigned got[4];
    load_matrices(got, reinterpret_cast<char *>(shared_floats()) + 8);
}
static __global__ void foreign_matrix_kernel(int *out) {
    unsigned got[4];
    load_matrices_transposed(got, out);
}
static __global__ void half_matrix_kernel(int *) {
    unsigned got[4];
    if (threadIdx.x < 16) load_matrices(got, shared_floats());
}
static __global__ void odd_copy_kernel(int *out) {
    copy_16(shared_floats(), out + 1, true);
}
static __global__ void far_copy_kernel(int *out) {
    copy_8(shared_floats() + 32, out, true);
}
static __global__ void foreign_copy_kernel(int *) {
    copy_16(shared_floats(), shared_floats() + 4, true);
}
static __global__ void forgotten_copy_kernel(int *out) {
    copy_8(shared_floats(), out, true);
    copies_commit();
}

static void mistakes_of_matrices_and_copies_are_told(void **) {
    expect_death(odd_matrix_kernel, 32, SIGABRT, "a row of a matrix is not aligned to 16 bytes");
    expect_death(foreign_matrix_kernel, 32, SIGABRT, "does not lie in the shared memory");
    expect_death(half_matrix_kernel, 32, SIGABRT, "has returned");
    expect_death(odd_copy_kernel, 1, SIGABRT, "the source of a copy is not aligned to 16 bytes");
    expect_death(far_copy_kernel, 1, SIGABRT, "the destination of a copy does not lie in the shared memory");
    expect_death(foreign_copy_kernel, 1, SIGABRT, "does not lie in device memory");
    expect_death(forgotten_copy_kernel, 1, SIGABRT, "returned before it waited for its copies");
}

/* ---- Memory and launches ----------------------------------------------------------------------------- */

static __global__ void fill_kernel(int *out) {
    out[threadIdx.x] = 7;
}
static __global__ void misaligned_kernel(int *out) {
    *reinterpret_cast<float4 *>(out + 1) = make_float4(1, 2, 3, 4);
}
static __global__ void beyond_kernel(int *out) {
    out[1024] = 1; /* a page further */
}
static __global__ void stale_kernel(int *out) {
    out[0] = isnan(shared_floats()[3]);
    shared_floats()[3] = 1;
}

static void memory_mistakes_are_told(void **) {
    expect_death(beyond_kernel, 1, SIGSEGV, "");
    if (EMULATOR_TRAPS) expect_death(misaligned_kernel, 1, SIGILL, "");
    int got = 0, *out = device_array<int>(4), status;
    launch(stale_kernel, dim3(2), dim3(1), 64, out);
    download(&got, out, 1);
    assert_int_equal(got, 1);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(*const_cast<volatile int *>(out) == 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    /* A copy that names its direction wrongly, or leaves its memory. */
    assert_int_equal(cudaMemcpyAsync(&got, out, 4, cudaMemcpyHostToDevice, stream), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyAsync(out, &got, 17, cudaMemcpyHostToDevice, stream), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(&got), cudaErrorInvalidValue);
    cudaFree(out);
}

static void launches_are_checked(void **) {
    int *out = device_array<int>(4);
    assert_int_equal(launch(fill_kernel, dim3(0), dim3(1), 0, out), cudaErrorInvalidConfiguration);
    assert_int_equal(launch(fill_kernel, dim3(1), dim3(1025), 0, out), cudaErrorInvalidConfiguration);
    assert_int_equal(launch(fill_kernel, dim3(1, 65536), dim3(1), 0, out), cudaErrorInvalidConfiguration);
    assert_int_equal(launch(fill_kernel, dim3(1), dim3(1), 50000, out), cudaErrorInvalidValue);
    assert_int_equal(cudaFuncSetAttribute(fill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000),
                     0);
    assert_int_equal(launch(fill_kernel, dim3(1), dim3(1), 50000, out), cudaSuccess);
    assert_int_equal(cudaFuncSetAttribute(fill_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 200000),
                     cudaErrorInvalidValue);
    cudaStream_t none = nullptr;
    assert_int_equal(cudaMemsetAsync(out, 0, 4, none), cudaErrorInvalidResourceHandle);
    cudaFree(out);
}

/* ---- Several devices --------------------------------------------------------------------------------- */

static __global__ void read_kernel(int *out, const int *from) {
    out[0] = from[0];
}

static void devices_are_apart(void **) {
    int count, *first = device_array<int>(4);
    size_t available, total;
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    setenv("VS2_EMULATED_GPUS", "2", 1);
    assert_int_equal(cudaGetDeviceCount(&count), cudaSuccess);
    assert_int_equal(count, 2);
    assert_int_equal(cudaSetDevice(1), cudaSuccess);
    cudaMemGetInfo(&available, &total);
    assert_true(available == total);
    expect_end([=] { cudaMemsetAsync(first, 0, 4, stream); }, SIGABRT,
               "memory of device 0 is used on device 1");
    expect_end(
        [=] {
            int *own = device_array<int>(4);
            cudaMemsetAsync(own, 0, 4, stream);
        },
        SIGABRT, "a stream of device 0 is used on device 1");
    expect_end(
        [=] {
            cudaStream_t here;
            int *own = device_array<int>(4);
            const int *there = first;
            void *arguments[] = {&own, &there};
            cudaStreamCreateWithFlags(&here, cudaStreamNonBlocking);
            cudaLaunchKernel(read_kernel, dim3(1), dim3(1), arguments, 0, here);
            cudaStreamSynchronize(here);
        },
        SIGSEGV, "");
    assert_int_equal(cudaFree(first), cudaErrorInvalidValue);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    assert_int_equal(cudaFree(first), cudaSuccess);
    unsetenv("VS2_EMULATED_GPUS");
}

/* What one stream writes, another sees only through an event. */
static void a_missing_event_shows(void **) {
    int got[2] = {0, 0}, zero = 0, *out = device_array<int>(1);
    void *arguments[] = {&out};
    cudaEvent_t written;
    assert_int_equal(cudaEventCreateWithFlags(&written, cudaEventDisableTiming), cudaSuccess);
    upload(out, &zero, 1);
    cudaStreamSynchronize(stream);
    cudaLaunchKernel(fill_kernel, dim3(1), dim3(1), arguments, 0, other);
    download(&got[0], out, 1);
    cudaEventRecord(written, other);
    cudaStreamWaitEvent(stream, written, 0);
    download(&got[1], out, 1);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], 7);
    cudaEventDestroy(written);
    cudaFree(out);
}

/* ---- Graphs ------------------------------------------------------------------------------------------ */

static __global__ void add_kernel(int *out, int value) {
    out[0] += value;
}

static void add_later(int *out, int value) {
    void *arguments[] = {&out, &value};
    assert_int_equal(cudaLaunchKernel(add_kernel, dim3(1), dim3(1), arguments, 0, stream), cudaSuccess);
}

/* Captures out = *start + value (+ value). */
static cudaGraph_t captured_sum(int *out, const int *start, int value, bool twice) {
    cudaGraph_t graph;
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
    upload(out, start, 1);
    add_later(out, value);
    if (twice) add_later(out, value);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    return graph;
}

static void graphs_run_when_they_are_launched(void **) {
    int got = 0, start = 3, *out = device_array<int>(1);
    cudaGraphExec_t executable;
    cudaGraphExecUpdateResultInfo result;
    cudaGraph_t graph = captured_sum(out, &start, 10, false);
    cudaGraph_t other_value = captured_sum(out, &start, 20, false);
    cudaGraph_t other_kind = captured_sum(out, &start, 20, true);
    download(&got, out, 1);
    assert_int_equal(got, 0); /* nothing has run */
    assert_int_equal(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    cudaGraphDestroy(graph);
    start = 4; /* read when the graph runs */
    assert_int_equal(cudaGraphLaunch(executable, stream), cudaSuccess);
    assert_int_equal(cudaGraphExecUpdate(executable, other_value, &result), cudaSuccess);
    download(&got, out, 1);
    assert_int_equal(got, 14); /* launched before the update */
    assert_int_equal(cudaGraphLaunch(executable, stream), cudaSuccess);
    download(&got, out, 1);
    assert_int_equal(got, 24);
    assert_int_equal(cudaGraphExecUpdate(executable, other_kind, &result), cudaErrorGraphExecUpdateFailure);
    cudaGraphDestroy(other_value), cudaGraphDestroy(other_kind), cudaGraphExecDestroy(executable);
    cudaFree(out);
}

static void a_capture_refuses_to_wait_or_allocate(void **) {
    cudaGraph_t graph;
    cudaEvent_t event;
    void *memory = nullptr;
    int *out = device_array<int>(1);
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    for (int mistake = 0; mistake < 7; mistake++) {
        cudaError_t error = cudaSuccess;
        assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), cudaSuccess);
        switch (mistake) {
        case 0: error = cudaStreamSynchronize(stream); break;
        case 1: error = cudaDeviceSynchronize(); break;
        case 2: error = cudaMalloc(&memory, 4); break;
        case 3: error = cudaFree(out); break;
        case 4: error = cudaHostAlloc(&memory, 4, cudaHostAllocDefault); break;
        case 5: error = cudaEventRecord(event, stream); break;
        case 6: error = cudaStreamWaitEvent(stream, event, 0); break;
        }
        assert_int_equal(error, cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
        assert_null(graph);
    }
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorInvalidValue);
    cudaEventDestroy(event);
    cudaFree(out);
}

/* Pinned memory is read when the copy runs, other memory when it is queued. */
static void pinned_memory_is_read_late(void **) {
    int got[2], plain = 1, *pinned, *out = device_array<int>(2);
    assert_int_equal(cudaHostAlloc(reinterpret_cast<void **>(&pinned), sizeof *pinned, cudaHostAllocDefault),
                     0);
    *pinned = 1;
    upload(out, &plain, 1);
    upload(out + 1, pinned, 1);
    plain = *pinned = 2;
    download(got, out, 2);
    assert_int_equal(got[0], 1);
    assert_int_equal(got[1], 2);
    cudaFreeHost(pinned);
    cudaFree(out);
}

/* ---- Products ---------------------------------------------------------------------------------------- */

struct product {
    cudaDataType_t type;
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    unsigned alignment;              /* promised, of everything */
    int offset;                      /* of A from its beginning, in elements */
    int bias_offset, scratch_offset; /* of the bias and the workspace, in f32 elements */
};

enum { M = 6, N = 5, K = 4, LD = 8 };

/* D = 2 op(A) op(B) + 3 C (+ bias), with A = 1, 2, ... down its columns, and so on. */
static cublasStatus_t multiply(const struct product *p, float *d) {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t best;
    const float alpha = 2, beta = 3;
    const uint64_t workspace = 4096;
    float values[4 * 64];
    for (int i = 0; i < 4 * 64; i++) values[i] = static_cast<float>(i % 19 - 9);
    float *data = device_array<float>(4 * 64), *scratch = device_array<float>(1024);
    upload(data, values, 4 * 64);
    const float *bias = data + 192 + p->bias_offset;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &p->a, sizeof p->a);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &p->b, sizeof p->b);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &p->epilogue, sizeof p->epilogue);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    bool at = p->a == CUBLAS_OP_T, bt = p->b == CUBLAS_OP_T;
    cublasLtMatrixLayoutCreate(&a, p->type, at ? K : M, at ? M : K, LD);
    cublasLtMatrixLayoutCreate(&b, p->type, bt ? N : K, bt ? K : N, LD);
    cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, M, N, LD);
    cublasLtMatmulPreferenceCreate(&preference);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, 8);
    for (int i = 0; i < 4; i++)
        cublasLtMatmulPreferenceSetAttribute(
            preference,
            (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
            &p->alignment, sizeof p->alignment);
    int count;
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, desc, a, b, c, c, preference, 1, &best, &count);
    size_t size = p->type == CUDA_R_32F ? 4 : 2;
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmul(handle, desc, &alpha, reinterpret_cast<char *>(data) + p->offset * size, a,
                                data + 64, b, &beta, data + 128, c, data + 128, c, &best.algo,
                                scratch + p->scratch_offset, 2048, stream);
    download(d, data + 128, 64);
    cublasLtMatmulPreferenceDestroy(preference), cublasLtMatrixLayoutDestroy(a),
        cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(c), cublasLtMatmulDescDestroy(desc), cublasLtDestroy(handle);
    cudaFree(data), cudaFree(scratch);
    return status;
}

static float value(int i) {
    return static_cast<float>(i % 19 - 9);
}

static void products(void **) {
    for (int choice = 0; choice < 8; choice++) {
        struct product p = {CUDA_R_32F,
                            choice & 1 ? CUBLAS_OP_T : CUBLAS_OP_N,
                            choice & 2 ? CUBLAS_OP_T : CUBLAS_OP_N,
                            choice & 4 ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT,
                            16,
                            0,
                            0,
                            0};
        float d[64];
        assert_int_equal(multiply(&p, d), CUBLAS_STATUS_SUCCESS);
        for (int n = 0; n < N; n++) {
            for (int m = 0; m < M; m++) {
                float want = 3 * value(128 + n * LD + m) + (choice & 4 ? value(192 + m) : 0);
                for (int k = 0; k < K; k++)
                    want += 2 * value(choice & 1 ? m * LD + k : k * LD + m) *
                            value(64 + (choice & 2 ? k * LD + n : n * LD + k));
                assert_true(d[n * LD + m] == want);
            }
            for (int m = M; m < LD; m++) assert_true(d[n * LD + m] == value(128 + n * LD + m));
        }
    }
}

static void products_that_are_refused(void **) {
    float d[64];
    struct product p = {CUDA_R_32F, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, 16, 0, 0, 0};
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_SUCCESS);
    p.scratch_offset = 4, p.bias_offset = 2; /* which is not used */
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_SUCCESS);
    p.scratch_offset = 2;
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_INVALID_VALUE);
    p.scratch_offset = 0, p.epilogue = CUBLASLT_EPILOGUE_BIAS;
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_INVALID_VALUE);
    p.bias_offset = 4;
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_SUCCESS);
    p.offset = 1; /* less aligned than promised */
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_INVALID_VALUE);
    p.alignment = 4;
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_SUCCESS);
    p.type = CUDA_R_16BF, p.alignment = 2;
    assert_int_equal(multiply(&p, d), CUBLAS_STATUS_NOT_SUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_once),
        cmocka_unit_test(a_missing_barrier_gives_wrong_results),
        cmocka_unit_test(divergence_is_told),
        cmocka_unit_test(warps_and_atomics),
        cmocka_unit_test(tensor_cores),
        cmocka_unit_test(matrices_of_shared_memory),
        cmocka_unit_test(copies_are_late),
        cmocka_unit_test(mistakes_of_matrices_and_copies_are_told),
        cmocka_unit_test(memory_mistakes_are_told),
        cmocka_unit_test(launches_are_checked),
        cmocka_unit_test(devices_are_apart),
        cmocka_unit_test(a_missing_event_shows),
        cmocka_unit_test(graphs_run_when_they_are_launched),
        cmocka_unit_test(a_capture_refuses_to_wait_or_allocate),
        cmocka_unit_test(pinned_memory_is_read_late),
        cmocka_unit_test(products),
        cmocka_unit_test(products_that_are_refused),
    };
    return cmocka_run_group_tests(tests, open_streams, close_streams);
}
