/* Journals of rows: whole rows come back, in order, whatever became of the file's end; and every failure of
 * the disk is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/text.h"
#include "eval/row_journal.h"
#include "tests/eval/support_files.h"
#include "tests/refuse_one.h"

/* ---- Faults ------------------------------------------------------------------------------------------ */

static bool disk_is_full, sync_fails;

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (!disk_is_full) return __real_write(fd, data, size);
    if (size > 4) return __real_write(fd, data, size / 2); /* a full disk takes a part first */
    errno = ENOSPC;
    return -1;
}

int __wrap_fdatasync(int fd) {
    if (!sync_fails) return __real_fdatasync(fd);
    errno = EIO;
    return -1;
}

/* ---- A journal --------------------------------------------------------------------------------------- */

static const char *path(void) {
    return path_of("rows.journal");
}

static enum status append(size_t number, const char *text, struct error *err) {
    struct row_journal journal;
    enum status status = row_journal_open(&journal, path(), err);
    if (status == STATUS_OK) status = row_journal_append(&journal, number, text, strlen(text), err);
    row_journal_close(&journal);
    return status;
}

static void append_well(size_t number, const char *text) {
    struct error err;
    if (append(number, text, &err) != STATUS_OK) fail_msg("%s", err.message);
}

static enum status take_row(void *context, size_t number, const char *text, size_t length,
                            struct error *err) {
    struct text *rows = context;
    if (number == 13) return error_set(err, "thirteen");
    text_format(rows, "%zu=%.*s;", number, (int)length, text);
    return STATUS_OK;
}

/* The journal's rows are these, "NUMBER=TEXT;" each, and take so many bytes. */
static void assert_rows(const char *wanted, size_t bytes) {
    struct text rows = {0};
    struct error err;
    size_t size;
    if (row_journal_read(path(), take_row, &rows, &size, &err) != STATUS_OK) fail_msg("%s", err.message);
    assert_string_equal(rows.data ? rows.data : "", wanted);
    assert_int_equal(size, bytes);
    text_free(&rows);
}

static int clear(void **state) {
    (void)state;
    unlink(path());
    return 0;
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static void rows_come_back(void **state) {
    (void)state;
    assert_rows("", 0); /* no journal, no rows */
    append_well(7, "{\"a\": \"\\n 猫\"}");
    append_well(0, "");
    append_well(SIZE_MAX >> 5, "{}");
    char wanted[128];
    snprintf(wanted, sizeof wanted, "7={\"a\": \"\\n 猫\"};0=;%zu={};", SIZE_MAX >> 5);
    char *text;
    size_t length;
    struct error err;
    assert_int_equal(file_read(path(), 1000, &text, &length, &err), STATUS_OK);
    assert_rows(wanted, length);
    free(text);
}

/* Whatever is no whole row ends the reading, and is cut off by the next opening. */
static void a_damaged_end_is_cut_off(void **state) {
    (void)state;
    static const char *const ends[] = {"2",
                                       "2 ",
                                       "2 00000000",
                                       "2 00000000 ",
                                       "2 00000000 {}", /* no line end */
                                       "\n",
                                       "2\n",
                                       "2 00000000\n",
                                       "2 00000001 \n", /* another checksum */
                                       " 00000000 \n",
                                       "2  \n",
                                       "-2 00000000 \n",
                                       "2 0000000G \n",
                                       "99999999999999999999999 00000000 \n",
                                       "2 00000001 \n3 00000000 \n"}; /* after damage nothing is taken */
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        clear(NULL);
        append_well(1, "{}");
        FILE *file = fopen(path(), "ab");
        const long size = ftell(file);
        assert_true(fputs(ends[i], file) >= 0);
        fclose(file);
        assert_rows("1={};", (size_t)size);
        append_well(3, "[]");
        assert_rows("1={};3=[];", (size_t)size * 2);
    }
}

static void a_zero_byte_is_damage(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_write(path(), "1\0 00000000 \n", 13, &err), STATUS_OK);
    assert_rows("", 0);
}

static void the_sinks_failure_is_the_readers(void **state) {
    (void)state;
    struct text rows = {0};
    struct error err;
    size_t size;
    append_well(13, "{}");
    append_well(1, "{}");
    assert_int_equal(row_journal_read(path(), take_row, &rows, &size, &err), STATUS_FAILED);
    assert_string_equal(err.message, "thirteen");
    assert_null(rows.data);
}

static void only_one_writes(void **state) {
    (void)state;
    struct row_journal journal;
    struct error err;
    assert_int_equal(row_journal_open(&journal, path(), &err), STATUS_OK);
    assert_int_equal(append(1, "{}", &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "rows.journal: another process is writing to it"));
    row_journal_close(&journal);
    append_well(1, "{}");
    struct row_journal nowhere;
    assert_int_equal(row_journal_open(&nowhere, "/nowhere/rows.journal", &err), STATUS_FAILED);
    row_journal_close(&nowhere);
}

static void a_full_disk_leaves_whole_rows(void **state) {
    (void)state;
    struct error err;
    append_well(1, "{}");
    disk_is_full = true;
    assert_int_equal(append(2, "{\"long\": true}", &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "No space left on device"));
    disk_is_full = false;
    assert_rows("1={};", 14);
    sync_fails = true;
    assert_int_equal(append(2, "{}", &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "cannot write: Input/output error"));
    sync_fails = false;
}

static void every_lack_of_memory_is_told(void **state) {
    (void)state;
    enum status status = STATUS_FAILED;
    int tried = 0;
    for (; status != STATUS_OK && tried < 100; tried++) {
        struct error err = {0};
        allowed = tried;
        status = append(1, "{}", &err);
        allowed = -1;
        if (status != STATUS_OK && !strstr(err.message, "out of memory")) fail_msg("%s", err.message);
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(tried > 2);
    assert_rows("1={};", 14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(rows_come_back, clear),
        cmocka_unit_test_setup(a_damaged_end_is_cut_off, clear),
        cmocka_unit_test_setup(a_zero_byte_is_damage, clear),
        cmocka_unit_test_setup(the_sinks_failure_is_the_readers, clear),
        cmocka_unit_test_setup(only_one_writes, clear),
        cmocka_unit_test_setup(a_full_disk_leaves_whole_rows, clear),
        cmocka_unit_test_setup(every_lack_of_memory_is_told, clear),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
