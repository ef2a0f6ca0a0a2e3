#include "train/heartbeat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
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

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"

enum { WORDS = 128, EXCHANGE = 32, HOST = 64, ADDRESSES = 16, TOLD_OF = 4 };

/* Seconds: between two beats, that are too long for a beat that was not held up, and of silence. */
static const double period = 1, held_up = 3, standard_limit = 30;

/* How a process is. */
struct condition {
    int64_t exchanges; /* done */
    bool waits;        /* in the next one, whose name is: */
    char exchange[EXCHANGE];
    char words[WORDS];
};

/* What goes over the wire. All processes run the same program. */
struct beat {
    uint64_t token; /* the run's: others are not listened to */
    int32_t rank;
    struct condition condition;
};

/* What a process says of itself at the start; the token and the limit of process 0 count. */
struct invitation {
    uint64_t token;
    double limit;
    uint16_t port;
    uint32_t addresses[ADDRESSES]; /* in network order, and so is the port; the first one is 127.0.0.1 */
    uint32_t address_count;
    char host[HOST];
};

/* What process 0 knows of a process, and the others of process 0. */
struct peer {
    char host[HOST];
    bool reached;        /* something was heard of it */
    double heard, moved; /* when: the last time, and when the condition changed */
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
    pthread_t thread;
    pthread_mutex_t mutex; /* of what follows */
    struct condition own;
    double patience;
    bool stops;
};

/* ---- The start --------------------------------------------------------------------------------------- */

enum status heartbeat_read_limit(double *seconds, struct error *err) {
    const char *text = getenv("VS2_SILENCE_LIMIT");
    char *end = NULL;
    *seconds = text ? strtod(text, &end) : standard_limit;
    if (text && (!*text || *end || !(*seconds >= 0)))
        return error_usage(err, "environment: VS2_SILENCE_LIMIT=%s is no number of seconds", text);
    return STATUS_OK;
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
        getsockname(heartbeat->socket, (struct sockaddr *)&address, &length) != 0)
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
    return own;
}

/* Datagrams may be lost: a beat that is not sent is one of these. */
static void send_beat(struct heartbeat *heartbeat, struct sockaddr_in to) {
    const struct beat beat = {heartbeat->first.token, heartbeat->rank, own_condition(heartbeat)};
    (void)sendto(heartbeat->socket, &beat, sizeof beat, 0, (const struct sockaddr *)&to, sizeof to);
}

/* To process 0, wherever it may be. */
static void send_beats(struct heartbeat *heartbeat) {
    const struct invitation *first = &heartbeat->first;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = first->port};
    for (int64_t i = 0; i < first->address_count; i++) {
        if (heartbeat->address >= 0 && heartbeat->address != i) continue;
        to.sin_addr.s_addr = first->addresses[i];
        send_beat(heartbeat, to);
    }
}

static void remember(struct peer *peer, const struct condition *condition, double now) {
    bool moved = peer->condition.exchanges != condition->exchanges ||
                 peer->condition.waits != condition->waits || !peer->reached;
    if (moved) peer->moved = now;
    peer->condition = *condition;
    peer->reached = true;
    peer->heard = now;
}

/* Takes all beats that have come; process 0 answers them. */
static void receive_beats(struct heartbeat *heartbeat) {
    struct beat beat;
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    while (recvfrom(heartbeat->socket, &beat, sizeof beat, 0, (struct sockaddr *)&from, &length) ==
           (ssize_t)sizeof beat) {
        if (beat.token != heartbeat->first.token || beat.rank < 0 || beat.rank >= heartbeat->size) continue;
        beat.condition.exchange[EXCHANGE - 1] = beat.condition.words[WORDS - 1] = '\0';
        remember(&heartbeat->peers[beat.rank], &beat.condition, clock_seconds());
        if (heartbeat->rank == 0) send_beat(heartbeat, from);
        for (int64_t i = 0; heartbeat->rank > 0 && i < heartbeat->first.address_count; i++)
            if (heartbeat->first.addresses[i] == from.sin_addr.s_addr) heartbeat->address = i;
        length = sizeof from;
    }
}

/* ---- Judgement --------------------------------------------------------------------------------------- */

static void name_process(const struct heartbeat *heartbeat, int rank, struct text *text) {
    text_format(text, "process %d on %s", rank, heartbeat->peers[rank].host);
}

static void describe(const struct heartbeat *heartbeat, int rank, struct text *text) {
    const struct condition *condition = &heartbeat->peers[rank].condition;
    if (condition->words[0]) text_format(text, " (%s)", condition->words);
    if (condition->waits)
        text_format(text, " waits in exchange %lld, '%s'", (long long)condition->exchanges + 1,
                    condition->exchange);
    else
        text_format(text, " is busy after %lld exchanges", (long long)condition->exchanges);
}

/* Ends all processes; `text` is why. */
_Noreturn static void end_all(struct heartbeat *heartbeat, struct text *text) {
    fprintf(stderr, "%s: error: %s\n", program_invocation_short_name,
            text->data && !text->failed ? text->data : "a process does not answer");
    transport_abort(heartbeat->transport, STATUS_FAILED);
}

static void check_silence(struct heartbeat *heartbeat, int rank, double now) {
    const struct peer *peer = &heartbeat->peers[rank];
    if (!peer->reached || now - peer->heard <= heartbeat->first.limit) return;
    struct text text = {0};
    name_process(heartbeat, rank, &text);
    text_format(
        &text, " does not answer: nothing was heard of it for %.0f s; what it said last:", now - peer->heard);
    describe(heartbeat, rank, &text);
    end_all(heartbeat, &text);
}

/* Those that cannot be reached are not watched. */
static void note_unreached(struct heartbeat *heartbeat, int first, int end, double now) {
    if (heartbeat->noted || now - heartbeat->start <= heartbeat->first.limit) return;
    heartbeat->noted = true;
    for (int r = first; r < end; r++)
        if (!heartbeat->peers[r].reached)
            fprintf(stderr, "%s: process %d on %s is not watched: no heartbeat gets through to process %d\n",
                    program_invocation_short_name, r, heartbeat->peers[r].host, heartbeat->rank);
}

/* Whether processes wait for each other, or too long for one of them. */
static void check_waiting(struct heartbeat *heartbeat, double now) {
    int waiting = 0, stuck = 0;
    double longest = 0;
    pthread_mutex_lock(&heartbeat->mutex);
    double patience = heartbeat->patience;
    pthread_mutex_unlock(&heartbeat->mutex);
    for (int r = 0; r < heartbeat->size; r++) {
        const struct peer *peer = &heartbeat->peers[r];
        if (!peer->reached) return; /* whatever it does */
        if (!peer->condition.waits) continue;
        waiting++;
        stuck += now - peer->moved > heartbeat->first.limit;
        if (now - peer->moved > longest) longest = now - peer->moved;
    }
    bool all = stuck == heartbeat->size;
    if (!all && (waiting == heartbeat->size || longest <= patience)) return;
    struct text text = {0};
    text_format(&text, "%s for %.0f s: ", all ? "all processes wait for each other" : "processes wait",
                longest);
    for (int r = 0, told = 0; r < heartbeat->size && told < TOLD_OF; r++) {
        if (!all && heartbeat->peers[r].condition.waits) continue; /* for those that are busy */
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
    int first = heartbeat->rank == 0 ? 1 : 0, end = heartbeat->rank == 0 ? heartbeat->size : 1;
    for (int r = first; was_stopped && r < end; r++)
        heartbeat->peers[r].heard = heartbeat->peers[r].moved = now;
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
            if (heartbeat->rank > 0) send_beats(heartbeat);
            look_around(heartbeat);
            next = now + period;
        }
        struct pollfd waits = {.fd = heartbeat->socket, .events = POLLIN};
        if (poll(&waits, 1, 100) > 0) receive_beats(heartbeat); /* and looks whether to stop */
    }
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

enum status heartbeat_start(struct heartbeat **started, struct transport *transport, double limit,
                            struct error *err) {
    *started = NULL;
    struct heartbeat *heartbeat = memory_new(1, sizeof *heartbeat, "heartbeats", err);
    if (!heartbeat) return STATUS_FAILED;
    heartbeat->transport = transport;
    heartbeat->rank = transport->rank;
    heartbeat->size = transport->size;
    heartbeat->socket = heartbeat->address = -1;
    heartbeat->patience = INFINITY;
    pthread_mutex_init(&heartbeat->mutex, NULL);
    struct invitation own = {.limit = limit};
    gethostname(own.host, HOST - 1);
    heartbeat->peers = memory_new((size_t)heartbeat->size, sizeof *heartbeat->peers, "heartbeats", err);
    enum status status = heartbeat->peers ? open_socket(heartbeat, &own, err) : STATUS_FAILED;
    if (status == STATUS_OK && getrandom(&own.token, sizeof own.token, 0) != (ssize_t)sizeof own.token)
        status = error_set(err, "a token for heartbeats: %s", strerror(errno));
    list_addresses(&own);
    if (status == STATUS_OK) status = meet(heartbeat, &own, err);
    if (status == STATUS_OK && heartbeat->first.limit > 0) {
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

void heartbeat_go_on(struct heartbeat *heartbeat) {
    if (!heartbeat) return;
    pthread_mutex_lock(&heartbeat->mutex);
    heartbeat->own.waits = false;
    heartbeat->own.exchanges++;
    pthread_mutex_unlock(&heartbeat->mutex);
}
