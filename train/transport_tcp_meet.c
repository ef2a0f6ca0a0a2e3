/* How processes find each other. Process 0 listens, at all addresses of its machine: its own name for itself
 * may be one that no other machine can reach (127.0.1.1), and MASTER_ADDR is what the others connect to. Only
 * where MASTER_ADDR is a loopback address as it stands, so that all are on one machine, it listens nowhere
 * else. Each of the others listens too, at the address by which it reaches process 0, and tells it where.
 * When all are there process 0 sends everybody the list, and each connects to those of lower rank. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "train/transport_tcp.h"

/* "vs2 tcp1": also of machines of another byte order nobody is let in. */
static const uint64_t magic = 0x7673322074637031;

static const double hello_seconds = 5; /* for whoever connects to say who it is */

/* What a process says when it connects. */
struct hello {
    uint64_t magic;
    int32_t rank, size, port, unused;
    char run[64], name[64];
};

/* What process 0 replies: the list follows, or it ends with this. */
struct reply {
    uint64_t magic;
    int32_t status, unused;
    char message[ERROR_MESSAGE_SIZE];
};

/* The list: an entry for each process. */
struct entry {
    char name[64], host[64];
    int32_t port, unused;
};

struct meeting {
    struct tcp_peer *peers;
    int rank, size;
    struct launcher_meeting at;
    double deadline;
    double seconds; /* until it, from the start */
    int listener;
    bool loopback; /* MASTER_ADDR is: all are on one machine */
};

static void copy_text(char *to, const char *from, size_t size) {
    snprintf(to, size, "%.*s", (int)(size - 1), from);
}

static struct hello hello_of(const struct meeting *meeting, int port) {
    struct hello hello = {.magic = magic, .rank = meeting->rank, .size = meeting->size, .port = port};
    copy_text(hello.run, meeting->at.run, sizeof hello.run);
    copy_text(hello.name, meeting->peers[meeting->rank].name, sizeof hello.name);
    return hello;
}

/* ---- Letting in -------------------------------------------------------------------------------------- */

/* Takes one that has connected into the list, or sends it away. Fails when it is of this run, but not as the
 * run is to be. */
static enum status let_in(struct meeting *meeting, int socket, const struct socket_address *from,
                          struct error *err) {
    struct hello hello;
    struct error away;
    double until = clock_seconds() + hello_seconds;
    bool known = socket_read(socket, &hello, sizeof hello,
                             until < meeting->deadline ? until : meeting->deadline, &away) == STATUS_OK &&
                 hello.magic == magic && memcmp(hello.run, hello_of(meeting, 0).run, sizeof hello.run) == 0;
    if (!known) {
        close(socket);
        return STATUS_OK;
    }
    hello.name[sizeof hello.name - 1] = 0;
    enum status status = STATUS_OK;
    if (hello.size != meeting->size)
        status = error_usage(err, "process %d on %s is one of %d processes, and process %d one of %d",
                             hello.rank, hello.name, hello.size, meeting->rank, meeting->size);
    else if (hello.rank <= meeting->rank || hello.rank >= meeting->size ||
             meeting->peers[hello.rank].socket >= 0)
        status = error_usage(err, "process %d on %s is there twice", hello.rank, hello.name);
    if (status != STATUS_OK) {
        struct reply reply = {.magic = magic, .status = (int32_t)status};
        copy_text(reply.message, err->message, sizeof reply.message);
        socket_write(socket, &reply, sizeof reply, meeting->deadline, &away);
        close(socket);
        return status;
    }
    struct tcp_peer *peer = &meeting->peers[hello.rank];
    peer->socket = socket;
    peer->listens = (struct socket_address){.port = hello.port};
    copy_text(peer->listens.host, from->host, sizeof peer->listens.host);
    copy_text(peer->name, hello.name, sizeof peer->name);
    return STATUS_OK;
}

static enum status tell_missing(const struct meeting *meeting, struct error *err) {
    struct text text = {0};
    int missing = 0;
    for (int r = meeting->rank + 1; r < meeting->size; r++) {
        if (meeting->peers[r].socket >= 0) continue;
        missing++;
        if (missing <= 8) text_format(&text, "%s%d", missing > 1 ? ", " : "", r);
    }
    if (missing > 8) text_format(&text, " and %d more", missing - 8);
    enum status status = text_check(&text, "who is missing", err);
    if (status == STATUS_OK)
        status = error_set(err, "process%s %s of %d did not come to %s, port %d, within %g seconds",
                           missing > 1 ? "es" : "", text.data, meeting->size, meeting->at.host,
                           meeting->at.port, meeting->seconds);
    text_free(&text);
    return status;
}

/* Lets in all of higher rank. */
static enum status let_all_in(struct meeting *meeting, struct error *err) {
    enum status status = STATUS_OK;
    int missing = meeting->size - 1 - meeting->rank;
    while (status == STATUS_OK && missing > 0) {
        struct socket_address from;
        int socket = socket_accept(meeting->listener, meeting->deadline, &from, err);
        if (socket < 0)
            return clock_seconds() < meeting->deadline ? STATUS_FAILED : tell_missing(meeting, err);
        status = let_in(meeting, socket, &from, err);
        missing = 0;
        for (int r = meeting->rank + 1; r < meeting->size; r++) missing += meeting->peers[r].socket < 0;
    }
    return status;
}

/* ---- Process 0 --------------------------------------------------------------------------------------- */

/* Sends the list, or why there is none. */
static enum status reply_to_all(struct meeting *meeting, enum status status, struct error *err) {
    struct reply reply = {.magic = magic, .status = (int32_t)status};
    if (status != STATUS_OK) copy_text(reply.message, err->message, sizeof reply.message);
    for (int to = 1; to < meeting->size; to++) {
        int socket = meeting->peers[to].socket;
        double until = clock_seconds() + hello_seconds;
        if (socket < 0) continue;
        struct error cause;
        enum status sent = socket_write(socket, &reply, sizeof reply, until, &cause);
        for (int r = 0; status == STATUS_OK && sent == STATUS_OK && r < meeting->size; r++) {
            struct entry entry = {.port = meeting->peers[r].listens.port};
            copy_text(entry.name, meeting->peers[r].name, sizeof entry.name);
            copy_text(entry.host, meeting->peers[r].listens.host, sizeof entry.host);
            sent = socket_write(socket, &entry, sizeof entry, until, &cause);
        }
        if (status == STATUS_OK && sent != STATUS_OK)
            return error_set(err, "process %d on %s went away: %s", to, meeting->peers[to].name,
                             cause.message);
    }
    return status;
}

static enum status meet_as_first(struct meeting *meeting, struct error *err) {
    meeting->listener = socket_listen(meeting->loopback ? meeting->at.host : NULL, meeting->at.port, err);
    if (meeting->listener < 0) {
        error_prefix(err, "MASTER_ADDR and MASTER_PORT (or VS2_MASTER_PORT)");
        return STATUS_FAILED;
    }
    return reply_to_all(meeting, let_all_in(meeting, err), err);
}

/* ---- The others -------------------------------------------------------------------------------------- */

/* From process 0, as all that it says before everybody is there. */
static enum status hear(const struct meeting *meeting, void *data, size_t bytes, struct error *err) {
    /* It sends as soon as all are there, and says so if they are not. */
    double until = meeting->deadline + 2 * hello_seconds;
    enum status status = socket_read(meeting->peers[0].socket, data, bytes, until, err);
    if (status != STATUS_OK)
        error_prefix(err, "process 0 at %s, port %d, does not let process %d in", meeting->at.host,
                     meeting->at.port, meeting->rank);
    return status;
}

/* The list, as process 0 sends it. */
static enum status read_list(struct meeting *meeting, struct error *err) {
    struct reply reply;
    if (hear(meeting, &reply, sizeof reply, err) != STATUS_OK) return STATUS_FAILED;
    reply.message[sizeof reply.message - 1] = 0;
    if (reply.magic != magic)
        return error_set(err, "%s, port %d, is not process 0 of this run", meeting->at.host,
                         meeting->at.port);
    if (reply.status == STATUS_USAGE) return error_usage(err, "%s", reply.message);
    if (reply.status != STATUS_OK) return error_set(err, "%s", reply.message);
    for (int r = 0; r < meeting->size; r++) {
        struct entry entry;
        struct tcp_peer *peer = &meeting->peers[r];
        if (hear(meeting, &entry, sizeof entry, err) != STATUS_OK) return STATUS_FAILED;
        copy_text(peer->name, entry.name, sizeof peer->name);
        copy_text(peer->listens.host, entry.host, sizeof peer->listens.host);
        peer->listens.port = entry.port;
    }
    return STATUS_OK;
}

static enum status connect_to(struct meeting *meeting, int rank, const char *host, int port, int own_port,
                              struct error *err) {
    struct hello hello = hello_of(meeting, own_port);
    int socket = socket_connect(host, port, meeting->deadline, err);
    meeting->peers[rank].socket = socket;
    if (socket >= 0 && socket_write(socket, &hello, sizeof hello, meeting->deadline, err) == STATUS_OK)
        return STATUS_OK;
    error_prefix(err, "process %d of %d, from process %d", rank, meeting->size, meeting->rank);
    return STATUS_FAILED;
}

/* Listens at the address that the connection to process 0 has here; one that is beside it, while others may
 * be elsewhere, as process 0 does. */
static enum status listen_here(struct meeting *meeting, struct socket_address *own, struct error *err) {
    if (socket_own_address(meeting->peers[0].socket, own, err) != STATUS_OK) return STATUS_FAILED;
    bool beside = !meeting->loopback && socket_is_loopback(own->host);
    meeting->listener = socket_listen(beside ? NULL : own->host, 0, err);
    return meeting->listener < 0 ? STATUS_FAILED : socket_own_address(meeting->listener, own, err);
}

/* Connects to process 0, and tells it where this one listens for the others. */
static enum status introduce(struct meeting *meeting, struct error *err) {
    int socket = socket_connect(meeting->at.host, meeting->at.port, meeting->deadline, err);
    if (socket < 0) {
        error_prefix(err, "process 0 is missing, says process %d", meeting->rank);
        return STATUS_FAILED;
    }
    struct socket_address own;
    meeting->peers[0].socket = socket;
    enum status status = listen_here(meeting, &own, err);
    if (status == STATUS_OK) {
        struct hello hello = hello_of(meeting, own.port);
        status = socket_write(socket, &hello, sizeof hello, meeting->deadline, err);
    }
    if (status != STATUS_OK) error_prefix(err, "process 0, from process %d", meeting->rank);
    return status;
}

/* Where a process is that was let in from that address: beside process 0, so at MASTER_ADDR, if it came to it
 * by a loopback address. */
static const char *host_of(const struct meeting *meeting, const struct socket_address *address) {
    return !meeting->loopback && socket_is_loopback(address->host) ? meeting->at.host : address->host;
}

static enum status meet_as_other(struct meeting *meeting, struct error *err) {
    enum status status = introduce(meeting, err);
    if (status == STATUS_OK) status = read_list(meeting, err);
    for (int r = 1; status == STATUS_OK && r < meeting->rank; r++) {
        const struct socket_address *to = &meeting->peers[r].listens;
        status = connect_to(meeting, r, host_of(meeting, to), to->port, 0, err);
    }
    return status == STATUS_OK ? let_all_in(meeting, err) : status;
}

/* ------------------------------------------------------------------------------------------------------ */

static enum status find_deadline(struct meeting *meeting, struct error *err) {
    const char *text = getenv("VS2_MEETING_SECONDS");
    char *end = NULL;
    meeting->seconds = text ? strtod(text, &end) : 60;
    if (text && (!*text || *end || !(meeting->seconds > 0 && meeting->seconds <= 86400)))
        return error_usage(err, "environment: VS2_MEETING_SECONDS=%s is no time to wait", text);
    meeting->deadline = clock_seconds() + meeting->seconds;
    return STATUS_OK;
}

enum status tcp_meet(struct tcp_peer *peers, const struct launcher_place *place, struct error *err) {
    struct meeting meeting = {
        .peers = peers, .rank = (int)place->rank, .size = (int)place->size, .listener = -1};
    for (int r = 0; r < meeting.size; r++) peers[r] = (struct tcp_peer){.socket = -1};
    gethostname(peers[meeting.rank].name, sizeof peers->name - 1);
    enum status status = launcher_find_meeting(&meeting.at, err);
    meeting.loopback = status == STATUS_OK && socket_is_loopback(meeting.at.host);
    if (status == STATUS_OK) status = find_deadline(&meeting, err);
    if (status == STATUS_OK)
        status = meeting.rank == 0 ? meet_as_first(&meeting, err) : meet_as_other(&meeting, err);
    if (meeting.listener >= 0) close(meeting.listener);
    for (int r = 0; status != STATUS_OK && r < meeting.size; r++)
        if (peers[r].socket >= 0) close(peers[r].socket);
    return status;
}
