/* Collectives between the GPUs of processes, by NCCL, on a stream beside that of the operations. */
#include "tensor/cuda/nccl.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/cuda/cuda.h"

/* The emulator's stand-in lies in the module of the device itself. */
#ifdef VS2_EMULATED
#define NCCL_LIBRARY "libvs2_emulated.so"
#else
#define NCCL_LIBRARY "libnccl.so.2"
#endif

/* The library's functions. */
struct nccl_functions {
    typeof(&ncclGetUniqueId) get_id;
    typeof(&ncclCommInitRank) init;
    typeof(&ncclCommDestroy) destroy;
    typeof(&ncclCommAbort) abort;
    typeof(&ncclCommGetAsyncError) get_error;
    typeof(&ncclGetErrorString) error_string;
    typeof(&ncclReduceScatter) reduce_scatter;
    typeof(&ncclAllGather) all_gather;
};

struct cuda_nccl {
    struct nccl_functions call;
    ncclComm_t comm;
    struct cuda_side_stream side;
};

/* The library stays loaded. */
static bool load(struct nccl_functions *call) {
    void *library = dlopen(NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    return library && (call->get_id = dlsym(library, "ncclGetUniqueId")) &&
           (call->init = dlsym(library, "ncclCommInitRank")) &&
           (call->destroy = dlsym(library, "ncclCommDestroy")) &&
           (call->abort = dlsym(library, "ncclCommAbort")) &&
           (call->get_error = dlsym(library, "ncclCommGetAsyncError")) &&
           (call->error_string = dlsym(library, "ncclGetErrorString")) &&
           (call->reduce_scatter = dlsym(library, "ncclReduceScatter")) &&
           (call->all_gather = dlsym(library, "ncclAllGather"));
}

bool cuda_can_join(void) {
    struct nccl_functions call;
    return load(&call);
}

enum status cuda_name_collective(struct collective_id *id, struct error *err) {
    struct nccl_functions call;
    ncclUniqueId name;
    static_assert(sizeof name == sizeof id->bytes, "NCCL's names fit");
    if (!load(&call)) return error_set(err, NCCL_LIBRARY " cannot be loaded: %s", dlerror());
    ncclResult_t result = call.get_id(&name);
    if (result != ncclSuccess) return error_set(err, "NCCL: no name: %s", call.error_string(result));
    memcpy(id, &name, sizeof name);
    return STATUS_OK;
}

void cuda_identify(const struct device *device, struct collective_member *member) {
    static struct cudaDeviceProp properties; /* large */
    static_assert(sizeof properties.uuid == sizeof *member, "a GPU's name fits");
    if (cudaGetDeviceProperties(&properties, device->number) == cudaSuccess)
        memcpy(member, &properties.uuid, sizeof *member);
}

enum status cuda_ready(struct device *device, struct error *err) {
    struct cuda_nccl *nccl = memory_new(1, sizeof *nccl, "NCCL", err);
    if (!nccl) return STATUS_FAILED;
    static_assert((int)COLLECTIVE_MARKS == SIDE_MARKS, "a mark of the stream for each kind");
    cuda_state(device)->nccl = nccl;
    if (!load(&nccl->call)) return error_set(err, NCCL_LIBRARY " cannot be loaded: %s", dlerror());
    return cuda_side_open(&nccl->side, err);
}

/* The first collective of a kind connects the processes and takes memory: not in the middle of a step. Queues
 * one of each. */
static enum status warm_up(struct device *device, struct error *err) {
    const struct collective *rooms = device->collective;
    struct tensor one = tensor_at(rooms->one, DTYPE_F32, 1, 1);
    cuda_side_begin(device, &cuda_state(device)->nccl->side);
    cuda_reduce_scatter(device, one, tensor_at(rooms->all, DTYPE_F32, rooms->size, 1));
    if (!device->failed) cuda_all_gather(device, tensor_at(rooms->all, DTYPE_F32, rooms->size, 1), one);
    cuda_side_end(device, &cuda_state(device)->nccl->side, COLLECTIVE_AT_ONCE);
    if (!device->failed) return STATUS_OK;
    cuda_abandon(device);
    return error_set(err, "%s", device->error.message);
}

enum status cuda_join(struct device *device, const struct collective_id *id, int rank, int size,
                      struct error *err) {
    ncclUniqueId name;
    struct cuda_nccl *nccl = cuda_state(device)->nccl;
    memcpy(&name, id, sizeof name);
    ncclResult_t result = nccl->call.init(&nccl->comm, size, name, rank);
    if (result == ncclSuccess) return warm_up(device, err);
    nccl->comm = NULL;
    return error_set(err, "NCCL: the GPUs of the processes cannot be joined: %s",
                     nccl->call.error_string(result));
}

void cuda_abandon(struct device *device) {
    struct cuda_nccl *nccl = cuda_state(device)->nccl;
    if (!device->failed || !nccl || !nccl->comm) return;
    nccl->call.abort(nccl->comm);
    nccl->comm = NULL;
}

void cuda_part(struct device *device) {
    struct cuda_state *state = cuda_state(device);
    struct cuda_nccl *nccl = state->nccl;
    if (!nccl) return;
    cuda_abandon(device);
    if (!device->failed && nccl->side.stream) cudaStreamSynchronize(nccl->side.stream);
    if (!device->failed) cudaStreamSynchronize(state->stream);
    if (nccl->comm) nccl->call.destroy(nccl->comm);
    cuda_side_close(&nccl->side);
    free(nccl);
    state->nccl = NULL;
}

/* ---- Collectives ------------------------------------------------------------------------------------- */

static void check(struct device *device, ncclResult_t result, const char *what) {
    if (result != ncclSuccess)
        device_fail(device, "%s: NCCL: %s", what, cuda_state(device)->nccl->call.error_string(result));
}

void cuda_reduce_scatter(struct device *device, struct tensor out, struct tensor x) {
    struct cuda_state *state = cuda_state(device);
    check(device,
          state->nccl->call.reduce_scatter(x.data, out.data, (size_t)out.cols, ncclFloat32, ncclSum,
                                           state->nccl->comm, state->stream),
          "reduce_scatter");
}

void cuda_all_gather(struct device *device, struct tensor out, struct tensor x) {
    struct cuda_state *state = cuda_state(device);
    check(device,
          state->nccl->call.all_gather(x.data, out.data, (size_t)x.cols * dtype_size(x.dtype), ncclUint8,
                                       state->nccl->comm, state->stream),
          "all_gather");
}

void cuda_begin_collectives(struct device *device) {
    cuda_side_begin(device, &cuda_state(device)->nccl->side);
}

void cuda_end_collectives(struct device *device, enum collective_mark mark) {
    cuda_side_end(device, &cuda_state(device)->nccl->side, (int)mark);
}

void cuda_await_collectives(struct device *device, enum collective_mark mark) {
    cuda_side_wait(device, &cuda_state(device)->nccl->side, (int)mark);
}

/* ---- Waiting ----------------------------------------------------------------------------------------- */

/* Where another process is gone, work that waits for it would never end: NCCL is asked while it lasts. It
 * knows of processes that it reaches over a network; of those of the same machine, and of those that hang,
 * the heartbeat does (train/heartbeat.h). */
static void wait_for(struct device *device, cudaStream_t stream, const char *what) {
    struct cuda_nccl *nccl = cuda_state(device)->nccl;
    if (!nccl || !nccl->comm) {
        cuda_check(device, cudaStreamSynchronize(stream), what);
        return;
    }
    cudaError_t error;
    ncclResult_t lost = ncclSuccess;
    do {
        error = cudaStreamQuery(stream);
        ncclResult_t result = nccl->call.get_error(nccl->comm, &lost);
        if (result != ncclSuccess) lost = result;
        if (error == cudaErrorNotReady) sched_yield();
    } while (error == cudaErrorNotReady && (lost == ncclSuccess || lost == ncclInProgress));
    if (lost != ncclSuccess && lost != ncclInProgress) {
        device_fail(device, "%s: NCCL: %s", what, nccl->call.error_string(lost));
        cuda_abandon(device);
    } else
        cuda_check(device, error, what);
}

void cuda_wait(struct device *device, const char *what) {
    wait_for(device, cuda_state(device)->stream, what);
}

void cuda_finish_collectives(struct device *device) {
    wait_for(device, cuda_state(device)->nccl->side.stream, "an exchange between GPUs");
}
