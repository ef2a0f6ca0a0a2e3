/* TCP between processes that MPI does not join: a connection between any two. What its two files share. */
#ifndef VS2_TRAIN_TRANSPORT_TCP_H
#define VS2_TRAIN_TRANSPORT_TCP_H

#include <stdint.h>

#include "base/socket.h"
#include "train/transport.h"

/* Another process. */
struct tcp_peer {
    int socket;                    /* -1: it is this process itself */
    char name[64];                 /* its machine's */
    struct socket_address listens; /* where, until all have met */
};

/* Meets the others: peers [place->size]. All connect to process 0 at the launcher's meeting place, and learn
 * there of each other; VS2_MEETING_SECONDS (60) after its start a process says who did not come. What is no
 * process of this run is sent away, and a process that expects another number of processes ends the run. On
 * failure nothing is open. */
enum status tcp_meet(struct tcp_peer *peers, const struct launcher_place *place, struct error *err);

#endif
