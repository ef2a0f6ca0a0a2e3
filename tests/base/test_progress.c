/* The progress line: its figures, that it fits, on a terminal and elsewhere. */
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/progress.h"

static const struct progress_field fields[] = {
    {"epoch", PROGRESS_SHORT, 0.425}, {"loss", PROGRESS_NUMBER, 1.23456},   {"reward", PROGRESS_NUMBER, NAN},
    {"lr", PROGRESS_RATE, 4.9e-5},    {"tok/s", PROGRESS_SPEED, 1234567.8}, {"MFU", PROGRESS_PERCENT, 0.434},
    {"", PROGRESS_BYTES, 7.14e9},     {"ETA", PROGRESS_DURATION, 3723},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void figures(void **unused) {
    (void)unused;
    struct text line = {0};
    progress_append_line(&line, "step", 120, 601, fields, FIELDS, 0);
    assert_string_equal(line.data,
                        "step 120/601  19%  epoch 0.42  loss 1.2346  lr 4.90e-05  1,234,568 tok/s  MFU 43%  "
                        "7.1 GB  ETA 1:02:03");
    text_free(&line);
    const struct progress_field others[] = {
        {"ETA", PROGRESS_DURATION, 12.4},   {"ETA", PROGRESS_DURATION, 185},
        {"ETA", PROGRESS_DURATION, 180000}, {"memory", PROGRESS_BYTES, 512},
        {"", PROGRESS_BYTES, 34e6},         {"tok/s", PROGRESS_SPEED, 123},
        {"ETA", PROGRESS_DURATION, -5},     {"x/s", PROGRESS_SPEED, -123456},
    };
    progress_append_line(&line, "step", 0, 0, others, sizeof others / sizeof *others, 0);
    assert_string_equal(line.data,
                        "step 0/0  ETA 12 s  ETA 3:05  ETA 2 d 2 h  memory 512 B  34 MB  123 tok/s  ETA 0 s  "
                        "-123,456 x/s");
    text_free(&line);
}

static void what_does_not_fit_is_left_out(void **unused) {
    (void)unused;
    for (size_t width = 1; width < 120; width++) {
        struct text line = {0};
        progress_append_line(&line, "step", 120, 601, fields, FIELDS, width);
        assert_true(line.length <= width);
        assert_int_equal(strlen(line.data), line.length);
        if (width >= 30) assert_non_null(strstr(line.data, "epoch 0.42"));
        text_free(&line);
    }
}

static void plain_lines_elsewhere(void **unused) {
    (void)unused;
    struct error err;
    char *text = NULL;
    size_t length;
    FILE *file = tmpfile();
    struct progress *progress = progress_new(file, false, &err);
    progress_show(progress, "step", 1, 2, fields, 1, false);
    progress_show(progress, "step", 2, 2, fields, 1, true);
    progress_message(progress, "saved %s", "a\033[2Jb");
    progress_free(progress);
    rewind(file);
    assert_true(getdelim(&text, &length, '\0', file) > 0);
    assert_string_equal(text, "step 2/2  100%  epoch 0.42\nsaved a?[2Jb\n");
    free(text);
    fclose(file);
}

/* The time that the progress line sees. */
static double now = 1000;
double __wrap_clock_seconds(void);
double __wrap_clock_seconds(void) {
    return now;
}

/* What was written to a terminal comes in pieces: reads until `length` bytes are there, or nothing more
 * comes. */
static void read_terminal(int reader, char *text, size_t length) {
    const int milliseconds = 10000;
    struct pollfd ready = {.fd = reader, .events = POLLIN};
    size_t count = 0;
    while (count < length && poll(&ready, 1, milliseconds) == 1) {
        ssize_t piece = read(reader, text + count, length + 1 - count);
        if (piece <= 0) break;
        count += (size_t)piece;
    }
}

static void one_line_on_a_terminal(void **unused) {
    (void)unused;
    enum { COLUMNS = 40 };
    struct error err;
    int reader, writer;
    const struct winsize size = {.ws_row = 10, .ws_col = COLUMNS};
    assert_int_equal(openpty(&reader, &writer, NULL, NULL, &size), 0);
    FILE *file = fdopen(writer, "w");
    struct progress *progress = progress_new(file, false, &err);
    progress_show(progress, "step", 1, 2, fields, FIELDS, false);
    now += 0.09;
    progress_show(progress, "step", 1, 2, fields, FIELDS, false); /* too soon */
    progress_message(progress, "saved");
    now += 0.02;
    progress_show(progress, "step", 1, 2, fields, 1, false);
    progress_show(progress, "step", 2, 2, fields, FIELDS, false); /* the end is shown at once */
    progress_free(progress);

    static const char expected[] =
        "step 1/2  50%  epoch 0.42  loss 1.2346\r\033[Ksaved\r\nstep 1/2  50%  epoch 0.42  "
        "loss 1.2346\r\033[Kstep 1/2  50%  epoch 0.42\r\033[Kstep 2/2  100%  epoch 0.42  loss 1.2346\r\n";
    char text[500] = {0};
    read_terminal(reader, text, sizeof expected - 1);
    assert_string_equal(text, expected);
    fclose(file);
    close(reader);
}

static void quiet_shows_messages_only(void **unused) {
    (void)unused;
    struct error err;
    FILE *file = tmpfile();
    struct progress *progress = progress_new(file, true, &err);
    progress_show(progress, "step", 2, 2, fields, 1, true);
    assert_int_equal(ftell(file), 0);
    progress_message(progress, "note");
    assert_int_equal(ftell(file), 5);
    progress_free(progress);
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures),
        cmocka_unit_test(what_does_not_fit_is_left_out),
        cmocka_unit_test(plain_lines_elsewhere),
        cmocka_unit_test(one_line_on_a_terminal),
        cmocka_unit_test(quiet_shows_messages_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
