/* Connections over TCP, with deadlines in seconds of base/clock.h. All sockets are non-blocking, are not
 * inherited by other programs, and send at once. A machine that no longer answers is noticed within 30
 * seconds. A process that is gone, or a reset connection, is an error and no signal.
 */
#ifndef VS2_BASE_SOCKET_H
#define VS2_BASE_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A host in numbers, and a port. */
struct socket_address {
    char host[64];
    int port;
};

/* Whether the host is "localhost", or a loopback address in numbers: each machine's own, never another's. A
 * name that this machine alone takes for such an address is none. */
bool socket_is_loopback(const char *host);

/* Listens at the first address of the host (a name or numbers) that is this machine's, and nowhere else; host
 * NULL: at all of this machine, of IPv6 and IPv4; port 0: at any free one. The socket, to be closed with
 * close(); -1 with err set on failure. */
int socket_listen(const char *host, int port, struct error *err);

/* The next that connects, and its address; -1 with err set on failure. */
int socket_accept(int listener, double deadline, struct socket_address *address, struct error *err);

/* Connects; while nobody listens yet, or nobody knows the host's name, again and again until the deadline. -1
 * with err set on failure. */
int socket_connect(const char *host, int port, double deadline, struct error *err);

/* This end's address. */
enum status socket_own_address(int socket, struct socket_address *address, struct error *err);

/* All of the bytes. */
enum status socket_write(int socket, const void *data, size_t bytes, double deadline, struct error *err);
enum status socket_read(int socket, void *data, size_t bytes, double deadline, struct error *err);

#endif
