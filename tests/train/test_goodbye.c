/* A process that ends in order is not taken for one that is gone, whenever another one comes to hear of it:
 * two children of this process, one of which is stopped while the other one ends. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/heartbeat.h"

/* Process 0 has the first end. */
static int ends[2];
/* The one that ends waits here, in the meeting, for the other one to be stopped. */
static int stopped[2];

/* ---- A transport for two that meet once -------------------------------------------------------------- */

static enum status gather(struct transport *transport, void *all, const void *own, size_t bytes,
                          struct error *err) {
    const int end = ends[transport->rank], other = 1 - transport->rank;
    char *to = (char *)all + (size_t)other * bytes, byte;
    memcpy((char *)all + (size_t)transport->rank * bytes, own, bytes);
    if (send(end, own, bytes, 0) != (ssize_t)bytes || recv(end, to, bytes, MSG_WAITALL) != (ssize_t)bytes)
        return error_set(err, "no meeting");
    if (transport->state && read(stopped[0], &byte, 1) != 1) return error_set(err, "nobody was stopped");
    return STATUS_OK;
}

static void end_by_error(struct transport *transport, enum status status) {
    (void)transport;
    _exit((int)status);
}

static const struct transport_kind two = {.abort = end_by_error, .gather = gather};

/* ---- The processes ----------------------------------------------------------------------------------- */

/* Stops itself, and looks then who is there; `before` that, for so many microseconds, it hears the other. */
static void stop_and_listen(int rank, useconds_t before) {
    struct transport transport = {.kind = &two, .rank = rank, .size = 2};
    struct heartbeat *heartbeat;
    struct error err;
    if (heartbeat_start(&heartbeat, &transport, (struct heartbeat_limits){30, 45}, &err) != STATUS_OK)
        _exit(EXIT_FAILURE);
    usleep(before);
    raise(SIGSTOP);
    heartbeat_wait(heartbeat, "the last exchange");
    sleep(2);
    heartbeat_stop(heartbeat);
    _exit(EXIT_SUCCESS);
}

/* Ends after so many microseconds, with a last word or none. */
static void end_after(int rank, useconds_t after, bool says_so) {
    struct transport transport = {.kind = &two, .rank = rank, .size = 2, .state = ends};
    struct heartbeat *heartbeat;
    struct error err;
    if (rank == 0) transport.state = NULL; /* it is to answer before */
    if (heartbeat_start(&heartbeat, &transport, (struct heartbeat_limits){30, 45}, &err) != STATUS_OK)
        _exit(EXIT_FAILURE);
    usleep(after);
    char byte;
    if (rank == 0 && read(stopped[0], &byte, 1) != 1) _exit(EXIT_FAILURE);
    if (says_so) heartbeat_stop(heartbeat);
    _exit(EXIT_SUCCESS);
}

/* Whether process `listener` takes the other one for gone, which ends while that is stopped. */
static bool is_missed(int listener, useconds_t before, bool says_so) {
    int how;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(pipe(stopped), 0);
    pid_t listens = fork();
    if (listens == 0) stop_and_listen(listener, before);
    pid_t leaves = fork();
    if (leaves == 0) end_after(1 - listener, 1000000, says_so);
    assert_true(listens > 0 && leaves > 0);
    assert_int_equal(waitpid(listens, &how, WUNTRACED), listens);
    assert_true(WIFSTOPPED(how));
    assert_int_equal(write(stopped[1], "s", 1), 1);
    assert_int_equal(waitpid(leaves, &how, 0), leaves);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == EXIT_SUCCESS);
    usleep(1100000); /* the listener's next beat is due, before it hears */
    assert_int_equal(kill(listens, SIGCONT), 0);
    assert_int_equal(waitpid(listens, &how, 0), listens);
    assert_true(WIFEXITED(how));
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(stopped[i]);
    }
    return WEXITSTATUS(how) != EXIT_SUCCESS;
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

/* Process 1 ends before process 0 has answered it. */
static void test_before_an_answer(void **state) {
    (void)state;
    assert_false(is_missed(0, 0, true));
    assert_true(is_missed(0, 0, false));
}

/* Process 0 ends; process 1 sends it a beat, of which the network says that nobody took it, and hears then
 * what process 0 said before. */
static void test_after_a_beat(void **state) {
    (void)state;
    assert_false(is_missed(1, 1500000, true));
    assert_true(is_missed(1, 1500000, false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_an_answer),
        cmocka_unit_test(test_after_a_beat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
