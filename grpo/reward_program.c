#include "grpo/reward_program.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/activity.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"

enum {
    TRIES = 2,
    LONGEST_OUTPUT = 16 << 20, /* bytes of stdout */
    SHOWN_STDERR = 700,        /* bytes, the last ones: there a cause stands */
    MOST_READS = 64,           /* of a pipe at a time, which is more than it holds: a flood has an end */
    PATIENCE = 5,              /* milliseconds between two looks at whether the program has ended */
};

extern char **environ;

/* A run of the program. What it reads is a file in memory, whole before it starts: so nothing is written to a
 * program that may not read. */
struct program {
    pid_t pid;
    int pipes[2]; /* what it writes to stdout and stderr, read without waiting; -1: closed */
    struct text written[2];
};

/* ---- What it reads ----------------------------------------------------------------------------------- */

static json_t *completion_tokens(const struct reward_completion *completion) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < completion->count; i++)
        if (json_array_append_new(list, json_integer(completion->tokens[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* A completion may end within a character. */
static json_t *completion_text(const struct reward_completion *completion) {
    struct text text = {0};
    utf8_append_lossy(&text, completion->text, completion->length);
    json_t *string = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.length);
    text_free(&text);
    return string;
}

static enum status append_line(struct text *input, const struct grpo_row *row, int64_t group,
                               const struct reward_completion *completion, struct error *err) {
    json_t *line = json_copy(row->json);
    int failed = !line || json_object_set_new(line, "problem_id", json_string(row->id)) ||
                 json_object_set_new(line, "completion", completion_text(completion)) ||
                 json_object_set_new(line, "completion_ids", completion_tokens(completion)) ||
                 json_object_set_new(line, "truncated", json_boolean(completion->truncated)) ||
                 json_object_set_new(line, "group", json_integer(group));
    if (!failed) json_append(input, line, false);
    text_append_string(input, "\n");
    json_decref(line);
    return failed ? error_set(err, "out of memory for completions") : text_check(input, "completions", err);
}

/* A file in memory with a line for each completion; -1 with err set. */
static int make_input(const struct reward_group *groups, int64_t count, struct error *err) {
    struct text input = {0};
    enum status status = STATUS_OK;
    for (int64_t g = 0; g < count; g++)
        for (int64_t i = 0; status == STATUS_OK && i < groups[g].count; i++)
            status = append_line(&input, groups[g].row, g, &groups[g].completions[i], err);
    int file = status == STATUS_OK ? memfd_create("completions", MFD_CLOEXEC) : -1;
    if (status == STATUS_OK && file < 0) error_set(err, "cannot make a file in memory: %s", strerror(errno));
    size_t written = 0;
    while (file >= 0 && written < input.length) {
        ssize_t step = write(file, input.data + written, input.length - written);
        if (step < 0 && errno == EINTR) continue;
        if (step > 0) {
            written += (size_t)step;
            continue;
        }
        error_set(err, "cannot write completions to memory: %s", strerror(errno));
        close(file);
        file = -1;
    }
    text_free(&input);
    if (file >= 0) lseek(file, 0, SEEK_SET);
    return file;
}

/* ---- Starting it ------------------------------------------------------------------------------------- */

/* A process group of its own, no signal blocked or ignored, no file but the three. */
static int start_shell(const char *command, const int files[3], pid_t *pid) {
    char *const arguments[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int failure = posix_spawn_file_actions_init(&actions);
    if (failure) return failure;
    failure = posix_spawnattr_init(&attributes);
    if (failure) {
        posix_spawn_file_actions_destroy(&actions);
        return failure;
    }
    for (int i = 0; !failure && i < 3; i++) failure = posix_spawn_file_actions_adddup2(&actions, files[i], i);
    if (!failure) failure = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (!failure)
        failure = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                            POSIX_SPAWN_SETSIGDEF);
    if (!failure) failure = posix_spawnattr_setsigmask(&attributes, &none);
    if (!failure) failure = posix_spawnattr_setsigdefault(&attributes, &all);
    if (!failure) failure = posix_spawn(pid, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return failure;
}

static void close_file(int *file) {
    if (*file >= 0) close(*file);
    *file = -1;
}

/* Starts the program with `input` as its stdin. */
static enum status start_program(struct program *program, const char *command, int input, struct error *err) {
    int output[2] = {-1, -1}, complaint[2] = {-1, -1}, failure = 0;
    if (pipe2(output, O_CLOEXEC) != 0 || pipe2(complaint, O_CLOEXEC) != 0 ||
        fcntl(output[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(complaint[0], F_SETFL, O_NONBLOCK) != 0)
        failure = errno;
    const int files[3] = {input, output[1], complaint[1]};
    if (!failure) failure = start_shell(command, files, &program->pid);
    close_file(&output[1]);
    close_file(&complaint[1]);
    program->pipes[0] = output[0];
    program->pipes[1] = complaint[0];
    return failure ? error_set(err, "it cannot be started: %s", strerror(failure)) : STATUS_OK;
}

/* ---- Following it ------------------------------------------------------------------------------------ */

/* Of stderr only the end is kept. */
static void keep_end(struct text *complaint) {
    if (complaint->length <= 2 * SHOWN_STDERR) return;
    memmove(complaint->data, complaint->data + complaint->length - SHOWN_STDERR, SHOWN_STDERR + 1);
    complaint->length = SHOWN_STDERR;
}

/* Takes what the program has written by now. */
static enum status read_pipe(struct program *program, int which, struct error *err) {
    char buffer[16384];
    struct text *written = &program->written[which];
    for (int reads = 0; program->pipes[which] >= 0 && reads < MOST_READS; reads++) {
        ssize_t length = read(program->pipes[which], buffer, sizeof buffer);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0 && errno == EAGAIN) break;
        if (length <= 0) close_file(&program->pipes[which]);
        if (length > 0) text_append(written, buffer, (size_t)length);
        if (which == 1) keep_end(written);
        if (written->length > LONGEST_OUTPUT)
            return error_set(err, "it wrote more than %d bytes", LONGEST_OUTPUT);
    }
    return text_check(written, "what it writes", err);
}

static enum status read_pipes(struct program *program, struct error *err) {
    return read_pipe(program, 0, err) == STATUS_OK ? read_pipe(program, 1, err) : STATUS_FAILED;
}

static bool has_ended(const struct program *program) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)program->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/* Reads until the program ends; what its children that live on write then is not waited for. */
static enum status follow_program(struct program *program, double time_limit, struct error *err) {
    double deadline = clock_seconds() + time_limit;
    while (!has_ended(program)) {
        struct pollfd polled[2] = {{.fd = program->pipes[0], .events = POLLIN},
                                   {.fd = program->pipes[1], .events = POLLIN}};
        if (clock_seconds() > deadline) return error_set(err, "it is not done after %g seconds", time_limit);
        poll(polled, 2, PATIENCE);
        activity_step(); /* it has its own limit */
        if (read_pipes(program, err) != STATUS_OK) return STATUS_FAILED;
    }
    return read_pipes(program, err);
}

/* Ends the program, if it still runs, and all of its group; its number is not given away before that. */
static int end_program(struct program *program) {
    int code = 0;
    kill(-program->pid, SIGKILL);
    while (waitpid(program->pid, &code, 0) < 0 && errno == EINTR) {
    }
    return code;
}

static enum status check_code(int code, struct error *err) {
    if (WIFSIGNALED(code)) return error_set(err, "it was ended by a signal: %s", strsignal(WTERMSIG(code)));
    return WEXITSTATUS(code) == 0 ? STATUS_OK : error_set(err, "it ended with code %d", WEXITSTATUS(code));
}

/* ---- What it wrote ----------------------------------------------------------------------------------- */

/* A line of `length` bytes, which is terminated. */
static enum status read_value(const char *line, size_t length, int64_t number, double *value,
                              struct error *err) {
    char *end;
    *value = strtod(line, &end);
    if (end == line || end + strspn(end, " \t\r") != line + length)
        return error_set(err, "line %lld of its output is no number: '%.60s'", (long long)number, line);
    return isfinite(*value) ? STATUS_OK
                            : error_set(err, "line %lld of its output is %g", (long long)number, *value);
}

/* Reads the output, whose lines it terminates. */
static enum status read_values(struct text *output, int64_t wanted, double *values, struct error *err) {
    int64_t count = 0;
    for (size_t at = 0; at < output->length; count++) {
        char *line = output->data + at;
        char *line_end = memchr(line, '\n', output->length - at);
        size_t length = line_end ? (size_t)(line_end - line) : output->length - at;
        double value;
        line[length] = '\0';
        if (read_value(line, length, count + 1, &value, err) != STATUS_OK) return STATUS_FAILED;
        if (count < wanted) values[count] = value;
        at += length + 1;
    }
    return count == wanted ? STATUS_OK
                           : error_set(err, "it wrote %lld numbers for %lld completions", (long long)count,
                                       (long long)wanted);
}

/* Adds the end of stderr, as one line. */
static void add_complaint(struct text *complaint, struct error *err) {
    if (complaint->length == 0) return;
    size_t from = complaint->length > SHOWN_STDERR ? complaint->length - SHOWN_STDERR : 0;
    size_t length = complaint->length - from;
    char *text = complaint->data + from;
    while (length > 0 && text[length - 1] == '\n') length--;
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n') text[i] = '|';
    struct error cause = *err;
    error_set(err, "%.1200s; its stderr: %.*s", cause.message, (int)length, text);
}

static enum status try_program(const char *command, double time_limit, const struct reward_group *groups,
                               int64_t count, int64_t completions, double *values, struct error *err) {
    struct program program = {.pipes = {-1, -1}};
    int input = make_input(groups, count, err);
    enum status status = input >= 0 ? start_program(&program, command, input, err) : STATUS_FAILED;
    close_file(&input);
    if (status == STATUS_OK) {
        status = follow_program(&program, time_limit, err);
        int code = end_program(&program);
        if (status == STATUS_OK) status = check_code(code, err);
        if (status == STATUS_OK) status = read_values(&program.written[0], completions, values, err);
        if (status != STATUS_OK) add_complaint(&program.written[1], err);
    }
    for (int i = 0; i < 2; i++) {
        close_file(&program.pipes[i]);
        text_free(&program.written[i]);
    }
    return status;
}

enum status reward_program_run(const char *command, double time_limit, const struct reward_group *groups,
                               int64_t count, double *values, struct text *notes, struct error *err) {
    int64_t completions = 0;
    for (int64_t g = 0; g < count; g++) completions += groups[g].count;
    for (int try = 1;; try++) {
        if (try_program(command, time_limit, groups, count, completions, values, err) == STATUS_OK)
            return STATUS_OK;
        error_prefix(err, "reward program '%.200s'", command);
        if (try == TRIES) return STATUS_FAILED;
        if (notes) text_format(notes, "%s; it is tried once more\n", err->message);
    }
}
