#include "train/exchange.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tensor/collective.h"
#include "train/communicator_parts.h"

/* ---- The thread -------------------------------------------------------------------------------------- */

/* Makes all buckets of an exchange. */
static enum status make(struct exchange *exchange, struct error *err) {
    struct communicator *c = exchange->communicator;
    char *sent = exchange->sent, *received = exchange->received;
    enum status status = STATUS_OK;
    for (size_t b = 0; status == STATUS_OK && b < exchange->buckets; b++) {
        const size_t bytes = exchange->bucket_bytes[b];
        status =
            exchange->kind == EXCHANGE_GATHER
                ? communicator_gather_now(c, "weights", received, sent, bytes, err)
                : communicator_sum_now(c, (float *)(void *)received, (const float *)(void *)sent, bytes, err);
        sent += (size_t)c->size * bytes;
        received += (size_t)c->size * bytes;
    }
    return status;
}

static void *make_all(void *argument) {
    struct communicator *c = argument;
    struct exchange_queue *queue = &c->queue;
    pthread_mutex_lock(&queue->mutex);
    while (!queue->stops) {
        struct exchange *exchange = queue->first;
        if (!exchange) {
            pthread_cond_wait(&queue->changed, &queue->mutex);
            continue;
        }
        pthread_mutex_unlock(&queue->mutex);
        enum status status = make(exchange, &exchange->error);
        pthread_mutex_lock(&queue->mutex);
        exchange->status = status;
        exchange->done = true;
        queue->first = exchange->next;
        if (!queue->first) queue->last = NULL;
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->mutex);
    return NULL;
}

/* It takes no signals: they are for the thread that trains. */
static enum status start_thread(struct communicator *c, struct error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&c->queue.thread, NULL, make_all, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    c->queue.started = code == 0;
    return code == 0 ? STATUS_OK : error_set(err, "a thread for exchanges: %s", strerror(code));
}

/* ---- The queue --------------------------------------------------------------------------------------- */

void exchange_queue_open(struct communicator *c) {
    pthread_mutex_init(&c->queue.mutex, NULL);
    pthread_cond_init(&c->queue.changed, NULL);
}

void exchange_queue_close(struct communicator *c) {
    struct exchange_queue *queue = &c->queue;
    exchange_settle(c);
    pthread_mutex_lock(&queue->mutex);
    queue->stops = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
    if (queue->started) pthread_join(queue->thread, NULL);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->mutex);
}

void exchange_settle(struct communicator *c) {
    struct exchange_queue *queue = &c->queue;
    pthread_mutex_lock(&queue->mutex);
    while (queue->first) pthread_cond_wait(&queue->changed, &queue->mutex);
    pthread_mutex_unlock(&queue->mutex);
    if (c->exchanging) collective_finish(c->exchanging);
    c->exchanging = NULL;
}

void exchange_submit(struct exchange *exchange) {
    struct exchange_queue *queue = &exchange->communicator->queue;
    pthread_mutex_lock(&queue->mutex);
    exchange->done = false;
    exchange->next = NULL;
    if (queue->last)
        queue->last->next = exchange;
    else
        queue->first = exchange;
    queue->last = exchange;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

enum status exchange_wait(struct exchange *exchange, struct error *err) {
    struct exchange_queue *queue = &exchange->communicator->queue;
    pthread_mutex_lock(&queue->mutex);
    while (!exchange->done) pthread_cond_wait(&queue->changed, &queue->mutex);
    pthread_mutex_unlock(&queue->mutex);
    if (exchange->status != STATUS_OK) *err = exchange->error;
    return exchange->status;
}

/* ---- Exchanges --------------------------------------------------------------------------------------- */

struct exchange *exchange_new(struct communicator *communicator, struct device *device, struct error *err) {
    struct exchange *exchange = memory_new(1, sizeof *exchange, "an exchange between processes", err);
    if (!exchange) return NULL;
    exchange->communicator = communicator;
    exchange->device = device;
    if (communicator_join_devices(communicator, device, err) != STATUS_OK) goto err;
    if (device->collective || communicator->queue.started || start_thread(communicator, err) == STATUS_OK)
        return exchange;
err:
    free(exchange);
    return NULL;
}

void exchange_drop(struct exchange *exchange) {
    struct error ignored;
    if (!exchange->list) return;
    if (exchange->device->collective)
        collective_wait(exchange->device, exchange_mark(exchange->kind));
    else
        (void)exchange_wait(exchange, &ignored);
    exchange->list = NULL;
}

void exchange_free(struct exchange *exchange) {
    if (!exchange) return;
    exchange_drop(exchange);
    if (exchange->communicator->exchanging == exchange->device) exchange_settle(exchange->communicator);
    free(exchange->sent);
    free(exchange->received);
    free(exchange->bucket_bytes);
    free(exchange);
}
