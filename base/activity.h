/* Signs that this process gets somewhere, for who watches it from outside (train/heartbeat.h).
 *
 * What counts as a step lies in every layer: an operation handed to a device, a block of attention, a piece
 * of a file, a frame of a video. So the count is the process's, as its clock is, and no struct's; it decides
 * nothing that is computed. Any thread may call these. */
#ifndef VS2_BASE_ACTIVITY_H
#define VS2_BASE_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>

struct activity {
    uint64_t steps; /* so far */
    bool waits;     /* for what its device was given to do */
};

/* One more step. To be called so often that tens of seconds without one mean that the process hangs. */
void activity_step(void);

/* The thread that uses the device begins to wait for it, or goes on; either is a step. */
void activity_wait(bool waits);

struct activity activity_now(void);

#endif
