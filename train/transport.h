/* How bytes get from process to process. There are kinds, each a table of functions; which one a run takes
 * follows from what started it (base/launcher.h): MPI joins what mpirun started, TCP all others. What
 * train/communicator.c stands on; nobody else calls it. All functions but abort are collective, or meet their
 * counterpart; one at a time. */
#ifndef VS2_TRAIN_TRANSPORT_H
#define VS2_TRAIN_TRANSPORT_H

#include <stddef.h>

#include "base/error.h"
#include "base/launcher.h"

struct transport_kind;

struct transport {
    const struct transport_kind *kind;
    int rank, size; /* this process's place among those that were met */
    void *state;    /* the kind's own */
};

/* Meets the other processes of the launcher, of which this one has that place. Nothing is to be closed after
 * a failure. */
enum status transport_open(struct transport *transport, const struct launcher_place *place,
                           struct error *err);
void transport_close(struct transport *transport);

/* Ends all processes at once, with that status. */
_Noreturn void transport_abort(struct transport *transport, enum status status);

/* all [size, bytes]: everybody's `own` bytes in the order of the ranks. */
enum status transport_gather(struct transport *transport, void *all, const void *own, size_t bytes,
                             struct error *err);

/* Piece r of `sent` [size, bytes] goes to process r; received [size, bytes] in the order of the ranks. */
enum status transport_exchange(struct transport *transport, void *received, const void *sent, size_t bytes,
                               struct error *err);

/* From one process to another, which receives as many bytes. */
enum status transport_send(struct transport *transport, int to, const void *data, size_t bytes,
                           struct error *err);
enum status transport_receive(struct transport *transport, int from, void *data, size_t bytes,
                              struct error *err);

/* ---- Kinds ------------------------------------------------------------------------------------------- */

/* The functions above. */
struct transport_kind {
    enum status (*open)(struct transport *, const struct launcher_place *, struct error *);
    void (*close)(struct transport *);
    void (*abort)(struct transport *, enum status); /* the caller ends this process */
    enum status (*gather)(struct transport *, void *all, const void *own, size_t bytes, struct error *);
    enum status (*exchange)(struct transport *, void *received, const void *sent, size_t bytes,
                            struct error *);
    enum status (*send)(struct transport *, int to, const void *data, size_t bytes, struct error *);
    enum status (*receive)(struct transport *, int from, void *data, size_t bytes, struct error *);
};

extern const struct transport_kind transport_mpi; /* only in a build with MPI */
extern const struct transport_kind transport_tcp;

#endif
