/* NCCL between processes of one machine. Each has a socket to rank 0, which the id names; rank 0 takes what
 * all send, adds it up in the order of the ranks, and sends it back. A call is queued, and waits for the
 * others when it runs. All must ask for the same: another function, count or type ends the program. A process
 * that is gone shows in ncclCommGetAsyncError, and what is queued after it does nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tensor/cuda/nccl.h"
#include "tests/emulator/machine.h"

enum { RANKS_MOST = 64 };

struct ncclComm {
    int rank, size;
    int sockets[RANKS_MOST]; /* rank 0's to each; the others' is the first */
    ncclResult_t error;
    ncclComm_t next; /* among those that were aborted */
};

static ncclComm_t aborted; /* kept until the program ends */

/* Rank 0 listens from the making of the id on. */
static int listener = -1;

static socklen_t address_of(const char *name, struct sockaddr_un *address) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX}; /* abstract: sun_path begins with 0 */
    snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "%.64s", name);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    static int number;
    struct sockaddr_un address;
    if (machine_call_fails()) return ncclSystemError;
    if (listener >= 0) close(listener);
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "vs2-emulator-nccl-%ld-%d", (long)getpid(), number++);
    socklen_t length = address_of(id->internal, &address);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool well = bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, RANKS_MOST) == 0;
    return well ? ncclSuccess : ncclSystemError;
}

/* False: the other process is gone. */
static bool move(int socket, void *data, size_t bytes, bool sends) {
    for (size_t done = 0; done < bytes;) {
        ssize_t count = sends ? send(socket, (char *)data + done, bytes - done, MSG_NOSIGNAL)
                              : recv(socket, (char *)data + done, bytes - done, 0);
        if (count <= 0 && errno != EINTR) return false;
        if (count > 0) done += (size_t)count;
    }
    return true;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int size, ncclUniqueId id, int rank) {
    struct sockaddr_un address;
    socklen_t length = address_of(id.internal, &address);
    *comm = NULL;
    if (size < 1 || size > RANKS_MOST || rank < 0 || rank >= size) return ncclInvalidArgument;
    if (machine_call_fails()) return ncclSystemError;
    ncclComm_t made = calloc(1, sizeof *made);
    if (!made) machine_die("no memory for NCCL");
    *made = (struct ncclComm){.rank = rank, .size = size};
    for (int i = 1; rank == 0 && i < size; i++) {
        int of, socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket < 0 || !move(socket, &of, sizeof of, false))
            machine_die("ncclCommInitRank: a process is gone");
        if (of < 1 || of >= size || made->sockets[of]) machine_die("ncclCommInitRank: rank %d twice", of);
        made->sockets[of] = socket;
    }
    if (rank > 0) {
        made->sockets[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(made->sockets[0], (struct sockaddr *)&address, length) != 0 ||
            !move(made->sockets[0], &rank, sizeof rank, true))
            machine_die("ncclCommInitRank: nobody has that id");
    }
    *comm = made;
    return ncclSuccess;
}

static void hang_up(ncclComm_t comm) {
    for (int r = 0; r < comm->size; r++)
        if (comm->sockets[r]) close(comm->sockets[r]);
    memset(comm->sockets, 0, sizeof comm->sockets);
}

/* Work that is queued still asks for it, and then does nothing. */
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    hang_up(comm);
    comm->error = ncclInvalidUsage;
    comm->next = aborted;
    aborted = comm;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    hang_up(comm);
    free(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
    *error = comm->error;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
    switch (result) {
    case ncclSuccess: return "no error";
    case ncclSystemError: return "unhandled system error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
    }
    return "unknown error";
}

/* ---- Collectives ------------------------------------------------------------------------------------- */

/* What all must agree on, and where it lies here. */
struct asked {
    uint64_t function, count, type;
};
struct collective_work {
    ncclComm_t comm;
    struct asked asked;
    const char *from;
    char *to;
    size_t given, all; /* bytes of a process, and of all, that go to rank 0 and come back */
};
enum { ALL_GATHER, REDUCE_SCATTER };

/* Rank 0: everybody's data beside each other. */
static bool collect(const struct collective_work *work, char *data) {
    memcpy(data, work->from, work->given);
    for (int r = 1; r < work->comm->size; r++) {
        struct asked theirs;
        if (!move(work->comm->sockets[r], &theirs, sizeof theirs, false)) return false;
        if (memcmp(&theirs, &work->asked, sizeof theirs) != 0)
            machine_die("NCCL: ranks 0 and %d disagree on function, count or type", r);
        if (!move(work->comm->sockets[r], data + (size_t)r * work->given, work->given, false)) return false;
    }
    return true;
}

/* Adds everybody's [size, count] to the first one's. */
static void add_up(float *data, size_t count, int size) {
    for (int r = 1; r < size; r++)
        for (size_t i = 0; i < count * (size_t)size; i++)
            data[i] += data[(size_t)r * count * (size_t)size + i];
}

static bool serve(const struct collective_work *work, char *data) {
    const bool sums = work->asked.function == REDUCE_SCATTER;
    const size_t back = sums ? work->given / (size_t)work->comm->size : work->all;
    if (!collect(work, data)) return false;
    if (sums) add_up((float *)data, work->asked.count, work->comm->size);
    memcpy(work->to, data, back);
    for (int r = 1; r < work->comm->size; r++)
        if (!move(work->comm->sockets[r], data + (sums ? (size_t)r * back : 0), back, true)) return false;
    return true;
}

static void collective_run(void *argument) {
    struct collective_work *work = argument;
    bool well;
    if (work->comm->error != ncclSuccess) return;
    machine_open();
    if (work->comm->rank == 0) {
        char *data = malloc(work->all);
        if (!data) machine_die("no memory for NCCL");
        well = serve(work, data);
        free(data);
    } else {
        int first = work->comm->sockets[0];
        size_t back =
            work->asked.function == REDUCE_SCATTER ? work->given / (size_t)work->comm->size : work->all;
        well = move(first, &work->asked, sizeof work->asked, true) &&
               move(first, (char *)work->from, work->given, true) && move(first, work->to, back, false);
    }
    if (!well) work->comm->error = ncclRemoteError;
}

/* What is sent and received may lie in the same memory only as NCCL has it: this process's part of the whole
 * in its place. */
static bool overlaps_wrongly(const struct collective_work *work, size_t to_bytes) {
    const bool sums = work->asked.function == REDUCE_SCATTER;
    const char *whole = sums ? work->from : work->to, *own = sums ? work->to : work->from;
    const size_t whole_bytes = sums ? work->given : to_bytes, own_bytes = sums ? to_bytes : work->given;
    return own < whole + whole_bytes && whole < own + own_bytes &&
           own != whole + (size_t)work->comm->rank * own_bytes;
}

static ncclResult_t queue(struct collective_work work, size_t to_bytes, cudaStream_t stream) {
    if (!work.comm || !machine_is_device(work.from, work.given) || !machine_is_device(work.to, to_bytes))
        return ncclInvalidArgument;
    if (overlaps_wrongly(&work, to_bytes)) machine_die("NCCL: what is sent and received overlaps");
    if (machine_call_fails()) return ncclSystemError;
    return machine_queue(stream, collective_run, &work, sizeof work) == cudaSuccess ? ncclSuccess
                                                                                    : ncclInvalidArgument;
}

ncclResult_t ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
    if (!comm || type != ncclFloat32 || op != ncclSum) return ncclInvalidArgument;
    size_t size = (size_t)comm->size, bytes = count * sizeof(float);
    return queue(
        (struct collective_work){
            comm, {REDUCE_SCATTER, count, type}, from, to, bytes * size, bytes * size * size},
        bytes, stream);
}

ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    if (!comm) return ncclInvalidArgument;
    size_t bytes = count * (type == ncclUint8 ? 1 : 4), all = bytes * (size_t)comm->size;
    return queue((struct collective_work){comm, {ALL_GATHER, count, type}, from, to, bytes, all}, all,
                 stream);
}
