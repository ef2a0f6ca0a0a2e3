#include "train/transport.h"

#include <unistd.h>

#ifdef VS2_MPI
static const struct transport_kind *const mpi = &transport_mpi;
#else
static const struct transport_kind *const mpi = NULL; /* mpirun's processes can meet over TCP, too */
#endif

enum status transport_open(struct transport *transport, const struct launcher_place *place,
                           struct error *err) {
    *transport = (struct transport){.rank = 0, .size = 1};
    transport->kind = place->mpi && mpi ? mpi : &transport_tcp;
    return transport->kind->open(transport, place, err);
}

void transport_close(struct transport *transport) {
    transport->kind->close(transport);
}

_Noreturn void transport_abort(struct transport *transport, enum status status) {
    transport->kind->abort(transport, status);
    _exit(status); /* other threads may be at work */
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
