/* One process: a build without MPI. */
#include <stdlib.h>
#include <string.h>

#include "train/transport.h"

enum status transport_open(int *rank, int *size, struct error *err) {
    (void)rank, (void)size;
    return error_usage(err,
                       "several processes were started, but this build has no MPI (install libopenmpi-dev "
                       "and build again)");
}

void transport_close(void) {}

_Noreturn void transport_abort(enum status status) {
    exit(status);
}

enum status transport_gather(void *all, const void *own, size_t bytes, struct error *err) {
    (void)err;
    memcpy(all, own, bytes);
    return STATUS_OK;
}

enum status transport_exchange(void *received, const void *sent, size_t bytes, struct error *err) {
    (void)err;
    memcpy(received, sent, bytes);
    return STATUS_OK;
}

enum status transport_send(int to, const void *data, size_t bytes, struct error *err) {
    (void)data, (void)bytes;
    return error_set(err, "there is no process %d", to);
}

enum status transport_receive(int from, void *data, size_t bytes, struct error *err) {
    (void)data, (void)bytes;
    return error_set(err, "there is no process %d", from);
}
