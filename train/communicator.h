/* The processes of a run, and what they do together.
 *
 * A run is one process, or several that a launcher started (mpirun, srun): all with the same program and
 * configuration, each with a rank. Every function below but rank and size is collective: all processes
 * call it, in the same order. NULL is a communicator too: of one process, with which nothing costs anything.
 *
 * Sums are made in one place each, in the order of the ranks, so all processes get the same bits, and a run
 * with as many processes gets them again.
 */
#ifndef VS2_TRAIN_COMMUNICATOR_H
#define VS2_TRAIN_COMMUNICATOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/device.h"

struct communicator;

/* Meets the other processes of the launcher (base/launcher.h); *communicator is NULL for a process that is
 * alone. Fails where there are others and this build has no MPI, or MPI does not know of them (torchrun). */
enum status communicator_open(struct communicator **communicator, struct error *err);

/* Parts from them. After a failure that they have not agreed on (communicator_agree) the others may be
 * waiting for this process: then it ends them all, and does not return. */
void communicator_close(struct communicator *communicator, enum status status);

int communicator_rank(const struct communicator *communicator); /* from 0 */
int communicator_size(const struct communicator *communicator);

/* ---- Agreement --------------------------------------------------------------------------------------- */

/* All processes leave with the same status: that of the first one that failed, with its message in err,
 * "process 2 on HOST: ...", or STATUS_OK. */
enum status communicator_agree(struct communicator *communicator, enum status status, struct error *err);

/* Whether it is for this process to tell the user of the failure it ended with: of one that all agreed on
 * process 0 tells. Not collective. */
bool communicator_tells(const struct communicator *communicator);

/* Fails on all processes with STATUS_USAGE unless all have equal objects; the error names the first key that
 * differs, and both values. `what` says what the objects are. */
enum status communicator_compare(struct communicator *communicator, const char *what, const json_t *object,
                                 struct error *err);

/* A text of each process's own, in the order of the ranks: texts [size], each to be freed, as is the array.
 * NULL with err set on failure. */
char **communicator_share(struct communicator *communicator, const char *text, struct error *err);

/* ---- Numbers ----------------------------------------------------------------------------------------- */

/* values[i] = their sum over the processes. */
enum status communicator_sum_values(struct communicator *communicator, double *values, int count,
                                    struct error *err);

/* Each element of the tensor becomes its sum over the processes. It is f32 and its rows are contiguous. Waits
 * for the device. */
enum status communicator_sum(struct communicator *communicator, struct device *device, struct tensor x,
                             struct error *err);

#endif
