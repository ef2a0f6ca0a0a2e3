/* What the files of train/communicator.h share. */
#ifndef VS2_TRAIN_COMMUNICATOR_PARTS_H
#define VS2_TRAIN_COMMUNICATOR_PARTS_H

#include "train/communicator.h"
#include "train/transport.h"

/* What goes over the wire at once, for each process: bounds the memory, and is large enough to be fast. */
enum { BUCKET_BYTES = 2 << 20, BUCKET_PIECES = 64 };

struct communicator {
    struct transport transport;
    int rank, size;
    bool agreed;            /* on a failure */
    float *sent, *received; /* [size, BUCKET_BYTES]; NULL until they are needed */
};

#endif
