#include "train/heartbeat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/activity.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

enum { WORDS = 128, EXCHANGE = 32, HOST = 64, ADDRESSES = 16, TOLD_OF = 4 };

/* Seconds: between two beats, and that are too long for a beat that was not held up; between two looks at who
 * is gone, and that a process waits before it looks. */
static const double period = 1, held_up = 3, look_period = 0.1, look_after = 0.2;

/* So that all end within a minute. */
static const struct heartbeat_limits standard_limits = {.silence = 30, .progress = 45};

/* How a process is. */
struct condition {
    int64_t exchanges;        /* done */
    struct activity activity; /* of all its threads */
    bool waits;               /* in the next exchange, whose name is: */
    char exchange[EXCHANGE];
    char words[WORDS];
};

/* Why a beat comes: the process goes on; it ends, and is not to be missed; it ends all, and has said why. */
enum beat_kind { BEAT_GOES_ON, BEAT_ENDS, BEAT_ENDS_ALL };

/* What goes over the wire. All processes run the same program. */
struct beat {
    uint64_t token; /* the run's: others are not listened to */
    int32_t rank;
    int32_t kind;
    struct condition condition;
};

/* What a process says of itself at the start; the token and the limits of process 0 count. */
struct invitation {
    uint64_t token;
    struct heartbeat_limits limits;
    uint16_t port;
    uint32_t addresses[ADDRESSES]; /* in network order, and so is the port; the first one is 127.0.0.1 */
    uint32_t address_count;
    char host[HOST];
};

/* What process 0 knows of a process, and the others of process 0. */
struct peer {
    char host[HOST];
    bool reached, ended;          /* something was heard of it; it said that it ends */
    double heard, moved, stepped; /* when: the last time; it began or ended to wait; it did anything */
    struct sockaddr_in from;      /* its beats came from there */
    struct condition condition;
};

struct heartbeat {
    struct transport *transport;
    int rank, size, socket;
    struct invitation first; /* of process 0 */
    int64_t address;         /* of `first` which answers; -1: not known yet */
    struct peer *peers;      /* [size]; but for process 0 only the first is looked at */
    double start, last;      /* when the thread began, and looked around last */
    bool noted;              /* that some cannot be reached */
    struct {                 /* when the last look at who is gone was, and since when this process has ... */
        double last, since;
        int64_t exchanges; /* ... these exchanges and steps */
        uint64_t steps;
    } look;
    pthread_t thread;
    pthread_mutex_t mutex; /* of what follows */
    struct condition own;
    double patience;
    bool stops, misses; /* the thread is to end; is to look who is gone */
};

/* ---- The start --------------------------------------------------------------------------------------- */

static enum status read_seconds(const char *variable, double *seconds, struct error *err) {
    const char *text = getenv(variable);
    char *end;
    if (!text) return STATUS_OK;
    *seconds = strtod(text, &end);
    if (!*text || *end || !(*seconds >= 0))
        return error_usage(err, "environment: %s=%s is no number of seconds", variable, text);
    return STATUS_OK;
}

enum status heartbeat_read_limits(struct heartbeat_limits *limits, struct error *err) {
    *limits = standard_limits;
    enum status status = read_seconds("VS2_SILENCE_LIMIT", &limits->silence, err);
    return status == STATUS_OK ? read_seconds("VS2_PROGRESS_LIMIT", &limits->progress, err) : status;
}

static void list_addresses(struct invitation *invitation) {
    struct ifaddrs *all = NULL;
    invitation->addresses[invitation->address_count++] = htonl(INADDR_LOOPBACK);
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *one = all; one && invitation->address_count < ADDRESSES; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || (one->ifa_flags & IFF_LOOPBACK))
            continue;
        struct sockaddr_in address;
        memcpy(&address, one->ifa_addr, sizeof address);
        invitation->addresses[invitation->address_count++] = address.sin_addr.s_addr;
    }
    freeifaddrs(all);
}

static enum status open_socket(struct heartbeat *heartbeat, struct invitation *own, struct error *err) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    heartbeat->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (heartbeat->socket < 0 || bind(heartbeat->socket, (struct sockaddr *)&address, length) != 0 ||
        getsockname(heartbeat->socket, (struct sockaddr *)&address, &length) != 0 ||
        setsockopt(heartbeat->socket, IPPROTO_IP, IP_RECVERR, &(int){1}, sizeof(int)) != 0)
        return error_set(err, "a socket for heartbeats: %s", strerror(errno));
    own->port = address.sin_port;
    return STATUS_OK;
}

/* Everybody hears who the others are. */
static enum status meet(struct heartbeat *heartbeat, const struct invitation *own, struct error *err) {
    struct invitation *all = memory_new((size_t)heartbeat->size, sizeof *all, "heartbeats", err);
    if (!all) return STATUS_FAILED;
    enum status status = transport_gather(heartbeat->transport, all, own, sizeof *own, err);
    for (int r = 0; status == STATUS_OK && r < heartbeat->size; r++)
        memcpy(heartbeat->peers[r].host, all[r].host, HOST);
    heartbeat->first = all[0];
    free(all);
    return status;
}

/* ---- The thread -------------------------------------------------------------------------------------- */

static struct condition own_condition(struct heartbeat *heartbeat) {
    pthread_mutex_lock(&heartbeat->mutex);
    struct condition own = heartbeat->own;
    pthread_mutex_unlock(&heartbeat->mutex);
    own.activity = activity_now();
    return own;
}

/* Datagrams may be lost: a beat that is not sent is one of these. */
static void send_beat(struct heartbeat *heartbeat, struct sockaddr_in to, enum beat_kind kind) {
    const struct beat beat = {heartbeat->first.token, heartbeat->rank, kind, own_condition(heartbeat)};
    /* What is said of an earlier one keeps this one back, once. */
    for (int tries = 0; tries < 2; tries++)
        if (sendto(heartbeat->socket, &beat, sizeof beat, 0, (const struct sockaddr *)&to, sizeof to) >= 0)
            return;
}

/* Process 0 watches the others, and they watch it. */
static int first_watched(const struct heartbeat *heartbeat) {
    return heartbeat->rank == 0 ? 1 : 0;
}

static int end_of_watched(const struct heartbeat *heartbeat) {
    return heartbeat->rank == 0 ? heartbeat->size : 1;
}

/* To process 0, wherever it may be. */
static void send_to_first(struct heartbeat *heartbeat, enum beat_kind kind) {
    const struct invitation *first = &heartbeat->first;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = first->port};
    for (int64_t i = 0; i < first->address_count; i++) {
        if (heartbeat->address >= 0 && heartbeat->address != i) continue;
        to.sin_addr.s_addr = first->addresses[i];
        send_beat(heartbeat, to, kind);
    }
}

static void send_to_watched(struct heartbeat *heartbeat, enum beat_kind kind) {
    if (heartbeat->rank > 0) send_to_first(heartbeat, kind);
    for (int r = first_watched(heartbeat); heartbeat->rank == 0 && r < heartbeat->size; r++)
        if (heartbeat->peers[r].reached) send_beat(heartbeat, heartbeat->peers[r].from, kind);
}

/* Of three datagrams one gets through. */
static void send_repeatedly(struct heartbeat *heartbeat, enum beat_kind kind) {
    for (int i = 0; i < 3; i++) send_to_watched(heartbeat, kind);
}

static void remember(struct peer *peer, const struct condition *condition, double now) {
    bool moved = peer->condition.exchanges != condition->exchanges ||
                 peer->condition.waits != condition->waits || !peer->reached;
    if (moved) peer->moved = now;
    if (moved || peer->condition.activity.steps != condition->activity.steps) peer->stepped = now;
    peer->condition = *condition;
    peer->reached = true;
    peer->heard = now;
}

static void take_beat(struct heartbeat *heartbeat, struct beat *beat, const struct sockaddr_in *from) {
    struct peer *peer = &heartbeat->peers[beat->rank];
    if (beat->kind == BEAT_ENDS_ALL) transport_abort(heartbeat->transport, STATUS_FAILED);
    beat->condition.exchange[EXCHANGE - 1] = beat->condition.words[WORDS - 1] = '\0';
    remember(peer, &beat->condition, clock_seconds());
    peer->from = *from;
    if (beat->kind == BEAT_ENDS) peer->ended = true;
    if (heartbeat->rank == 0 && !peer->ended) send_beat(heartbeat, *from, BEAT_GOES_ON);
    for (int64_t i = 0; heartbeat->rank > 0 && i < heartbeat->first.address_count; i++)
        if (heartbeat->first.addresses[i] == from->sin_addr.s_addr) heartbeat->address = i;
}

/* Takes all beats that have come; process 0 answers them. What is said of one that was sent comes before
 * those: it is not the last one, which may say that its process ends. */
static void receive_beats(struct heartbeat *heartbeat) {
    for (int64_t errors = 0; errors <= (int64_t)ADDRESSES * heartbeat->size;) {
        struct beat beat;
        struct sockaddr_in from = {0};
        socklen_t length = sizeof from;
        ssize_t bytes = recvfrom(heartbeat->socket, &beat, sizeof beat, 0, (struct sockaddr *)&from, &length);
        if (bytes < 0 && errno == EAGAIN) return;
        if (bytes < 0) errors++;
        if (bytes != (ssize_t)sizeof beat || beat.token != heartbeat->first.token || beat.rank < 0 ||
            beat.rank >= heartbeat->size)
            continue;
        take_beat(heartbeat, &beat, &from);
    }
}

/* ---- Judgement --------------------------------------------------------------------------------------- */

static void name_process(const struct heartbeat *heartbeat, int rank, struct text *text) {
    text_format(text, "process %d on %s", rank, heartbeat->peers[rank].host);
}

static void describe(const struct heartbeat *heartbeat, int rank, struct text *text) {
    const struct peer *peer = &heartbeat->peers[rank];
    const struct condition *condition = &peer->condition;
    const long long exchanges = condition->exchanges;
    const double since = peer->heard - peer->stepped;
    if (condition->words[0]) text_format(text, " (%s)", condition->words);
    if (condition->waits)
        text_format(text, " waits in exchange %lld, '%s'", exchanges + 1, condition->exchange);
    else if (condition->activity.waits)
        text_format(text, " waits for its device after %lld exchanges", exchanges);
    else
        text_format(text, " is busy after %lld exchanges", exchanges);
    if (!condition->waits && since > period) text_format(text, ", and did nothing for %.0f s", since);
}

/* Ends all processes; `text` is why. One that is stuck does not notice that the others are gone, but its
 * thread for heartbeats hears it. */
_Noreturn static void end_all(struct heartbeat *heartbeat, struct text *text) {
    fprintf(stderr, "%s: error: %s\n", program_invocation_short_name,
            text->data && !text->failed ? text->data : "a process does not answer");
    if (heartbeat->rank == 0) send_repeatedly(heartbeat, BEAT_ENDS_ALL);
    transport_abort(heartbeat->transport, STATUS_FAILED);
}

static void check_silence(struct heartbeat *heartbeat, int rank, double now) {
    const struct peer *peer = &heartbeat->peers[rank];
    if (!peer->reached || peer->ended || now - peer->heard <= heartbeat->first.limits.silence) return;
    struct text text = {0};
    name_process(heartbeat, rank, &text);
    text_format(
        &text, " does not answer: nothing was heard of it for %.0f s; what it said last:", now - peer->heard);
    describe(heartbeat, rank, &text);
    end_all(heartbeat, &text);
}

/* A beat that was sent there came to a port that nobody has: whose process it was is gone. */
static void check_gone(struct heartbeat *heartbeat, const struct sockaddr_in *to) {
    for (int r = first_watched(heartbeat); r < end_of_watched(heartbeat); r++) {
        const struct peer *peer = &heartbeat->peers[r];
        if (!peer->reached || peer->ended || peer->from.sin_port != to->sin_port ||
            peer->from.sin_addr.s_addr != to->sin_addr.s_addr)
            continue;
        struct text text = {0};
        name_process(heartbeat, r, &text);
        text_append_string(&text, " is gone; what it said last:");
        describe(heartbeat, r, &text);
        end_all(heartbeat, &text);
    }
}

/* What the network says of beats that were sent. */
static void receive_errors(struct heartbeat *heartbeat) {
    struct sockaddr_in to = {0};
    char byte, control[256];
    struct iovec part = {&byte, sizeof byte};
    struct msghdr message = {.msg_name = &to, .msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    for (;;) {
        message.msg_namelen = sizeof to;
        message.msg_controllen = sizeof control;
        if (recvmsg(heartbeat->socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            struct sock_extended_err error;
            if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR) continue;
            memcpy(&error, CMSG_DATA(c), sizeof error);
            if (error.ee_origin == SO_EE_ORIGIN_ICMP && error.ee_errno == ECONNREFUSED)
                check_gone(heartbeat, &to);
        }
    }
}

/* Whether it is time to look who is gone: this process waits, an exchange has failed, or the launcher ends
 * it, as mpirun does a moment after it has lost another one. */
static bool may_miss(struct heartbeat *heartbeat, double now) {
    sigset_t pending;
    const struct condition own = own_condition(heartbeat);
    if (own.exchanges != heartbeat->look.exchanges || own.activity.steps != heartbeat->look.steps) {
        heartbeat->look.since = now;
        heartbeat->look.exchanges = own.exchanges;
        heartbeat->look.steps = own.activity.steps;
    }
    if (now - heartbeat->look.last < look_period) return false;
    pthread_mutex_lock(&heartbeat->mutex);
    const bool misses = heartbeat->misses;
    pthread_mutex_unlock(&heartbeat->mutex);
    const bool waits = (own.waits || own.activity.waits) && now - heartbeat->look.since > look_after;
    return misses || waits || (sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) == 1);
}

static void look_for_gone(struct heartbeat *heartbeat, double now) {
    if (!may_miss(heartbeat, now)) return;
    heartbeat->look.last = now;
    send_to_watched(heartbeat, BEAT_GOES_ON);
}

/* Those that cannot be reached are not watched. */
static void note_unreached(struct heartbeat *heartbeat, int first, int end, double now) {
    if (heartbeat->noted || now - heartbeat->start <= heartbeat->first.limits.silence) return;
    heartbeat->noted = true;
    for (int r = first; r < end; r++)
        if (!heartbeat->peers[r].reached)
            fprintf(stderr, "%s: process %d on %s is not watched: no heartbeat gets through to process %d\n",
                    program_invocation_short_name, r, heartbeat->peers[r].host, heartbeat->rank);
}

/* In an exchange of theirs, or one of their devices. */
static bool is_waiting(const struct condition *condition) {
    return condition->waits || condition->activity.waits;
}

/* Nothing happens in it any more. What a device was given to do may take it longer than an exchange that all
 * are in. */
static bool stands_still(const struct heartbeat *heartbeat, const struct peer *peer, double now) {
    const struct heartbeat_limits *limits = &heartbeat->first.limits;
    if (peer->condition.waits) return now - peer->stepped > limits->silence;
    return limits->progress > 0 && now - peer->stepped > limits->progress;
}

/* How the processes stand. */
struct standing {
    int waiting, still, culprits; /* how many wait, stand still, stand still and do not wait */
    double longest;               /* time that one waits, in seconds */
};

static struct standing find_standing(const struct heartbeat *heartbeat, double now) {
    struct standing all = {0};
    for (int r = 0; r < heartbeat->size; r++) {
        const struct peer *peer = &heartbeat->peers[r];
        const bool waiting = is_waiting(&peer->condition), still = stands_still(heartbeat, peer, now);
        /* A device is waited for again and again: unnoticed, as long as the process does something. */
        const double waited = now - (peer->condition.waits ? peer->moved : peer->stepped);
        all.waiting += waiting;
        all.still += still;
        all.culprits += still && !waiting;
        if (waiting && waited > all.longest) all.longest = waited;
    }
    return all;
}

static bool all_are_reached(const struct heartbeat *heartbeat) {
    for (int r = 0; r < heartbeat->size; r++)
        if (!heartbeat->peers[r].reached) return false;
    return true;
}

/* Whether processes wait for each other, or for one that does nothing, or too long for one that does. */
static void check_waiting(struct heartbeat *heartbeat, double now) {
    if (!all_are_reached(heartbeat)) return; /* whatever those do */
    pthread_mutex_lock(&heartbeat->mutex);
    double patience = heartbeat->patience;
    pthread_mutex_unlock(&heartbeat->mutex);
    const struct standing all = find_standing(heartbeat, now);
    const bool nobody_moves = all.still == heartbeat->size;
    if (!nobody_moves && (all.waiting == 0 || all.culprits == 0) &&
        (all.waiting == heartbeat->size || all.longest <= patience))
        return;
    const bool for_each_other = all.waiting == heartbeat->size;
    struct text text = {0};
    if (all.waiting == 0)
        text_append_string(&text, "no process does anything: ");
    else
        text_format(&text, "%s for %.0f s: ",
                    for_each_other ? "all processes wait for each other" : "processes wait", all.longest);
    for (int r = 0, told = 0; r < heartbeat->size && told < TOLD_OF; r++) {
        const struct peer *peer = &heartbeat->peers[r];
        if (!for_each_other && is_waiting(&peer->condition)) continue; /* for those that are busy */
        if (all.culprits > 0 && !stands_still(heartbeat, peer, now)) continue;
        if (told++ > 0) text_append_string(&text, "; ");
        name_process(heartbeat, r, &text);
        describe(heartbeat, r, &text);
    }
    end_all(heartbeat, &text);
}

/* Once a second. */
static void look_around(struct heartbeat *heartbeat) {
    double now = clock_seconds();
    /* This process itself was stopped: it could not hear the others. */
    bool was_stopped = now - heartbeat->last > held_up;
    heartbeat->last = now;
    const int first = first_watched(heartbeat), end = end_of_watched(heartbeat);
    for (int r = 0; was_stopped && r < end; r++)
        heartbeat->peers[r].heard = heartbeat->peers[r].moved = heartbeat->peers[r].stepped = now;
    for (int r = first; r < end; r++) check_silence(heartbeat, r, now);
    note_unreached(heartbeat, first, end, now);
    if (heartbeat->rank > 0) return;
    struct condition own = own_condition(heartbeat);
    remember(&heartbeat->peers[0], &own, now);
    check_waiting(heartbeat, now);
}

static bool is_stopping(struct heartbeat *heartbeat) {
    pthread_mutex_lock(&heartbeat->mutex);
    bool stops = heartbeat->stops;
    pthread_mutex_unlock(&heartbeat->mutex);
    return stops;
}

static void *beat_on(void *argument) {
    struct heartbeat *heartbeat = argument;
    double next = heartbeat->start;
    while (!is_stopping(heartbeat)) {
        double now = clock_seconds();
        if (now >= next) {
            if (heartbeat->rank > 0) send_to_first(heartbeat, BEAT_GOES_ON);
            look_around(heartbeat);
            next = now + period;
        }
        look_for_gone(heartbeat, now);
        struct pollfd waits = {.fd = heartbeat->socket, .events = POLLIN};
        if (poll(&waits, 1, 100) <= 0) continue; /* and looks whether to stop */
        receive_beats(heartbeat);
        receive_errors(heartbeat);
    }
    send_repeatedly(heartbeat, BEAT_ENDS);
    return NULL;
}

/* ---- For the process --------------------------------------------------------------------------------- */

/* The thread takes no signals: they are for the one that trains. */
static enum status start_thread(struct heartbeat *heartbeat, struct error *err) {
    sigset_t all, before;
    sigfillset(&all);
    heartbeat->start = heartbeat->last = clock_seconds();
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&heartbeat->thread, NULL, beat_on, heartbeat);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0 ? STATUS_OK : error_set(err, "a thread for heartbeats: %s", strerror(code));
}

static void release(struct heartbeat *heartbeat) {
    if (heartbeat->socket >= 0) close(heartbeat->socket);
    pthread_mutex_destroy(&heartbeat->mutex);
    free(heartbeat->peers);
    free(heartbeat);
}

enum status heartbeat_start(struct heartbeat **started, struct transport *transport,
                            struct heartbeat_limits limits, struct error *err) {
    *started = NULL;
    struct heartbeat *heartbeat = memory_new(1, sizeof *heartbeat, "heartbeats", err);
    if (!heartbeat) return STATUS_FAILED;
    heartbeat->transport = transport;
    heartbeat->rank = transport->rank;
    heartbeat->size = transport->size;
    heartbeat->socket = heartbeat->address = -1;
    heartbeat->patience = INFINITY;
    pthread_mutex_init(&heartbeat->mutex, NULL);
    struct invitation own = {.limits = limits};
    gethostname(own.host, HOST - 1);
    heartbeat->peers = memory_new((size_t)heartbeat->size, sizeof *heartbeat->peers, "heartbeats", err);
    enum status status = heartbeat->peers ? open_socket(heartbeat, &own, err) : STATUS_FAILED;
    if (status == STATUS_OK && getrandom(&own.token, sizeof own.token, 0) != (ssize_t)sizeof own.token)
        status = error_set(err, "a token for heartbeats: %s", strerror(errno));
    list_addresses(&own);
    if (status == STATUS_OK) status = meet(heartbeat, &own, err);
    if (status == STATUS_OK && heartbeat->first.limits.silence > 0) {
        status = start_thread(heartbeat, err);
        if (status == STATUS_OK) *started = heartbeat;
    }
    if (!*started) release(heartbeat);
    return status;
}

void heartbeat_stop(struct heartbeat *heartbeat) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->stops = true;
    pthread_mutex_unlock(&heartbeat->mutex);
    pthread_join(heartbeat->thread, NULL);
    release(heartbeat);
}

void heartbeat_patience(struct heartbeat *heartbeat, double seconds) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->patience = seconds;
    pthread_mutex_unlock(&heartbeat->mutex);
}

void heartbeat_say(struct heartbeat *heartbeat, const char *words) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    snprintf(heartbeat->own.words, WORDS, "%s", words);
    pthread_mutex_unlock(&heartbeat->mutex);
}

void heartbeat_wait(struct heartbeat *heartbeat, const char *exchange) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->own.waits = true;
    snprintf(heartbeat->own.exchange, EXCHANGE, "%s", exchange);
    pthread_mutex_unlock(&heartbeat->mutex);
}

void heartbeat_go_on(struct heartbeat *heartbeat, enum status status) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->own.waits = false;
    heartbeat->own.exchanges++;
    pthread_mutex_unlock(&heartbeat->mutex);
    if (status != STATUS_OK) heartbeat_miss(heartbeat);
}

void heartbeat_miss(struct heartbeat *heartbeat) {
    const struct timespec some_looks = {.tv_nsec = 500000000};
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->misses = true;
    pthread_mutex_unlock(&heartbeat->mutex);
    nanosleep(&some_looks, NULL);
}
