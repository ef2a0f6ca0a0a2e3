/* How bytes get from process to process: MPI (transport_mpi.c), or in a build without it not at all
 * (transport_none.c). What train/communicator.c stands on; nobody else calls it. */
#ifndef VS2_TRAIN_TRANSPORT_H
#define VS2_TRAIN_TRANSPORT_H

#include <stddef.h>

#include "base/error.h"

/* Meets the processes that the launcher started, and finds this one's place among them. */
enum status transport_open(int *rank, int *size, struct error *err);
void transport_close(void);

/* Ends all processes at once, with that status. */
_Noreturn void transport_abort(enum status status);

/* all [size, bytes]: everybody's `own` bytes in the order of the ranks. */
enum status transport_gather(void *all, const void *own, size_t bytes, struct error *err);

/* Piece r of `sent` [size, bytes] goes to process r; received [size, bytes] in the order of the ranks. */
enum status transport_exchange(void *received, const void *sent, size_t bytes, struct error *err);

/* From one process to another, which receives as many bytes. */
enum status transport_send(int to, const void *data, size_t bytes, struct error *err);
enum status transport_receive(int from, void *data, size_t bytes, struct error *err);

#endif
