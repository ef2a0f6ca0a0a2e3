/* Collectives over connections between all processes. A message is a frame, and its bytes; a process that
 * ends all says why in a frame of its own, so that all name the one that failed first. Everything that a
 * collective sends and receives goes on at once, as each connection takes it. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "train/transport_tcp.h"

enum frame_kind { FRAME_DATA = 0x61746164, FRAME_FAREWELL = 0x65796221 };

struct frame {
    uint32_t kind, unused;
    uint64_t bytes; /* that follow */
};

/* One message under way: the frame, then its bytes. */
struct flow {
    struct frame frame;
    char *data;         /* sent from, or received to */
    size_t bytes, done; /* `done` counts the frame, too */
    bool busy;
};

struct tcp {
    struct tcp_peer *peers; /* [size], as the following */
    struct flow *out, *in;
    struct pollfd *polled;
    char cause[ERROR_MESSAGE_SIZE]; /* why all are to end, where another process said so or is gone */
};

/* ---- Opening ----------------------------------------------------------------------------------------- */

static void tcp_free(struct tcp *tcp) {
    if (!tcp) return;
    free(tcp->peers);
    free(tcp->out);
    free(tcp->in);
    free(tcp->polled);
    free(tcp);
}

static struct tcp *tcp_new(size_t size, struct error *err) {
    const char *what = "connections between processes";
    struct tcp *tcp = memory_new(1, sizeof *tcp, what, err);
    if (tcp && (tcp->peers = memory_new(size, sizeof *tcp->peers, what, err)) &&
        (tcp->out = memory_new(size, sizeof *tcp->out, what, err)) &&
        (tcp->in = memory_new(size, sizeof *tcp->in, what, err)) &&
        (tcp->polled = memory_new(size, sizeof *tcp->polled, what, err)))
        return tcp;
    tcp_free(tcp);
    return NULL;
}

static enum status tcp_open(struct transport *transport, const struct launcher_place *place,
                            struct error *err) {
    if (place->size > 1 << 16) return error_usage(err, "%lld processes are too many", (long long)place->size);
    struct tcp *tcp = tcp_new((size_t)place->size, err);
    enum status status = tcp ? tcp_meet(tcp->peers, place, err) : STATUS_FAILED;
    if (status != STATUS_OK) {
        tcp_free(tcp);
        return status;
    }
    transport->state = tcp;
    transport->rank = (int)place->rank;
    transport->size = (int)place->size;
    return STATUS_OK;
}

static void tcp_close(struct transport *transport) {
    struct tcp *tcp = transport->state;
    for (int r = 0; r < transport->size; r++)
        if (tcp->peers[r].socket >= 0) close(tcp->peers[r].socket);
    tcp_free(tcp);
}

/* Tells the others why, where no message to them is half sent. Another thread may be waiting for them
 * (train/heartbeat.h), so nothing is closed: the process ends. */
static void tcp_abort(struct transport *transport, enum status status) {
    struct tcp *tcp = transport->state;
    (void)status;
    if (!*tcp->cause)
        snprintf(tcp->cause, sizeof tcp->cause, "process %d on %s failed", transport->rank,
                 tcp->peers[transport->rank].name);
    char message[sizeof(struct frame) + sizeof tcp->cause];
    const struct frame frame = {.kind = FRAME_FAREWELL, .bytes = strlen(tcp->cause)};
    memcpy(message, &frame, sizeof frame);
    memcpy(message + sizeof frame, tcp->cause, frame.bytes);
    for (int r = 0; r < transport->size; r++)
        if (tcp->peers[r].socket >= 0 && !(tcp->out[r].busy && tcp->out[r].done > 0))
            send(tcp->peers[r].socket, message, sizeof frame + frame.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- Messages ---------------------------------------------------------------------------------------- */

static void post_out(struct tcp *tcp, int to, const void *data, size_t bytes) {
    tcp->out[to] = (struct flow){
        .frame = {.kind = FRAME_DATA, .bytes = bytes}, .data = (char *)data, .bytes = bytes, .busy = true};
}

static void post_in(struct tcp *tcp, int from, void *data, size_t bytes) {
    tcp->in[from] = (struct flow){.data = data, .bytes = bytes, .busy = true};
}

/* The next bytes of a message, and how many there are at most. */
static char *flow_next(struct flow *flow, size_t *left) {
    const size_t head = sizeof flow->frame;
    bool in_head = flow->done < head;
    *left = in_head ? head - flow->done : flow->bytes - (flow->done - head);
    return in_head ? (char *)&flow->frame + flow->done : flow->data + (flow->done - head);
}

/* Counts what was sent or received. */
static void flow_advance(struct flow *flow, size_t count) {
    flow->done += count;
    flow->busy = flow->done < sizeof flow->frame + flow->bytes;
}

/* A process is gone: by its end (`reason` 0), or because this error of the connection says so. */
static enum status end_without(struct transport *transport, int rank, int reason, struct error *err) {
    struct tcp *tcp = transport->state;
    snprintf(tcp->cause, sizeof tcp->cause, "process %d on %s is gone%s%s", rank, tcp->peers[rank].name,
             reason ? ": " : "", reason ? strerror(reason) : "");
    return error_set(err, "%s", tcp->cause);
}

/* The text of a farewell whose frame has come. */
static enum status read_farewell(struct transport *transport, int from, struct error *err) {
    struct tcp *tcp = transport->state;
    char text[ERROR_MESSAGE_SIZE] = "";
    size_t bytes = tcp->in[from].frame.bytes;
    bool whole =
        bytes < sizeof text && recv(tcp->peers[from].socket, text, bytes, MSG_DONTWAIT) == (ssize_t)bytes;
    if (!whole) return end_without(transport, from, 0, err);
    snprintf(tcp->cause, sizeof tcp->cause, "%s", text);
    return error_set(err, "%s", tcp->cause);
}

/* Receives what is there of a message. */
static enum status receive_some(struct transport *transport, int from, struct error *err) {
    struct tcp *tcp = transport->state;
    struct flow *flow = &tcp->in[from];
    while (flow->busy) {
        size_t left;
        char *to = flow_next(flow, &left);
        ssize_t count = recv(tcp->peers[from].socket, to, left, MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return STATUS_OK;
        if (count <= 0) return end_without(transport, from, count < 0 ? errno : 0, err);
        flow_advance(flow, (size_t)count);
        if (flow->done != sizeof flow->frame) continue;
        if (flow->frame.kind == FRAME_FAREWELL) return read_farewell(transport, from, err);
        if (flow->frame.kind != FRAME_DATA || flow->frame.bytes != flow->bytes)
            return error_set(err, "process %d on %s sent %llu bytes where %zu were expected", from,
                             tcp->peers[from].name, (unsigned long long)flow->frame.bytes, flow->bytes);
    }
    return STATUS_OK;
}

/* Sends what the connection takes of a message. One that takes nothing any more may hold a farewell. */
static enum status send_some(struct transport *transport, int to, struct error *err) {
    struct tcp *tcp = transport->state;
    struct flow *flow = &tcp->out[to];
    while (flow->busy) {
        size_t left;
        const char *from = flow_next(flow, &left);
        int more = flow->done < sizeof flow->frame && flow->bytes > 0 ? MSG_MORE : 0;
        ssize_t count = send(tcp->peers[to].socket, from, left, MSG_NOSIGNAL | MSG_DONTWAIT | more);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return STATUS_OK;
        if (count >= 0) {
            flow_advance(flow, (size_t)count);
            continue;
        }
        int reason = errno;
        if (!tcp->in[to].busy) post_in(tcp, to, NULL, 0);
        enum status status = receive_some(transport, to, err);
        return status == STATUS_OK ? end_without(transport, to, reason, err) : status;
    }
    return STATUS_OK;
}

/* Until all messages are sent and received. */
static enum status finish(struct transport *transport, struct error *err) {
    struct tcp *tcp = transport->state;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        bool busy = false;
        for (int r = 0; r < transport->size; r++) {
            short events = (short)((tcp->in[r].busy ? POLLIN : 0) | (tcp->out[r].busy ? POLLOUT : 0));
            tcp->polled[r] = (struct pollfd){.fd = events ? tcp->peers[r].socket : -1, .events = events};
            busy |= events != 0;
        }
        if (!busy) break;
        if (poll(tcp->polled, (nfds_t)transport->size, -1) < 0 && errno != EINTR)
            return error_set(err, "waiting for other processes: %s", strerror(errno));
        for (int r = 0; status == STATUS_OK && r < transport->size; r++) {
            if (!tcp->polled[r].revents) continue;
            status = receive_some(transport, r, err);
            if (status == STATUS_OK) status = send_some(transport, r, err);
        }
    }
    return status;
}

/* ---- Collectives ------------------------------------------------------------------------------------- */

static enum status tcp_gather(struct transport *transport, void *all, const void *own, size_t bytes,
                              struct error *err) {
    for (int r = 0; r < transport->size; r++) {
        char *to = (char *)all + (size_t)r * bytes;
        if (r == transport->rank) {
            memcpy(to, own, bytes);
            continue;
        }
        post_out(transport->state, r, own, bytes);
        post_in(transport->state, r, to, bytes);
    }
    return finish(transport, err);
}

static enum status tcp_exchange(struct transport *transport, void *received, const void *sent, size_t bytes,
                                struct error *err) {
    for (int r = 0; r < transport->size; r++) {
        const char *from = (const char *)sent + (size_t)r * bytes;
        char *to = (char *)received + (size_t)r * bytes;
        if (r == transport->rank) {
            memcpy(to, from, bytes);
            continue;
        }
        post_out(transport->state, r, from, bytes);
        post_in(transport->state, r, to, bytes);
    }
    return finish(transport, err);
}

static enum status tcp_send(struct transport *transport, int to, const void *data, size_t bytes,
                            struct error *err) {
    post_out(transport->state, to, data, bytes);
    return finish(transport, err);
}

static enum status tcp_receive(struct transport *transport, int from, void *data, size_t bytes,
                               struct error *err) {
    post_in(transport->state, from, data, bytes);
    return finish(transport, err);
}

const struct transport_kind transport_tcp = {
    .open = tcp_open,
    .close = tcp_close,
    .abort = tcp_abort,
    .gather = tcp_gather,
    .exchange = tcp_exchange,
    .send = tcp_send,
    .receive = tcp_receive,
};
