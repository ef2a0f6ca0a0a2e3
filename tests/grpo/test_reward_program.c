/* Rewards of a program: what it is given, what it may write, all the ways in which it fails, and that nothing
 * of it is left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "data/dataset_file.h"
#include "grpo/reward_program.h"

static const double LONG = 60; /* seconds, more than any of these needs */

static char folder[] = "/tmp/vs2-test-reward-program-XXXXXX";

/* The programs run in the folder that holds their files. */
static int set_up(void **state) {
    (void)state;
    return mkdtemp(folder) ? setenv("FOLDER", folder, 1) : -1;
}

static int tear_down(void **state) {
    (void)state;
    return system("rm -rf \"$FOLDER\"");
}

/* FOLDER/NAME, in static memory that the next call overwrites. */
static const char *place(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static const int32_t ids[] = {7, 8, 9};

static struct reward_completion completion(const char *text, int64_t tokens) {
    return (struct reward_completion){.text = text, .length = strlen(text), .tokens = ids, .count = tokens};
}

/* Runs it for two completions of one problem and one of another. */
static enum status run(const char *command, double limit, double *values, struct text *notes,
                       struct error *err) {
    struct grpo_row first = {.id = "17"}, second = {.id = "x"};
    const struct reward_completion completions[] = {
        completion("two\nlines \"quoted\"", 3), completion("half a character: \xC3", 1), completion("", 0)};
    first.json = json_pack("{s:i, s:s, s:[i]}", "problem_id", 17, "problem", "How?", "extra", 5);
    second.json = json_pack("{s:s}", "completion", "mine");
    const struct reward_group groups[] = {{.row = &first, .completions = completions, .count = 2},
                                          {.row = &first, .completions = NULL, .count = 0},
                                          {.row = &second, .completions = completions + 2, .count = 1}};
    enum status status = reward_program_run(command, limit, groups, 3, values, notes, err);
    json_decref(first.json);
    json_decref(second.json);
    return status;
}

static void assert_values(const char *command, double a, double b, double c) {
    struct error err;
    struct text notes = {0};
    double values[3];
    if (run(command, LONG, values, &notes, &err) != STATUS_OK) fail_msg("%s", err.message);
    if (values[0] != a || values[1] != b || values[2] != c)
        fail_msg("%s: %g, %g, %g", command, values[0], values[1], values[2]);
    assert_int_equal(notes.length, 0);
}

/* It fails twice, with a line for the first time; the error is "reward program 'COMMAND': CAUSE". */
static void assert_failure(const char *command, double limit, const char *cause) {
    struct error err;
    struct text notes = {0};
    double values[3];
    char wanted[sizeof err.message + 64];
    assert_int_equal(run(command, limit, values, &notes, &err), STATUS_FAILED);
    snprintf(wanted, sizeof wanted, "reward program '%.200s': %s", command, cause);
    assert_string_equal(err.message, wanted);
    snprintf(wanted, sizeof wanted, "%s; it is tried once more\n", err.message);
    assert_string_equal(notes.data, wanted);
    text_free(&notes);
}

/* ---- What it is given and gives ---------------------------------------------------------------------- */

static void it_reads_a_line_for_each_completion(void **state) {
    (void)state;
    struct error err;
    struct dataset_file file;
    static const char *const wanted[] = {
        "{\"problem_id\": \"17\", \"problem\": \"How?\", \"extra\": [5], \"completion\": \"two\\nlines "
        "\\\"quoted\\\"\", \"completion_ids\": [7, 8, 9], \"truncated\": false, \"group\": 0}",
        "{\"problem_id\": \"17\", \"problem\": \"How?\", \"extra\": [5], \"completion\": \"half a character: "
        "\xEF\xBF\xBD\", \"completion_ids\": [7], \"truncated\": false, \"group\": 0}",
        "{\"completion\": \"\", \"problem_id\": \"x\", \"completion_ids\": [], \"truncated\": false, "
        "\"group\": 2}"};
    assert_values("cat > $FOLDER/input; echo 1; echo -0.5; echo 2e1", 1, -0.5, 20);
    if (dataset_file_read(place("input"), NULL, &file, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_int_equal(file.count, 3);
    for (size_t i = 0; i < file.count; i++) {
        json_t *line = dataset_file_parse(&file, i, &err);
        json_t *expected = json_read_text(wanted[i], strlen(wanted[i]), "wanted", &err);
        if (!json_equal(line, expected)) fail_msg("line %zu: %s", i + 1, file.text + file.lines[i].start);
        json_decref(line);
        json_decref(expected);
    }
    dataset_file_free(&file);
}

static void what_it_may_write(void **state) {
    (void)state;
    assert_values("printf '1\\n2\\n3'", 1, 2, 3);                  /* no newline at the end, nothing read */
    assert_values("printf ' 1 \\r\\n\\t2\\t\\n3\\r\\n'", 1, 2, 3); /* white space */
    assert_values("echo warning >&2; printf '1\\n2\\n3\\n'", 1, 2, 3);
    assert_values("exec 2>&-; printf '1\\n2\\n'; echo 3; exec >&-", 1, 2, 3);
    assert_values("while read -r line; do echo ${#line}; done | sed 's/.*/4/'", 4, 4, 4);
}

static void nothing_is_asked_of_no_completions(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(reward_program_run("cat", LONG, NULL, 0, NULL, NULL, &err), STATUS_OK);
}

static void large_inputs_arrive_whole(void **state) {
    (void)state;
    enum { COMPLETIONS = 64, LENGTH = 20000 };
    struct error err;
    struct grpo_row row = {.id = "1", .json = json_object()};
    static char text[LENGTH];
    struct reward_completion completions[COMPLETIONS];
    double values[COMPLETIONS];
    memset(text, 'a', sizeof text);
    for (int i = 0; i < COMPLETIONS; i++)
        completions[i] = (struct reward_completion){.text = text, .length = LENGTH};
    struct reward_group group = {.row = &row, .completions = completions, .count = COMPLETIONS};
    assert_int_equal(
        reward_program_run("tr -cd 'a\\n' | awk '{print length($0)}'", LONG, &group, 1, values, NULL, &err),
        STATUS_OK);
    /* the letters of "truncated" and "false" too */
    for (int i = 0; i < COMPLETIONS; i++) assert_true(values[i] == LENGTH + 2);
    json_decref(row.json);
}

/* ---- How it fails ------------------------------------------------------------------------------------ */

static void programs_that_die(void **state) {
    (void)state;
    assert_failure("exit 3", LONG, "it ended with code 3");
    assert_failure("printf '1\\n2\\n3\\n'; exit 1", LONG, "it ended with code 1");
    assert_failure("echo no model >&2; exit 3", LONG, "it ended with code 3; its stderr: no model");
    assert_failure("kill -KILL $$", LONG, "it was ended by a signal: Killed");
    struct error err;
    double values[3];
    assert_int_equal(run("no-such-program-anywhere", LONG, values, NULL, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "it ended with code 127; its stderr: "));
    assert_non_null(strstr(err.message, "not found"));
}

static void programs_that_hang(void **state) {
    (void)state;
    assert_failure("sleep 600", 0.05, "it is not done after 0.05 seconds");
    assert_failure("echo waiting >&2; exec >&- 2>&-; sleep 600", 1,
                   "it is not done after 1 seconds; its stderr: waiting");
}

static void programs_that_write_rubbish(void **state) {
    (void)state;
    static const struct {
        const char *command, *cause;
    } cases[] = {
        {"true", "it wrote 0 numbers for 3 completions"},
        {"printf '1\\n2\\n'", "it wrote 2 numbers for 3 completions"},
        {"printf '1\\n2\\n3\\n4\\n'", "it wrote 4 numbers for 3 completions"},
        {"printf '1\\nhalf\\n3\\n'", "line 2 of its output is no number: 'half'"},
        {"printf '1\\n\\n3\\n'", "line 2 of its output is no number: ''"},
        {"printf '1 2 3\\n'", "line 1 of its output is no number: '1 2 3'"},
        {"printf '1\\n2\\n3,5\\n'", "line 3 of its output is no number: '3,5'"},
        {"printf '1\\n2\\0\\n3\\n'", "line 2 of its output is no number: '2'"},
        {"printf '1\\nnan\\n3\\n'", "line 2 of its output is nan"},
        {"printf '1\\n2\\n-inf\\n'", "line 3 of its output is -inf"},
        {"printf '1\\n2\\n1e999\\n'", "line 3 of its output is inf"},
        {"yes 1", "it wrote more than 16777216 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_failure(cases[i].command, LONG, cases[i].cause);
}

/* A program that did not work once is no failure; what happened is in the notes. */
static void it_is_tried_once_more(void **state) {
    (void)state;
    static const char command[] =
        "if mkdir $FOLDER/mark 2>/dev/null; then echo 'not yet' >&2; exit 9; fi; printf '1\\n2\\n3\\n'";
    struct error err;
    struct text notes = {0};
    double values[3];
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "reward program '%s': it ended with code 9; its stderr: not yet; it is tried once more\n",
             command);
    assert_int_equal(run(command, LONG, values, &notes, &err), STATUS_OK);
    assert_true(values[0] == 1 && values[1] == 2 && values[2] == 3);
    assert_string_equal(notes.data, wanted);
    text_free(&notes);
    assert_int_equal(rmdir(place("mark")), 0);
    assert_int_equal(run(command, LONG, values, NULL, &err), STATUS_OK); /* without notes */
    assert_int_equal(rmdir(place("mark")), 0);
}

/* The cause stands at the end, and the message is one line. */
static void the_end_of_stderr_is_shown(void **state) {
    (void)state;
    struct error err;
    double values[3];
    assert_failure("printf 'Traceback:\\n  line 5\\nKeyError: x\\n\\n' >&2; exit 1", LONG,
                   "it ended with code 1; its stderr: Traceback:|  line 5|KeyError: x");
    assert_int_equal(run("seq 200000 >&2; exit 1", LONG, values, NULL, &err), STATUS_FAILED);
    assert_null(strchr(err.message, '\n'));
    assert_string_equal(err.message + strlen(err.message) - strlen("|199999|200000"), "|199999|200000");
    assert_null(strstr(err.message, "|199000|"));
}

/* ---- What is left ------------------------------------------------------------------------------------ */

/* A pipe with a name whose writers the program starts: its end comes when none of them lives. */
static void assert_nothing_left(const char *command, double limit, enum status wanted) {
    struct error err;
    double values[3];
    assert_int_equal(mkfifo(place("alive"), 0600), 0);
    int reader = open(place("alive"), O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(run(command, limit, values, NULL, &err), wanted);
    struct pollfd polled = {.fd = reader, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 30000), 1);
    assert_true(polled.revents & POLLHUP);
    close(reader);
    assert_int_equal(unlink(place("alive")), 0);
}

static void its_children_are_ended_too(void **state) {
    (void)state;
    assert_nothing_left("exec 3> $FOLDER/alive; sleep 600 & printf '1\\n2\\n3\\n'", LONG, STATUS_OK);
    assert_nothing_left("exec 3> $FOLDER/alive; sleep 600 & sleep 600", 1, STATUS_FAILED);
}

/* It starts with no signal ignored and no file of ours. */
static void it_starts_clean(void **state) {
    (void)state;
    int file = open("/dev/null", O_RDONLY); /* inherited unless it is closed */
    assert_true(file > 2);
    signal(SIGTERM, SIG_IGN);
    assert_failure("kill -TERM $$; printf '1\\n2\\n3\\n'", LONG, "it was ended by a signal: Terminated");
    signal(SIGTERM, SIG_DFL);
    char command[128];
    snprintf(command, sizeof command, "if [ -e /proc/self/fd/%d ]; then exit 5; fi; printf '1\\n2\\n3\\n'",
             file);
    assert_values(command, 1, 2, 3);
    close(file);
}

/* ---- As a reward by name ----------------------------------------------------------------------------- */

static void it_is_a_reward_by_name(void **state) {
    (void)state;
    struct error err;
    struct text notes = {0};
    struct rewards rewards;
    struct grpo_row row = {.id = "1", .json = json_object()};
    const struct reward_completion completions[] = {completion("a", 1), completion("b", 1)};
    const struct reward_group group = {.row = &row, .completions = completions, .count = 2};
    const char *const names[] = {"truncation", "cmd:printf '3\\n5\\n'"};
    const char *const failing[] = {"truncation", "cmd:exit 3"};
    const double weights[] = {1, 0.5};
    double values[4], totals[2];
    assert_int_equal(rewards_init(&rewards, names, 2, weights, 2, LONG, &err), STATUS_OK);
    assert_int_equal(rewards_compute(&rewards, &group, 1, values, totals, &notes, &err), STATUS_OK);
    assert_true(values[1] == 3 && values[3] == 5 && totals[0] == 1.5 && totals[1] == 2.5);
    rewards_free(&rewards);
    assert_int_equal(rewards_init(&rewards, failing, 2, weights, 2, LONG, &err), STATUS_OK);
    assert_int_equal(rewards_compute(&rewards, &group, 1, values, totals, NULL, &err), STATUS_FAILED);
    assert_string_equal(err.message, "reward program 'exit 3': it ended with code 3");
    rewards_free(&rewards);
    json_decref(row.json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_reads_a_line_for_each_completion),
        cmocka_unit_test(what_it_may_write),
        cmocka_unit_test(nothing_is_asked_of_no_completions),
        cmocka_unit_test(large_inputs_arrive_whole),
        cmocka_unit_test(programs_that_die),
        cmocka_unit_test(programs_that_hang),
        cmocka_unit_test(programs_that_write_rubbish),
        cmocka_unit_test(it_is_tried_once_more),
        cmocka_unit_test(the_end_of_stderr_is_shown),
        cmocka_unit_test(its_children_are_ended_too),
        cmocka_unit_test(it_starts_clean),
        cmocka_unit_test(it_is_a_reward_by_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
