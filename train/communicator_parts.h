/* What the files of train/communicator.h share. */
#ifndef VS2_TRAIN_COMMUNICATOR_PARTS_H
#define VS2_TRAIN_COMMUNICATOR_PARTS_H

#include "train/communicator.h"
#include "train/heartbeat.h"
#include "train/transport.h"

/* What goes over the wire at once, for each process: bounds the memory, and is large enough to be fast. */
enum { BUCKET_BYTES = 2 << 20, BUCKET_PIECES = 64 };

struct communicator {
    struct transport transport;
    struct heartbeat *heartbeat; /* or NULL */
    int rank, size;
    bool agreed;            /* on a failure */
    float *sent, *received; /* [size, BUCKET_BYTES]; NULL until they are needed */
};

/* What all do together is called by a name, for the last words of processes that wait. */
enum status communicator_gather_bytes(struct communicator *c, const char *name, void *all, const void *own,
                                      size_t bytes, struct error *err);
enum status communicator_exchange_bytes(struct communicator *c, const char *name, void *received,
                                        const void *sent, size_t bytes, struct error *err);

#endif
