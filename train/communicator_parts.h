/* What the files of train/communicator.h share. */
#ifndef VS2_TRAIN_COMMUNICATOR_PARTS_H
#define VS2_TRAIN_COMMUNICATOR_PARTS_H

#include <pthread.h>

#include "tensor/collective.h"
#include "train/communicator.h"
#include "train/exchange.h"
#include "train/heartbeat.h"
#include "train/transport.h"

/* What goes over the wire at once, for each process: bounds the memory, and is large enough to be fast. */
enum { BUCKET_BYTES = 2 << 20, BUCKET_PIECES = 64 };

/* What the thread has to do (train/exchange.h). */
struct exchange {
    struct communicator *communicator;
    struct device *device;
    enum exchange_kind kind;
    const struct sliced *list; /* what is exchanged now; NULL: nothing */
    size_t count;
    char *sent, *received; /* [buckets, size, bytes of the bucket]; of slices only the first part is sent */
    size_t capacity;
    size_t *bucket_bytes; /* [buckets]: of each process */
    size_t buckets, bucket_capacity;
    struct exchange *next; /* in the queue */
    bool done;
    enum status status;
    struct error error;
};

/* The thread that makes exchanges while the process computes; it begins with the first of them. */
struct exchange_queue {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct exchange *first, *last; /* those that are not done, the first being made */
    bool started, stops;
};

/* What a process has to say in an agreement. */
struct verdict {
    int32_t status;
    char message[ERROR_MESSAGE_SIZE];
};

struct communicator {
    struct transport transport;
    struct heartbeat *heartbeat; /* or NULL */
    int rank, size;
    bool agreed; /* on a failure, whose message, with the process's name, is: */
    char verdict[ERROR_MESSAGE_SIZE];
    struct verdict *verdicts;    /* [size]: room for an agreement, which so needs no memory */
    const struct backend *asked; /* all were asked whether their devices of that kind can join ... */
    bool joins;                  /* ... and can (tensor/collective.h) */
    struct device *exchanging;   /* has collectives of an exchange that may not be done; NULL: none has */
    float *sent, *received;      /* [size, BUCKET_BYTES]; NULL until they are needed */
    struct exchange_queue queue;
};

/* communicator_slices.c: all devices join or none; NULL device->collective: they do not. */
enum status communicator_join_devices(struct communicator *c, struct device *device, struct error *err);

/* By which operations wait for an exchange of that kind. */
static inline enum collective_mark exchange_mark(enum exchange_kind kind) {
    return kind == EXCHANGE_GATHER ? COLLECTIVE_WHOLES : COLLECTIVE_SUMS;
}

/* exchange.c: hands the exchange to the thread; waits until it is made; waits until all are, so that the
 * transport is free. */
void exchange_submit(struct exchange *exchange);
enum status exchange_wait(struct exchange *exchange, struct error *err);
void exchange_settle(struct communicator *c);
void exchange_queue_open(struct communicator *c);
void exchange_queue_close(struct communicator *c);

/* What all do together is called by a name, for the last words of processes that wait. The first ones are for
 * the exchanges' thread, the others wait until it has nothing to do. */
enum status communicator_gather_now(struct communicator *c, const char *name, void *all, const void *own,
                                    size_t bytes, struct error *err);
enum status communicator_sum_now(struct communicator *c, float *received, const float *sent, size_t bytes,
                                 struct error *err);
enum status communicator_gather_bytes(struct communicator *c, const char *name, void *all, const void *own,
                                      size_t bytes, struct error *err);

/* The first `bytes` of received [size, bytes] = the processes' f32 values of this one's part of what they
 * sent [size, bytes], added up in the order of the ranks. */
enum status communicator_sum_bytes(struct communicator *c, float *received, const float *sent, size_t bytes,
                                   struct error *err);

#endif
