/* MPI, which also starts the processes. */
#include <limits.h>
#include <mpi.h>
#include <stdlib.h>

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

enum status transport_open(int *rank, int *size, struct error *err) {
    int level;
    enum status status = check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "start", err);
    if (status != STATUS_OK) return status;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, rank);
    MPI_Comm_size(MPI_COMM_WORLD, size);
    return STATUS_OK;
}

void transport_close(void) {
    int started = 0, ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (started && !ended) MPI_Finalize();
}

_Noreturn void transport_abort(enum status status) {
    int started = 0;
    MPI_Initialized(&started);
    if (started) MPI_Abort(MPI_COMM_WORLD, status);
    exit(status);
}

enum status transport_gather(void *all, const void *own, size_t bytes, struct error *err) {
    if (check_size(bytes, "gather", err) != STATUS_OK) return STATUS_FAILED;
    return check(MPI_Allgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD),
                 "gather", err);
}

enum status transport_exchange(void *received, const void *sent, size_t bytes, struct error *err) {
    if (check_size(bytes, "exchange", err) != STATUS_OK) return STATUS_FAILED;
    return check(MPI_Alltoall(sent, (int)bytes, MPI_BYTE, received, (int)bytes, MPI_BYTE, MPI_COMM_WORLD),
                 "exchange", err);
}

enum status transport_send(int to, const void *data, size_t bytes, struct error *err) {
    if (check_size(bytes, "send", err) != STATUS_OK) return STATUS_FAILED;
    return check(MPI_Send(data, (int)bytes, MPI_BYTE, to, 0, MPI_COMM_WORLD), "send", err);
}

enum status transport_receive(int from, void *data, size_t bytes, struct error *err) {
    if (check_size(bytes, "receive", err) != STATUS_OK) return STATUS_FAILED;
    return check(MPI_Recv(data, (int)bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE), "receive",
                 err);
}
