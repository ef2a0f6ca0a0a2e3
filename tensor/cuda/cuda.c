/* A GPU as a device: opening it, its memory, and the table of operations. */
#include "tensor/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/cuda/attention_plan.h"
#include "tensor/cuda/cudnn.h"

/* tests/emulator builds these sources once more, as a device of another name. */
#ifdef VS2_EMULATED
#define DEVICE_NAME    "emulated"
#define DEVICE_BACKEND backend_emulated
#else
#define DEVICE_NAME    "cuda"
#define DEVICE_BACKEND backend_cuda
#endif

enum {
    CAPABILITY_LEAST = 8,       /* sm_80: bf16 on tensor cores, copies beside the threads */
    WORKSPACE_BYTES = 64 << 20, /* more than operations on rows of usual lengths want: longer ones that come
                                   later do not wait for memory */
};

bool cuda_check(struct device *device, cudaError_t error, const char *what) {
    if (error == cudaSuccess) return true;
    device_fail(device, "%s: %s", what, cudaGetErrorString(error));
    return false;
}

static enum status open_failed(struct error *err, cudaError_t error, const char *what) {
    return error_set(err, "device " DEVICE_NAME ": %s: %s", what, cudaGetErrorString(error));
}

/* ---- Opening ----------------------------------------------------------------------------------------- */

static void cuda_close(struct device *device) {
    struct cuda_state *state = cuda_state(device);
    cuda_group_end(device);
    cuda_abandon(device);
    cudaDeviceSynchronize();
    cuda_cudnn_close(state->cudnn);
    cuda_graph_close(&state->graph);
    cuda_products_close(state->products);
    attention_tables_free(state->tables);
    cuda_staging_close(&state->staging);
    cuda_staging_close(&state->copy_staging);
    cuda_side_close(&state->copies);
    cudaFree(state->workspace);
    cudaFree(state->fault);
    if (state->stream) cudaStreamDestroy(state->stream);
    free(state);
}

static enum status stream_open(struct cuda_state *state, struct error *err) {
    cudaError_t error = cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) return open_failed(err, error, "no stream");
    error = cudaMalloc((void **)&state->fault, sizeof *state->fault);
    if (error == cudaSuccess) error = cudaMemsetAsync(state->fault, 0, sizeof *state->fault, state->stream);
    if (error != cudaSuccess) return open_failed(err, error, "no memory");
    return STATUS_OK;
}

static enum status cuda_count(int *count, struct error *err) {
    *count = 0;
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0) return STATUS_OK;
    if (error == cudaSuccess) error = cudaErrorNoDevice;
    if (error != cudaErrorNoDevice && error != cudaErrorStubLibrary)
        return open_failed(err, error, "the GPUs cannot be used");
    return error_usage(err, "device " DEVICE_NAME ": there is no GPU here (%s)", cudaGetErrorString(error));
}

/* Older GPUs would fail at their first kernel. */
static enum status check_capability(int number, struct error *err) {
    static struct cudaDeviceProp properties; /* large */
    cudaError_t error = cudaGetDeviceProperties(&properties, number);
    if (error != cudaSuccess) return open_failed(err, error, "the GPU");
    if (properties.major >= CAPABILITY_LEAST) return STATUS_OK;
    return error_usage(err,
                       "device " DEVICE_NAME ": GPU %d is of compute capability %d.%d, and the oldest "
                       "that can be used is %d.0",
                       number, properties.major, properties.minor, CAPABILITY_LEAST);
}

static enum status cuda_open(struct device *device, struct error *err) {
    enum status status = check_capability(device->number, err);
    if (status != STATUS_OK) return status;
    cudaError_t error = cudaSetDevice(device->number);
    if (error != cudaSuccess) return open_failed(err, error, "the GPU");
    struct cuda_state *state = memory_new(1, sizeof *state, "the " DEVICE_NAME " device", err);
    if (!state) return STATUS_FAILED;
    device->state = state;
    status = stream_open(state, err);
    if (status == STATUS_OK) status = cuda_staging_open(&state->staging, err);
    if (status == STATUS_OK) status = cuda_side_open(&state->copies, err);
    if (status == STATUS_OK) status = cuda_staging_open(&state->copy_staging, err);
    if (status == STATUS_OK) status = cuda_graph_open(&state->graph, err);
    if (status == STATUS_OK) status = cuda_products_open(&state->products, err);
    if (status == STATUS_OK) status = attention_tables_new(&state->tables, err);
    if (status == STATUS_OK) status = cuda_cudnn_open(&state->cudnn, state->stream, err);
    if (status != STATUS_OK) cuda_close(device);
    return status;
}

static void cuda_describe(const struct device *device, struct device_info *info) {
    static struct cudaDeviceProp properties; /* large; the same at every call */
    snprintf(info->name, sizeof info->name, "GPU");
    if (cudaGetDeviceProperties(&properties, device->number) == cudaSuccess)
        snprintf(info->name, sizeof info->name, "%.80s (sm_%d%d, %s)", properties.name, properties.major,
                 properties.minor, cuda_cudnn_name(cuda_state(device)->cudnn));
    size_t total;
    info->own_memory = cudaMemGetInfo(&info->free_memory, &total) == cudaSuccess;
    info->threads = 1;
    info->native_bf16 = true; /* from sm_80 on, the oldest that is built for */
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

static void *cuda_allocate(struct device *device, size_t bytes) {
    void *memory = NULL;
    cuda_group_end(device);
    if (cudaMalloc(&memory, bytes) != cudaSuccess) return NULL;
    if (cudaMemsetAsync(memory, 0, bytes, cuda_state(device)->stream) == cudaSuccess) return memory;
    cudaFree(memory);
    return NULL;
}

/* When nothing uses it any more: what others wait for in a failure will not be done. */
static void cuda_release(struct device *device, void *memory) {
    cuda_group_end(device);
    cuda_abandon(device);
    cudaDeviceSynchronize();
    cudaFree(memory);
}

void *cuda_workspace(struct device *device, size_t bytes) {
    struct cuda_state *state = cuda_state(device);
    if (bytes <= state->workspace_bytes) return state->workspace;
    cuda_group_end(device);
    cudaDeviceSynchronize(); /* the operations that use it */
    cudaFree(state->workspace);
    state->workspace = NULL;
    state->workspace_bytes = 0;
    size_t taken = bytes > WORKSPACE_BYTES ? bytes : WORKSPACE_BYTES;
    cudaError_t error = cudaMalloc(&state->workspace, taken);
    if (error != cudaSuccess && taken > bytes) {
        cudaGetLastError();
        taken = bytes;
        error = cudaMalloc(&state->workspace, taken);
    }
    if (error != cudaSuccess) {
        device_fail_no_memory(device, "an operation", bytes);
        return NULL;
    }
    state->workspace_bytes = taken;
    return state->workspace;
}

/* ---- Waiting ----------------------------------------------------------------------------------------- */

static void fail_with(struct device *device, const struct cuda_fault *fault) {
    static const struct {
        const char *what;
        bool indexed; /* the place is worth telling */
    } kinds[FAULT_KINDS] = {
        [FAULT_GATHER] = {"gather_rows: index", true},
        [FAULT_SCATTER] = {"scatter_rows: index", true},
        [FAULT_SCATTER_ADD] = {"scatter_add_rows: index", true},
        [FAULT_AXIS] = {"rope_table: axis", false},
        [FAULT_TARGET] = {"logprob_forward: target", false},
        [FAULT_TARGET_BACKWARD] = {"logprob_backward: target", false},
        [FAULT_WATCHED] = {"sample_tokens: watched token", false},
        [FAULT_RESIZE_COUNT] = {"resize_frame: count", true},
        [FAULT_RESIZE_START] = {"resize_frame: start", true},
    };
    if (kinds[fault->kind].indexed)
        device_fail(device, "%s %lld is %d, not in [%d, %lld)", kinds[fault->kind].what,
                    (long long)fault->index, (int)fault->value, (int)fault->low, (long long)fault->limit);
    else
        device_fail(device, "%s %d, not in [%d, %lld)", kinds[fault->kind].what, (int)fault->value,
                    (int)fault->low, (long long)fault->limit);
}

static void cuda_synchronize(struct device *device) {
    struct cuda_fault fault = {0};
    cuda_read(device, &fault, cuda_state(device)->fault, sizeof fault);
    if (!device->failed && fault.kind != FAULT_NONE) fail_with(device, &fault);
}

const struct backend DEVICE_BACKEND = {
    .name = DEVICE_NAME,
    .exact_rows = MATMUL_EXACT_ROWS_GPU,
    .part_rows = MATMUL_PART_ROWS_GPU,
    .count = cuda_count,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .measure = cuda_measure,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .write = cuda_write,
    .read = cuda_read,
    .write_ahead = cuda_write_ahead,
    .turn_ahead = cuda_turn_ahead,
    .fetch = cuda_fetch,
    .fetched = cuda_fetched,
    .synchronize = cuda_synchronize,
    .group_begin = cuda_group_begin,
    .group_end = cuda_group_end,
    .convert = cuda_convert,
    .gather_rows = cuda_gather_rows,
    .scatter_rows = cuda_scatter_rows,
    .scatter_add_rows = cuda_scatter_add_rows,
    .add = cuda_add,
    .clear = cuda_clear,
    .matmul = cuda_matmul,
    .rmsnorm_forward = cuda_rmsnorm_forward,
    .add_rmsnorm_forward = cuda_add_rmsnorm_forward,
    .rmsnorm_backward = cuda_rmsnorm_backward,
    .swiglu_forward = cuda_swiglu_forward,
    .swiglu_backward = cuda_swiglu_backward,
    .gelu_forward = cuda_gelu_forward,
    .gelu_backward = cuda_gelu_backward,
    .rope_table = cuda_rope_table,
    .rope_forward = cuda_rope_forward,
    .resize_frame = cuda_resize_frame,
    .cut_patches = cuda_cut_patches,
    .attention_forward = cuda_attention_forward,
    .attention_backward = cuda_attention_backward,
    .logprob_forward = cuda_logprob_forward,
    .logprob_backward = cuda_logprob_backward,
    .reduce_sum = cuda_reduce_sum,
    .reduce_sum_squares = cuda_reduce_sum_squares,
    .sum_rows = cuda_sum_rows,
    .adamw_step = cuda_adamw_step,
    .sample_tokens = cuda_sample_tokens,
    .can_join = cuda_can_join,
    .identify = cuda_identify,
    .ready = cuda_ready,
    .name_collective = cuda_name_collective,
    .join = cuda_join,
    .part = cuda_part,
    .begin_collectives = cuda_begin_collectives,
    .end_collectives = cuda_end_collectives,
    .await_collectives = cuda_await_collectives,
    .finish_collectives = cuda_finish_collectives,
    .reduce_scatter = cuda_reduce_scatter,
    .all_gather = cuda_all_gather,
};
