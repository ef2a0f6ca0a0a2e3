/* Whether the processes of a run are alive.
 *
 * A thread of each process tells process 0 every second, in a datagram of UDP over IPv4, how it is, and gets
 * process 0's own state back. So a process that computes for hours still answers, and one that does not has
 * stopped, or its machine has, or the network: after a while its silence ends all processes, with a line on
 * stderr that names the process and what it said last. One that is gone has left a port to which nobody
 * listens, of which its machine tells: looked into where one waits, or is to end. Processes that all wait for
 * one another, none of them getting anywhere, are ended the same way. So are those that wait for one that is
 * busy and does nothing: base/activity.h counts what a process does, also while it or its device waits for
 * others. Of one that does something for good nothing can be seen but that the others wait for it:
 * heartbeat_patience says how long they may.
 *
 * A process that cannot be reached (no IPv4, a firewall) is not watched; a line on stderr says so. Where all
 * were stopped together, as from a terminal, none of them has been silent.
 *
 * The environment of process 0 sets the limits: VS2_SILENCE_LIMIT is how many seconds of silence are too
 * many, 30 without it; 0 starts no threads. VS2_PROGRESS_LIMIT is how many without a step are, 45 without it;
 * 0: any number is fine. */
#ifndef VS2_TRAIN_HEARTBEAT_H
#define VS2_TRAIN_HEARTBEAT_H

#include "train/transport.h"

struct heartbeat;

/* Seconds. */
struct heartbeat_limits {
    double silence, progress;
};

/* From the environment; a usage error where a variable is no such number. */
enum status heartbeat_read_limits(struct heartbeat_limits *limits, struct error *err);

/* Starts the thread; collective over the transport, which must stay open; the limits of process 0 count.
 * *heartbeat is NULL where no one is to be watched, and the functions below take that. */
enum status heartbeat_start(struct heartbeat **heartbeat, struct transport *transport,
                            struct heartbeat_limits limits, struct error *err);

/* Tells the others that this process ends, and is not to be missed. */
void heartbeat_stop(struct heartbeat *heartbeat);

/* How many seconds processes may wait for another one that is busy; infinity at first. */
void heartbeat_patience(struct heartbeat *heartbeat, double seconds);

/* What this process is at, for its last words. Copied, and cut where it is long. */
void heartbeat_say(struct heartbeat *heartbeat, const char *words);

/* This process begins to wait for others, in an exchange of that name; it has got what it waited for. Where
 * it has not, they may be missed. */
void heartbeat_wait(struct heartbeat *heartbeat, const char *exchange);
void heartbeat_go_on(struct heartbeat *heartbeat, enum status status);

/* One of the others may be gone: takes half a second to look; if it is, the process ends here. */
void heartbeat_miss(struct heartbeat *heartbeat);

#endif
