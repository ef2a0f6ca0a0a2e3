/* Processes that meet over TCP: children of this one, each of which ends with 0 when it saw what it was to
 * see. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/socket.h"
#include "train/heartbeat.h"
#include "train/transport.h"

enum { PROCESSES_MOST = 5 };

static char port_text[16];

/* A place to meet that nobody uses. */
static int choose_port(void **state) {
    (void)state;
    struct error err;
    struct socket_address address;
    int listener = socket_listen("127.0.0.1", 0, &err);
    if (listener < 0 || socket_own_address(listener, &address, &err) != STATUS_OK) return -1;
    close(listener);
    snprintf(port_text, sizeof port_text, "%d", address.port);
    setenv("MASTER_ADDR", "127.0.0.1", 1);
    setenv("MASTER_PORT", port_text, 1);
    setenv("VS2_MEETING_SECONDS", "20", 1);
    unsetenv("VS2_MASTER_PORT");
    unsetenv("TORCHELASTIC_RUN_ID");
    unsetenv("TORCHELASTIC_USE_AGENT_STORE");
    unsetenv("SLURM_JOB_ID");
    return 0;
}

/* What a child does, as that one of `size`; NULL: all was well, else what was not. */
typedef const char *child(struct transport *transport, struct error *err, int rank, int size);

static pid_t start(child *run, int rank, int size) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    struct transport transport = {0};
    struct error err = {0};
    const char *wrong = run(&transport, &err, rank, size);
    if (wrong) fprintf(stderr, "process %d: %s (%s)\n", rank, wrong, err.message);
    _exit(wrong != NULL);
}

/* How it ended: its exit code, or -1 by a signal. */
static int ended(pid_t pid) {
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void all_do(child *run, int size) {
    pid_t pids[PROCESSES_MOST];
    for (int r = size - 1; r >= 0; r--) assert_true((pids[r] = start(run, r, size)) > 0);
    for (int r = 0; r < size; r++) assert_int_equal(ended(pids[r]), 0);
}

static enum status meet(struct transport *transport, int rank, int size, struct error *err) {
    return transport_open(transport, &(struct launcher_place){.rank = rank, .size = size}, err);
}

/* ---- Calls that fail -------------------------------------------------------------------------------- */

/* How many calls of this thread succeed before one fails; negative: all do. */
static _Thread_local int calls_left = -1;

static bool fails(void) {
    if (calls_left < 0 || calls_left-- > 0) return false;
    errno = EIO;
    return true;
}

void *__real_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err);
void *__wrap_memory_new(size_t count, size_t size, const char *what, struct error *err) {
    if (!fails()) return __real_memory_new(count, size, what, err);
    error_no_memory(err, "out of memory for %s", what);
    return NULL;
}

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol) {
    return fails() ? -1 : __real_socket(domain, type, protocol);
}

int __real_bind(int socket, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int socket, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int socket, const struct sockaddr *address, socklen_t length) {
    return fails() ? -1 : __real_bind(socket, address, length);
}

int __real_listen(int socket, int most);
int __wrap_listen(int socket, int most);
int __wrap_listen(int socket, int most) {
    return fails() ? -1 : __real_listen(socket, most);
}

int __real_getsockname(int socket, struct sockaddr *address, socklen_t *length);
int __wrap_getsockname(int socket, struct sockaddr *address, socklen_t *length);
int __wrap_getsockname(int socket, struct sockaddr *address, socklen_t *length) {
    return fails() ? -1 : __real_getsockname(socket, address, length);
}

int __real_accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);
int __wrap_accept4(int socket, struct sockaddr *address, socklen_t *length, int flags) {
    return fails() ? -1 : __real_accept4(socket, address, length, flags);
}

int __real_poll(struct pollfd *polled, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *polled, nfds_t count, int timeout) {
    return fails() ? -1 : __real_poll(polled, count, timeout);
}

ssize_t __real_send(int socket, const void *data, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *data, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *data, size_t size, int flags) {
    return fails() ? -1 : __real_send(socket, data, size, flags);
}

ssize_t __real_recv(int socket, void *data, size_t size, int flags);
ssize_t __wrap_recv(int socket, void *data, size_t size, int flags);
ssize_t __wrap_recv(int socket, void *data, size_t size, int flags) {
    return fails() ? -1 : __real_recv(socket, data, size, flags);
}

ssize_t __real_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags);
ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags) {
    return fails() ? -1 : __real_getrandom(bytes, size, flags);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, how, run, argument);
}

/* How often a name is not known yet. */
static int unknown_times;

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *wanted,
                       struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *wanted,
                       struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *wanted,
                       struct addrinfo **list) {
    return unknown_times-- > 0 ? EAI_NONAME : __real_getaddrinfo(host, service, wanted, list);
}

/* ---- What they do ------------------------------------------------------------------------------------ */

/* More than a connection holds, and nothing at all, in all directions. */
static const char *exchange_all(struct transport *t, struct error *err, int rank, int size) {
    static const size_t lengths[] = {1, 0, 777, 3 << 20};
    if (meet(t, rank, size, err) != STATUS_OK) return "no meeting";
    if (t->rank != rank || t->size != size) return "another place";
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        size_t bytes = lengths[l];
        unsigned char *sent = malloc((size_t)size * bytes + 1), *got = malloc((size_t)size * bytes + 1);
        if (!sent || !got) return "no memory";
        for (int r = 0; r < size; r++) memset(sent + (size_t)r * bytes, 10 * rank + r, bytes);
        if (transport_exchange(t, got, sent, bytes, err) != STATUS_OK) return "no exchange";
        for (size_t i = 0; i < (size_t)size * bytes; i++)
            if (got[i] != 10 * (i / bytes) + (size_t)rank) return "others' bytes in an exchange";
        if (transport_gather(t, got, sent, bytes, err) != STATUS_OK) return "no gathering";
        for (size_t i = 0; i < (size_t)size * bytes; i++)
            if (got[i] != 10 * (i / bytes)) return "others' bytes in a gathering";
        if (rank == size - 1 && transport_send(t, 0, sent, bytes, err) != STATUS_OK) return "no sending";
        if (rank == 0 && transport_receive(t, size - 1, got, bytes, err) != STATUS_OK) return "no receiving";
        for (size_t i = 0; rank == 0 && i < bytes; i++)
            if (got[i] != 10 * (size - 1)) return "others' bytes";
        free(sent);
        free(got);
    }
    transport_close(t);
    return NULL;
}

static void test_exchange(void **state) {
    (void)state;
    for (int size = 2; size <= PROCESSES_MOST; size++) all_do(exchange_all, size);
}

/* The last one dies without a word. */
static const char *lose_one(struct transport *t, struct error *err, int rank, int size) {
    char all[PROCESSES_MOST], own = 0, expected[32];
    if (meet(t, rank, size, err) != STATUS_OK) return "no meeting";
    if (rank == size - 1) return NULL;
    if (transport_gather(t, all, &own, 1, err) == STATUS_OK) return "nothing was noticed";
    snprintf(expected, sizeof expected, "process %d on ", size - 1);
    if (strncmp(err->message, expected, strlen(expected)) != 0 || !strstr(err->message, " is gone"))
        return "another error";
    transport_close(t);
    return NULL;
}

/* Process 1 ends all while the others wait for 2, which waits for 1 alone and so is the only one to see it
 * go: its farewell names process 1 to all. */
static const char *farewell(struct transport *t, struct error *err, int rank, int size) {
    char all[PROCESSES_MOST], own = 0;
    if (meet(t, rank, size, err) != STATUS_OK) return "no meeting";
    if (rank == 1) transport_abort(t, STATUS_OK);
    enum status status = rank == 2   ? transport_receive(t, 1, &own, 1, err)
                         : rank == 0 ? transport_receive(t, 2, &own, 1, err)
                                     : transport_gather(t, all, &own, 1, err);
    if (status == STATUS_OK) return "nothing was noticed";
    if (strncmp(err->message, "process 1 on ", 13) != 0 || !strstr(err->message, " failed"))
        return "another error";
    transport_abort(t, STATUS_OK);
}

static const char *other_length(struct transport *t, struct error *err, int rank, int size) {
    char bytes[8] = "";
    if (meet(t, rank, size, err) != STATUS_OK) return "no meeting";
    if (rank == 1) return transport_send(t, 0, bytes, 7, err) == STATUS_OK ? NULL : "no sending";
    if (transport_receive(t, 1, bytes, 8, err) == STATUS_OK) return "nothing was noticed";
    return strstr(err->message, "sent 7 bytes where 8 were expected") ? NULL : "another error";
}

static void test_failures(void **state) {
    (void)state;
    for (int size = 2; size <= 4; size++) all_do(lose_one, size);
    all_do(farewell, 4);
    all_do(other_length, 2);
}

/* ---- Meeting ----------------------------------------------------------------------------------------- */

/* Those that are there learn who is not. */
static const char *miss_two(struct transport *t, struct error *err, int rank, int size) {
    if (rank == 1 || rank == 3) return NULL;
    if (meet(t, rank, size, err) == STATUS_OK) return "a meeting";
    return strstr(err->message, "processes 1, 3 of 5 did not come to 127.0.0.1, port ") ? NULL
                                                                                        : "another error";
}

static const char *miss_first(struct transport *t, struct error *err, int rank, int size) {
    if (rank == 0) return NULL;
    if (meet(t, rank, size, err) == STATUS_OK) return "a meeting";
    return strstr(err->message, "process 0 is missing, says process ") ? NULL : "another error";
}

static void test_missing(void **state) {
    (void)state;
    setenv("VS2_MEETING_SECONDS", "1", 1);
    double start_seconds = clock_seconds();
    all_do(miss_two, 5);
    all_do(miss_first, 3);
    assert_true(clock_seconds() - start_seconds > 1.5);
}

/* The second says that they are three. */
static const char *other_size(struct transport *t, struct error *err, int rank, int size) {
    if (meet(t, rank, size + rank, err) != STATUS_USAGE) return "no refusal";
    return strstr(err->message, "is one of 3 processes, and process 0 one of 2") ? NULL : "another error";
}

static const char *same_rank(struct transport *t, struct error *err, int rank, int size) {
    if (meet(t, rank == 2 ? 1 : rank, size, err) != STATUS_USAGE) return "no refusal";
    return strstr(err->message, " is there twice") ? NULL : "another error";
}

static void test_refusals(void **state) {
    (void)state;
    all_do(other_size, 2);
    all_do(same_rank, 3);
}

/* Process 1 comes when the stranger was sent away. */
static int away[2];

static const char *after_stranger(struct transport *t, struct error *err, int rank, int size) {
    char word;
    close(away[1]);
    if (rank == 1 && read(away[0], &word, 1) != 0) return "no stranger";
    return exchange_all(t, err, rank, size);
}

/* Says what no process says; another says nothing. */
static const char *stranger(struct transport *t, struct error *err, int rank, int size) {
    if (rank < size - 1) return after_stranger(t, err, rank, size - 1);
    static const char letter[4096] = "GET / HTTP/1.1\r\n\r\n";
    double deadline = clock_seconds() + 10;
    char answer;
    int one = socket_connect("127.0.0.1", atoi(port_text), deadline, err);
    int silent = socket_connect("127.0.0.1", atoi(port_text), deadline, err);
    if (one < 0 || silent < 0 || socket_write(one, letter, sizeof letter, deadline, err) != STATUS_OK)
        return "no connection";
    close(silent);
    return socket_read(one, &answer, 1, deadline, err) == STATUS_OK ? "was answered" : NULL;
}

/* Of another run. */
static const char *other_run(struct transport *t, struct error *err, int rank, int size) {
    if (rank < size - 1) return after_stranger(t, err, rank, size - 1);
    setenv("TORCHELASTIC_RUN_ID", "another", 1);
    return meet(t, 1, size - 1, err) == STATUS_OK ? "was let in" : NULL;
}

static void despite(child *run) {
    assert_int_equal(pipe(away), 0);
    pid_t pids[3];
    for (int r = 2; r >= 0; r--) assert_true((pids[r] = start(run, r, 3)) > 0);
    close(away[0]);
    close(away[1]);
    for (int r = 0; r < 3; r++) assert_int_equal(ended(pids[r]), 0);
}

static void test_strangers(void **state) {
    (void)state;
    despite(stranger);
    despite(other_run);
}

/* A whole life, with heartbeats. */
static const char *live(struct transport *t, struct error *err, int rank, int size) {
    char own = (char)rank, all[PROCESSES_MOST];
    struct heartbeat *heartbeat;
    if (meet(t, rank, size, err) != STATUS_OK) return "no meeting";
    enum status status = heartbeat_start(&heartbeat, t, (struct heartbeat_limits){30, 45}, err);
    if (status == STATUS_OK) status = transport_gather(t, all, &own, 1, err);
    heartbeat_stop(heartbeat);
    transport_close(t);
    return status == STATUS_OK ? NULL : "no exchange";
}

/* This process is one of two, of whose calls each fails in its turn: it lives on, or says why it does not. */
static void fail_every_call(int rank) {
    static const char *const causes[] = {"out of memory for ", "Input/output error",
                                         "Resource temporarily unavailable", " did not come to "};
    bool reached = true;
    int calls = 0;
    for (; reached; calls++) {
        struct transport t = {0};
        struct error err = {0};
        pid_t other = start(live, 1 - rank, 2);
        assert_true(other > 0);
        calls_left = calls;
        const char *wrong = live(&t, &err, rank, 2);
        reached = calls_left < 0;
        calls_left = -1;
        if (!wrong) {
            assert_int_equal(ended(other), 0);
            continue;
        }
        kill(other, SIGKILL);
        ended(other);
        assert_true(reached);
        bool known = false;
        for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
            known = known || strstr(err.message, causes[i]);
        if (!known) fail_msg("call %d of process %d: no cause in '%s'", calls, rank, err.message);
    }
    assert_in_range(calls, 20, 1000);
}

static void test_failing_calls(void **state) {
    (void)state;
    setenv("VS2_MEETING_SECONDS", "2", 1);
    fail_every_call(0);
    fail_every_call(1);
}

/* The name server is late. */
static const char *late_name(struct transport *t, struct error *err, int rank, int size) {
    unknown_times = rank == 1 ? 2 : 0;
    return exchange_all(t, err, rank, size);
}

/* An address by which other machines reach this one; false: it has none. */
static bool find_address(char *host, socklen_t room) {
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0) return false;
    for (const struct ifaddrs *one = all; one && !found; one = one->ifa_next)
        found =
            one->ifa_addr && one->ifa_addr->sa_family == AF_INET && !(one->ifa_flags & IFF_LOOPBACK) &&
            getnameinfo(one->ifa_addr, sizeof(struct sockaddr_in), host, room, NULL, 0, NI_NUMERICHOST) == 0;
    freeifaddrs(all);
    return found;
}

/* MASTER_ADDR is what /etc/hosts of process 0's machine maps to a loopback address, as Debian does (a form of
 * one here that is not taken for the address itself). Processes 2 and 4 are elsewhere: they reach the others
 * from outside only. */
static const char *from_elsewhere(struct transport *t, struct error *err, int rank, int size) {
    char outside[64];
    if (!find_address(outside, sizeof outside)) return rank > 0 ? NULL : "no network to try this with";
    setenv("MASTER_ADDR", rank == 2 || rank == 4 ? outside : "127.1", 1);
    return exchange_all(t, err, rank, size);
}

static void test_elsewhere(void **state) {
    (void)state;
    char outside[64];
    all_do(late_name, 3);
    if (!find_address(outside, sizeof outside)) skip();
    all_do(from_elsewhere, 5);
}

/* Where MASTER_ADDR is a loopback address, nobody gets in from outside. */
static const char *from_outside(struct transport *t, struct error *err, int rank, int size) {
    char outside[64];
    if (rank < size - 1) return after_stranger(t, err, rank, size - 1);
    if (!find_address(outside, sizeof outside)) return NULL;
    int inside = socket_connect("127.0.0.1", atoi(port_text), clock_seconds() + 10, err);
    if (inside < 0) return "nobody listens";
    close(inside);
    return socket_connect(outside, atoi(port_text), clock_seconds() + 0.2, err) < 0 ? NULL : "listens to all";
}

static void test_no_place(void **state) {
    (void)state;
    struct transport t;
    struct error err;
    despite(from_outside);
    int other = socket_listen("127.0.0.1", atoi(port_text), &err);
    assert_true(other >= 0);
    for (int i = 0; i < 2; i++) {
        setenv("MASTER_ADDR", i == 0 ? "127.0.0.1" : "a.example", 1);
        assert_int_equal(meet(&t, 0, 2, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, i == 0 ? "cannot listen at 127.0.0.1, port "
                                                   : "cannot listen at 0.0.0.0, port "));
    }
    close(other);
    setenv("VS2_MEETING_SECONDS", "1.5", 1);
    setenv("MASTER_ADDR", "no name at all", 1);
    assert_int_equal(meet(&t, 1, 2, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "no name at all: "));
    setenv("VS2_MEETING_SECONDS", "soon", 1);
    assert_int_equal(meet(&t, 0, 2, &err), STATUS_USAGE);
    assert_non_null(strstr(err.message, "VS2_MEETING_SECONDS=soon"));
    unsetenv("MASTER_ADDR");
    assert_int_equal(meet(&t, 0, 2, &err), STATUS_USAGE);
    assert_int_equal(meet(&t, 0, 1 << 20, &err), STATUS_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_exchange, choose_port),
        cmocka_unit_test_setup(test_failures, choose_port),
        cmocka_unit_test_setup(test_missing, choose_port),
        cmocka_unit_test_setup(test_refusals, choose_port),
        cmocka_unit_test_setup(test_strangers, choose_port),
        cmocka_unit_test_setup(test_elsewhere, choose_port),
        cmocka_unit_test_setup(test_failing_calls, choose_port),
        cmocka_unit_test_setup(test_no_place, choose_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
