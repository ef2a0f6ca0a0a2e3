#include "data/prefetch.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct slot {
    bool made;
    enum status status;
    void *result;
    size_t bytes;
    struct error err;
};

struct prefetch {
    struct prefetch_work work;
    struct prefetch_limits limits;
    int64_t count;
    pthread_mutex_t lock;
    pthread_cond_t room;  /* an item may be begun, or the end has come */
    pthread_cond_t ready; /* an item was made */
    struct slot *slots;   /* item i waits in slot i % limits.ahead */
    int64_t begun;        /* items that a worker has begun */
    int64_t taken;        /* items that the consumer has taken */
    int64_t making;
    size_t waiting_bytes;
    size_t largest;
    bool stopping;
    pthread_t *workers;
    int started;
};

/* With the lock held. */
static bool may_begin(const struct prefetch *prefetch) {
    if (prefetch->begun >= prefetch->count || prefetch->begun - prefetch->taken >= prefetch->limits.ahead)
        return false;
    if (prefetch->begun == prefetch->taken || !prefetch->limits.max_bytes) return true;
    size_t expected = (size_t)(prefetch->making + 1) * prefetch->largest;
    return prefetch->waiting_bytes + expected <= prefetch->limits.max_bytes;
}

/* Makes one item, without the lock, and puts it in its slot, with it. */
static void make_item(struct prefetch *prefetch, int64_t item) {
    struct slot *slot = &prefetch->slots[item % prefetch->limits.ahead];
    void *result = NULL;
    size_t bytes = 0;
    slot->status = prefetch->work.make(prefetch->work.context, item, &result, &bytes, &slot->err);
    pthread_mutex_lock(&prefetch->lock);
    slot->result = slot->status ? NULL : result;
    slot->bytes = slot->status ? 0 : bytes;
    slot->made = true;
    prefetch->making--;
    prefetch->waiting_bytes += slot->bytes;
    if (bytes > prefetch->largest) prefetch->largest = bytes;
    pthread_cond_signal(&prefetch->ready);
    pthread_cond_broadcast(&prefetch->room);
}

static void *run_worker(void *argument) {
    struct prefetch *prefetch = argument;
    pthread_mutex_lock(&prefetch->lock);
    for (;;) {
        while (!prefetch->stopping && prefetch->begun < prefetch->count && !may_begin(prefetch))
            pthread_cond_wait(&prefetch->room, &prefetch->lock);
        if (prefetch->stopping || prefetch->begun >= prefetch->count) break;
        int64_t item = prefetch->begun++;
        prefetch->making++;
        pthread_mutex_unlock(&prefetch->lock);
        make_item(prefetch, item);
    }
    pthread_mutex_unlock(&prefetch->lock);
    return NULL;
}

struct prefetch *prefetch_start(const struct prefetch_work *work, int64_t count,
                                const struct prefetch_limits *limits, struct error *err) {
    struct prefetch *prefetch = memory_new(1, sizeof *prefetch, "prefetching", err);
    if (!prefetch) return NULL;
    prefetch->work = *work;
    prefetch->limits = *limits;
    prefetch->count = count;
    if (prefetch->limits.threads < 1) prefetch->limits.threads = 1;
    if (prefetch->limits.ahead < 1) prefetch->limits.ahead = (int64_t)prefetch->limits.threads * 2;
    pthread_mutex_init(&prefetch->lock, NULL);
    pthread_cond_init(&prefetch->room, NULL);
    pthread_cond_init(&prefetch->ready, NULL);
    prefetch->slots = memory_new((size_t)prefetch->limits.ahead, sizeof *prefetch->slots, "prefetching", err);
    prefetch->workers =
        memory_new((size_t)prefetch->limits.threads, sizeof *prefetch->workers, "prefetching", err);
    if (!prefetch->slots || !prefetch->workers) goto err;
    for (; prefetch->started < prefetch->limits.threads; prefetch->started++) {
        int code = pthread_create(&prefetch->workers[prefetch->started], NULL, run_worker, prefetch);
        if (code) {
            error_set(err, "cannot start a thread: %s", strerror(code));
            goto err;
        }
    }
    return prefetch;
err:
    prefetch_stop(prefetch);
    return NULL;
}

enum status prefetch_next(struct prefetch *prefetch, void **result, struct error *err) {
    pthread_mutex_lock(&prefetch->lock);
    assert(prefetch->taken < prefetch->count);
    struct slot *slot = &prefetch->slots[prefetch->taken % prefetch->limits.ahead];
    while (!slot->made) pthread_cond_wait(&prefetch->ready, &prefetch->lock);
    enum status status = slot->status;
    if (status) *err = slot->err;
    *result = slot->result;
    prefetch->waiting_bytes -= slot->bytes;
    prefetch->taken++;
    slot->made = false;
    slot->result = NULL;
    pthread_cond_broadcast(&prefetch->room);
    pthread_mutex_unlock(&prefetch->lock);
    return status;
}

bool prefetch_ready(struct prefetch *prefetch) {
    pthread_mutex_lock(&prefetch->lock);
    bool ready =
        prefetch->taken < prefetch->count && prefetch->slots[prefetch->taken % prefetch->limits.ahead].made;
    pthread_mutex_unlock(&prefetch->lock);
    return ready;
}

/* A slot that is made is the consumer's. */
const void *prefetch_peek(struct prefetch *prefetch) {
    if (!prefetch_ready(prefetch)) return NULL;
    return prefetch->slots[prefetch->taken % prefetch->limits.ahead].result;
}

void prefetch_stop(struct prefetch *prefetch) {
    if (!prefetch) return;
    pthread_mutex_lock(&prefetch->lock);
    prefetch->stopping = true;
    pthread_cond_broadcast(&prefetch->room);
    pthread_mutex_unlock(&prefetch->lock);
    for (int i = 0; i < prefetch->started; i++) pthread_join(prefetch->workers[i], NULL);
    for (int64_t i = 0; prefetch->slots && i < prefetch->limits.ahead; i++)
        if (prefetch->slots[i].made && prefetch->slots[i].result)
            prefetch->work.release(prefetch->work.context, prefetch->slots[i].result);
    pthread_cond_destroy(&prefetch->ready);
    pthread_cond_destroy(&prefetch->room);
    pthread_mutex_destroy(&prefetch->lock);
    free(prefetch->workers);
    free(prefetch->slots);
    free(prefetch);
}
