#include "train/transport.h"

#include <stdlib.h>

#ifdef VS2_MPI

static enum status choose(const struct transport_kind **kind, struct error *err) {
    (void)err;
    *kind = &transport_mpi;
    return STATUS_OK;
}

#else

static enum status choose(const struct transport_kind **kind, struct error *err) {
    *kind = NULL;
    return error_usage(err,
                       "several processes were started, but this build has no MPI (install libopenmpi-dev "
                       "and build again)");
}

#endif

enum status transport_open(struct transport *transport, const struct launcher_place *place,
                           struct error *err) {
    *transport = (struct transport){.rank = 0, .size = 1};
    enum status status = choose(&transport->kind, err);
    return status == STATUS_OK ? transport->kind->open(transport, place, err) : status;
}

void transport_close(struct transport *transport) {
    transport->kind->close(transport);
}

_Noreturn void transport_abort(struct transport *transport, enum status status) {
    transport->kind->abort(transport, status);
    exit(status);
}

enum status transport_gather(struct transport *transport, void *all, const void *own, size_t bytes,
                             struct error *err) {
    return transport->kind->gather(transport, all, own, bytes, err);
}

enum status transport_exchange(struct transport *transport, void *received, const void *sent, size_t bytes,
                               struct error *err) {
    return transport->kind->exchange(transport, received, sent, bytes, err);
}

enum status transport_send(struct transport *transport, int to, const void *data, size_t bytes,
                           struct error *err) {
    return transport->kind->send(transport, to, data, bytes, err);
}

enum status transport_receive(struct transport *transport, int from, void *data, size_t bytes,
                              struct error *err) {
    return transport->kind->receive(transport, from, data, bytes, err);
}
