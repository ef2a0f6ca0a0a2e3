/* The processes of a run, and what they do together.
 *
 * A run is one process, or several that a launcher started (mpirun, srun, torchrun): all with the same
 * program and configuration, each with a rank. Every function below is collective where it does not say that
 * it is not: all processes call it, in the same order. NULL is a communicator too: of one process, with which
 * nothing costs anything.
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
 * alone. Fails where there are others that it does not meet. */
enum status communicator_open(struct communicator **communicator, struct error *err);

/* Parts from them, when all do. After a failure that they have not agreed on (communicator_agree) the others
 * may be waiting for this process: then it ends them all, and does not return. */
void communicator_close(struct communicator *communicator, enum status status);

/* Not collective. Ranks are from 0. */
int communicator_rank(const struct communicator *communicator);
int communicator_size(const struct communicator *communicator);

/* ---- Life -------------------------------------------------------------------------------------------- */

/* A process that stops ends all (train/heartbeat.h), and so does one that lets the others wait for longer
 * than so many seconds. Neither function is collective. */
void communicator_patience(struct communicator *communicator, double seconds);

/* What this process is at: the last that the others hear of it if it stops. */
void communicator_say(struct communicator *communicator, const char *words);

/* ---- Agreement --------------------------------------------------------------------------------------- */

/* All processes leave with the same status: that of the first one that failed, with its message in err,
 * "process 2 on HOST: ...", or STATUS_OK. */
enum status communicator_agree(struct communicator *communicator, enum status status, struct error *err);

/* Whether all know of the failure that this process ended with; it may be alone. Not collective. */
bool communicator_agreed(const struct communicator *communicator);

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

/* ---- Devices ----------------------------------------------------------------------------------------- */

/* Whether the processes' devices exchange by themselves (tensor/collective.h): all or none; none where there
 * is one process. `device` is this process's. */
enum status communicator_can_join(struct communicator *communicator, const struct device *device, bool *can,
                                  struct error *err);

/* ---- Shards ------------------------------------------------------------------------------------------ */

/* A run of a tensor's elements. */
struct shard {
    int64_t first, count;
};

/* The part of a tensor [rows, cols] that process `rank` has when each has one: some of its rows, or of a
 * vector some columns; all of it with one process. In the order of the ranks, the first ones not smaller than
 * the others; where there are few rows the last ones have none. Not collective. */
struct shard communicator_shard(const struct communicator *communicator, int64_t rows, int64_t cols,
                                int rank);

/* The same of so many processes, which need not be here. */
struct shard shard_among(int64_t processes, int64_t rows, int64_t cols, int64_t rank);

/* What two runs have in common. */
struct shard shard_common(struct shard a, struct shard b);

/* These elements of the tensor, whose rows are contiguous: [rows of its own, cols], or [1, its columns]. */
struct tensor shard_view(struct tensor whole, struct shard shard);

/* A tensor, and this process's shard of it, in memory of its own or in the tensor itself. Rows are
 * contiguous.
 */
struct sliced {
    struct tensor whole, slice;
};

/* The functions below are for more than one process, and wait for the device. Small tensors of a list go over
 * the wire together. */

/* slice = the sums over the processes of these elements of whole, or slice += them; then these elements of
 * whole are of no more use. f32. */
enum status communicator_reduce(struct communicator *communicator, struct device *device,
                                const struct sliced *list, size_t count, bool add, struct error *err);

/* whole = the slices of all processes. Of any type. */
enum status communicator_gather(struct communicator *communicator, struct device *device,
                                const struct sliced *list, size_t count, struct error *err);

/* elements = those of a tensor [rows, cols] that lies in slices, from wanted.first on, in process 0; the
 * others give theirs, and `elements` is NULL. f32. All processes leave with the same status. */
enum status communicator_collect(struct communicator *communicator, struct device *device, int64_t rows,
                                 int64_t cols, struct tensor slice, struct shard wanted, float *elements,
                                 struct error *err);

#endif
