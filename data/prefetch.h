/* Work done ahead on threads and taken in order: decoding the next videos while the model works on this one.
 *
 * Items 0 to count - 1 are made by `threads` workers; the consumer takes them one after another with
 * prefetch_next. At most `ahead` items are being made or wait at a time, and no further item is begun while
 * those that wait, and those being made counted as large as the largest so far, exceed `max_bytes` - except
 * the one that the consumer takes next, so that it always comes.
 */
#ifndef VS2_DATA_PREFETCH_H
#define VS2_DATA_PREFETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct prefetch_work {
    void *context;
    /* Makes item `item`, on any worker, several at once: *result and its size in bytes. A failure belongs to
     * the item alone. */
    enum status (*make)(void *context, int64_t item, void **result, size_t *bytes, struct error *err);
    /* Frees a result that nobody took. */
    void (*release)(void *context, void *result);
};

struct prefetch_limits {
    int threads;      /* at least 1 */
    int64_t ahead;    /* 0: twice the threads */
    size_t max_bytes; /* 0: no bound */
};

struct prefetch;

/* Starts the workers; NULL with err set when memory or threads are short. */
struct prefetch *prefetch_start(const struct prefetch_work *work, int64_t count,
                                const struct prefetch_limits *limits, struct error *err);

/* Waits for the next item. Its own status and error when it could not be made (the next call goes on with the
 * item after it); *result is then NULL. Not to be called more than `count` times. */
enum status prefetch_next(struct prefetch *prefetch, void **result, struct error *err);

/* Whether the next item is there, so that prefetch_next would not wait. False when all were taken. */
bool prefetch_ready(struct prefetch *prefetch);

/* What prefetch_next will give, where it is ready; NULL: it is not, or could not be made. */
const void *prefetch_peek(struct prefetch *prefetch);

/* Ends the workers after what they are making, and frees what nobody took. NULL is fine. */
void prefetch_stop(struct prefetch *prefetch);

#endif
