/* MPI, which also starts the processes. */
#include <limits.h>
#include <mpi.h>
#include <time.h>

#include "base/clock.h"
#include "train/transport.h"

static enum status check(int code, const char *what, struct error *err) {
    if (code == MPI_SUCCESS) return STATUS_OK;
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(code, reason, &length);
    return error_set(err, "MPI: %s: %s", what, reason);
}

/* Counts of MPI are ints. */
static enum status check_size(size_t bytes, const char *what, struct error *err) {
    if (bytes <= INT_MAX) return STATUS_OK;
    return error_set(err, "MPI: %s: %zu bytes at once are too many", what, bytes);
}

/* Waits for what was begun. MPI itself would keep the processor busy, which where there are more processes
 * than processors keeps others from what is waited for: it is asked now and then, less and less often. */
static enum status finish(int code, MPI_Request *request, const char *what, struct error *err) {
    const long shortest = 20000, longest = 500000; /* nanoseconds */
    const double busy_for = 50e-6;                 /* seconds */
    struct timespec pause = {.tv_nsec = shortest};
    const double start = clock_seconds();
    for (int done = 0; code == MPI_SUCCESS && !done;) {
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done || clock_seconds() - start < busy_for) continue;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < longest) pause.tv_nsec += pause.tv_nsec / 2;
    }
    return check(code, what, err);
}

static void mpi_close(struct transport *transport) {
    (void)transport;
    MPI_Finalize();
}

/* Processes that MPI does not join would each train alone, into one folder. */
static enum status mpi_open(struct transport *transport, const struct launcher_place *place,
                            struct error *err) {
    int level;
    enum status status = check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "start", err);
    if (status != STATUS_OK) return status;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &transport->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &transport->size);
    if (transport->size == place->size) return STATUS_OK;
    mpi_close(transport);
    return error_usage(err,
                       "the environment says that %lld processes were started, but MPI joins %d: start them "
                       "with mpirun, or srun --mpi=pmix",
                       (long long)place->size, transport->size);
}

static void mpi_abort(struct transport *transport, enum status status) {
    (void)transport;
    MPI_Abort(MPI_COMM_WORLD, status);
}

static enum status mpi_gather(struct transport *transport, void *all, const void *own, size_t bytes,
                              struct error *err) {
    (void)transport;
    MPI_Request request;
    if (check_size(bytes, "gather", err) != STATUS_OK) return STATUS_FAILED;
    return finish(
        MPI_Iallgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request),
        &request, "gather", err);
}

static enum status mpi_exchange(struct transport *transport, void *received, const void *sent, size_t bytes,
                                struct error *err) {
    (void)transport;
    MPI_Request request;
    if (check_size(bytes, "exchange", err) != STATUS_OK) return STATUS_FAILED;
    return finish(
        MPI_Ialltoall(sent, (int)bytes, MPI_BYTE, received, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request),
        &request, "exchange", err);
}

static enum status mpi_send(struct transport *transport, int to, const void *data, size_t bytes,
                            struct error *err) {
    (void)transport;
    MPI_Request request;
    if (check_size(bytes, "send", err) != STATUS_OK) return STATUS_FAILED;
    return finish(MPI_Isend(data, (int)bytes, MPI_BYTE, to, 0, MPI_COMM_WORLD, &request), &request, "send",
                  err);
}

static enum status mpi_receive(struct transport *transport, int from, void *data, size_t bytes,
                               struct error *err) {
    (void)transport;
    MPI_Request request;
    if (check_size(bytes, "receive", err) != STATUS_OK) return STATUS_FAILED;
    return finish(MPI_Irecv(data, (int)bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD, &request), &request,
                  "receive", err);
}

const struct transport_kind transport_mpi = {
    .open = mpi_open,
    .close = mpi_close,
    .abort = mpi_abort,
    .gather = mpi_gather,
    .exchange = mpi_exchange,
    .send = mpi_send,
    .receive = mpi_receive,
};
