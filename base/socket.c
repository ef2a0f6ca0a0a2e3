#include "base/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* How long a machine may be silent: asked after ALIVE_IDLE seconds, then every ALIVE_AGAIN. */
enum { ALIVE_IDLE = 10, ALIVE_AGAIN = 5, ALIVE_TIMES = 4, ALIVE_SECONDS = 30 };

/* Until the next attempt to connect, and to find a name. */
static const double again_seconds = 0.1, unknown_seconds = 1;

static void set_option(int socket, int level, int option, int value) {
    setsockopt(socket, level, option, &value, sizeof value);
}

static void prepare(int socket) {
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, ALIVE_IDLE);
    set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, ALIVE_AGAIN);
    set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, ALIVE_TIMES);
    set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, ALIVE_SECONDS * 1000);
    set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* What the host's name stands for, to be freed with freeaddrinfo; NULL with err set. */
static struct addrinfo *resolve(const char *host, int port, struct error *err) {
    struct addrinfo wanted = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV},
                    *list;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int code = getaddrinfo(host, service, &wanted, &list);
    if (code == 0) return list;
    error_set(err, "%s: %s", host, code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    return NULL;
}

static int socket_new(const struct addrinfo *address) {
    return socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* close() that leaves errno. */
static void drop(int socket) {
    int reason = errno;
    if (socket >= 0) close(socket);
    errno = reason;
}

bool socket_is_loopback(const char *host) {
    struct in6_addr six;
    struct in_addr four;
    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, host, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
    return strcasecmp(host, "localhost") == 0;
}

static int listen_at(const char *host, int port, struct error *err) {
    struct addrinfo *list = resolve(host, port, err);
    if (!list) return -1;
    int listener = -1;
    for (struct addrinfo *a = list; a && listener < 0; a = a->ai_next) {
        listener = socket_new(a);
        if (listener < 0) continue;
        set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1); /* a run that has just ended */
        if (a->ai_family == AF_INET6) set_option(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
        if (bind(listener, a->ai_addr, a->ai_addrlen) == 0 && listen(listener, SOMAXCONN) == 0) continue;
        drop(listener);
        listener = -1;
    }
    if (listener < 0) error_set(err, "cannot listen at %s, port %d: %s", host, port, strerror(errno));
    freeaddrinfo(list);
    return listener;
}

int socket_listen(const char *host, int port, struct error *err) {
    if (host) return listen_at(host, port, err);
    int listener = listen_at("::", port, err); /* a machine without IPv6 has no such address */
    return listener >= 0 ? listener : listen_at("0.0.0.0", port, err);
}

/* Waits until the socket is ready for the events. False with errno set: it will not be, or not in time
 * (ETIMEDOUT). */
static bool wait_for(int socket, short events, double deadline) {
    struct pollfd polled = {.fd = socket, .events = events};
    while (true) {
        double left = deadline - clock_seconds();
        int ready = poll(&polled, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (ready > 0) return true;
        if (ready == 0) errno = ETIMEDOUT;
        if (errno != EINTR) return false;
    }
}

/* An address of IPv4 is written as one also where a socket of IPv6 has it: not all machines know the other
 * form. */
static bool address_from(const struct sockaddr_storage *from, socklen_t length,
                         struct socket_address *address) {
    static const char mapped[] = "::ffff:";
    char service[16], host[sizeof address->host];
    if (getnameinfo((const struct sockaddr *)from, length, host, sizeof host, service, sizeof service,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    bool four = strncmp(host, mapped, strlen(mapped)) == 0 && strchr(host, '.');
    snprintf(address->host, sizeof address->host, "%s", four ? host + strlen(mapped) : host);
    address->port = atoi(service);
    return true;
}

int socket_accept(int listener, double deadline, struct socket_address *address, struct error *err) {
    struct sockaddr_storage from;
    while (wait_for(listener, POLLIN, deadline)) {
        socklen_t length = sizeof from;
        int socket = accept4(listener, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        bool gone = socket < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED);
        if (gone) continue;
        if (socket < 0) break;
        prepare(socket);
        if (address_from(&from, length, address)) return socket;
        drop(socket);
    }
    error_set(err, "cannot accept a connection: %s", strerror(errno));
    return -1;
}

/* One attempt; -1 with errno set. */
static int try_connect(const struct addrinfo *address, double deadline) {
    int socket = socket_new(address), reason = 0;
    socklen_t length = sizeof reason;
    if (socket < 0) return -1;
    prepare(socket);
    if (connect(socket, address->ai_addr, address->ai_addrlen) == 0) return socket;
    if (errno == EINPROGRESS && wait_for(socket, POLLOUT, deadline)) {
        getsockopt(socket, SOL_SOCKET, SO_ERROR, &reason, &length);
        if (reason == 0) return socket;
        errno = reason;
    }
    drop(socket);
    return -1;
}

/* False: the time that is left is too short to try again. */
static bool pause_for(double seconds, double deadline) {
    if (clock_seconds() + seconds >= deadline) return false;
    usleep((useconds_t)(seconds * 1e6));
    return true;
}

int socket_connect(const char *host, int port, double deadline, struct error *err) {
    struct addrinfo *list = resolve(host, port, err);
    while (!list && pause_for(unknown_seconds, deadline)) list = resolve(host, port, err);
    if (!list) return -1;
    int socket = -1;
    while (true) {
        for (struct addrinfo *a = list; a && socket < 0; a = a->ai_next) socket = try_connect(a, deadline);
        if (socket >= 0 || !pause_for(again_seconds, deadline)) break;
    }
    if (socket < 0) error_set(err, "cannot connect to %s, port %d: %s", host, port, strerror(errno));
    freeaddrinfo(list);
    return socket;
}

enum status socket_own_address(int socket, struct socket_address *address, struct error *err) {
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    if (getsockname(socket, (struct sockaddr *)&own, &length) != 0)
        return error_set(err, "the address of a connection: %s", strerror(errno));
    if (!address_from(&own, length, address)) return error_set(err, "a connection without an address");
    return STATUS_OK;
}

enum status socket_write(int socket, const void *data, size_t bytes, double deadline, struct error *err) {
    for (size_t done = 0; done < bytes;) {
        ssize_t count = send(socket, (const char *)data + done, bytes - done, MSG_NOSIGNAL);
        if (count > 0) done += (size_t)count;
        bool full = count < 0 && (errno == EAGAIN || errno == EINTR);
        if (count >= 0 || (full && wait_for(socket, POLLOUT, deadline))) continue;
        return error_set(err, "sending: %s", strerror(errno));
    }
    return STATUS_OK;
}

enum status socket_read(int socket, void *data, size_t bytes, double deadline, struct error *err) {
    for (size_t done = 0; done < bytes;) {
        ssize_t count = recv(socket, (char *)data + done, bytes - done, 0);
        if (count == 0) return error_set(err, "the connection was closed");
        if (count > 0) done += (size_t)count;
        bool empty = count < 0 && (errno == EAGAIN || errno == EINTR);
        if (count >= 0 || (empty && wait_for(socket, POLLIN, deadline))) continue;
        return error_set(err, "receiving: %s", strerror(errno));
    }
    return STATUS_OK;
}
