/* Files, with the system calls of writing made to fail one after the other. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/activity.h"
#include "base/file.h"
#include "base/json.h"

ssize_t __real_write(int fd, const void *data, size_t size);
int __real_fsync(int fd);
int __real_rename(const char *from, const char *to);
ssize_t __wrap_write(int fd, const void *data, size_t size);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_rename(const char *from, const char *to);

enum fault { NO_FAULT, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME, SHORT_WRITES, LOST_WRITES, FAULT_FDATASYNC };
static enum fault fault;
static int syncs; /* of data */

ssize_t __wrap_write(int fd, const void *data, size_t size) {
    if (fault == FAULT_WRITE) {
        errno = ENOSPC;
        return -1;
    }
    if (fault >= LOST_WRITES) return (ssize_t)size;
    return __real_write(fd, data, fault == SHORT_WRITES && size > 3 ? 3 : size);
}

int __wrap_fsync(int fd) {
    if (fault != FAULT_FSYNC) return __real_fsync(fd);
    errno = EIO;
    return -1;
}

int __wrap_fdatasync(int fd) {
    (void)fd;
    syncs++;
    if (fault != FAULT_FDATASYNC) return 0;
    errno = EIO;
    return -1;
}

int __wrap_rename(const char *from, const char *to) {
    if (fault != FAULT_RENAME) return __real_rename(from, to);
    errno = EROFS;
    return -1;
}

static char folder[64];
static char path[128];

static int make_folder(void **state) {
    (void)state;
    fault = NO_FAULT;
    strcpy(folder, "/tmp/vs2-file-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a temporary was left behind */
}

static void assert_content(const char *expected) {
    struct error err;
    char *text;
    size_t length;
    assert_int_equal(file_read(path, 1000, &text, &length, &err), STATUS_OK);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
}

static void written_whole(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_write(path, "hello, world", 12, &err), STATUS_OK);
    assert_content("hello, world");
    fault = SHORT_WRITES;
    assert_int_equal(file_write(path, "another text", 12, &err), STATUS_OK);
    assert_content("another text");
}

static void failed_write_leaves_the_old_file(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_write(path, "old", 3, &err), STATUS_OK);
    for (fault = FAULT_WRITE; fault <= FAULT_RENAME; fault++) {
        assert_int_equal(file_write(path, "new one", 7, &err), STATUS_FAILED);
        assert_non_null(strstr(err.message, path));
        assert_content("old");
    }
    fault = NO_FAULT;
    assert_int_equal(file_write("/nonexistent/folder/file", "x", 1, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "No such file"));
}

/* A long file goes to the disk while it is written, and its pieces are seen by who watches the process. */
static void long_file_by_pieces(void **state) {
    (void)state;
    enum { MEGABYTES = 600 };
    static const char megabyte[1 << 20];
    struct error err;
    struct file_writer writer;
    syncs = 0;
    fault = LOST_WRITES;
    const uint64_t before = activity_now().steps;
    assert_int_equal(file_writer_open(&writer, path, &err), STATUS_OK);
    for (int i = 0; i < MEGABYTES; i++) file_writer_write(&writer, megabyte, sizeof megabyte);
    assert_int_equal(file_writer_commit(&writer, &err), STATUS_OK);
    assert_int_equal(syncs, 2);
    assert_true(activity_now().steps - before >= MEGABYTES / 16);
    fault = FAULT_FDATASYNC;
    assert_int_equal(file_writer_open(&writer, path, &err), STATUS_OK);
    for (int i = 0; i < MEGABYTES; i++) file_writer_write(&writer, megabyte, sizeof megabyte);
    assert_int_equal(file_writer_commit(&writer, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, strerror(EIO)));
    assert_int_equal(syncs, 3);
}

static void read_errors(void **state) {
    (void)state;
    struct error err;
    char *text;
    size_t length;
    struct file_map map;
    assert_int_equal(file_read(path, 10, &text, &length, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "No such file"));
    assert_int_equal(file_read(folder, 10, &text, &length, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_int_equal(file_map(path, &map, &err), STATUS_FAILED);
    assert_int_equal(file_write(path, "0123456789A", 11, &err), STATUS_OK);
    assert_int_equal(file_read(path, 10, &text, &length, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "more than the 10 allowed"));
}

static void mapped(void **state) {
    (void)state;
    struct error err;
    struct file_map map;
    assert_int_equal(file_write(path, "abc", 3, &err), STATUS_OK);
    assert_int_equal(file_map(path, &map, &err), STATUS_OK);
    assert_int_equal(map.size, 3);
    assert_memory_equal(map.data, "abc", 3);
    file_unmap(&map);
    assert_null(map.data);
    assert_int_equal(file_write(path, "", 0, &err), STATUS_OK);
    assert_int_equal(file_map(path, &map, &err), STATUS_OK);
    assert_null(map.data);
    file_unmap(&map);
}

static void json_errors_name_the_place(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(file_write(path, "{\"a\": 1,\n \"b\" 2}", 16, &err), STATUS_OK);
    assert_null(json_read_file(path, 1000, &err));
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "line 2"));
}

static void json_members(void **state) {
    (void)state;
    static const char text[] = "{\"i\": 7, \"x\": 1.5, \"t\": true, \"s\": \"word\", \"n\": null}";
    struct error err;
    long long integer;
    double number;
    bool flag;
    const char *string;
    json_t *json = json_read_text(text, strlen(text), "here", &err);
    assert_non_null(json);
    assert_int_equal(json_get_integer(json, "i", 0, 7, 1, &integer, "here", &err), STATUS_OK);
    assert_int_equal(integer, 7);
    assert_int_equal(json_get_integer(json, "n", 0, 7, 3, &integer, "here", &err), STATUS_OK);
    assert_int_equal(integer, 3);
    assert_int_equal(json_get_integer(json, "i", 0, 6, 1, &integer, "here", &err), STATUS_FAILED);
    assert_string_equal(err.message, "here: 'i' is 7, allowed are 0 to 6");
    assert_int_equal(json_get_integer(json, "x", 0, 6, 1, &integer, "here", &err), STATUS_FAILED);
    assert_string_equal(err.message, "here: 'x' must be an integer");
    assert_int_equal(json_get_number(json, "x", 0, &number, "here", &err), STATUS_OK);
    assert_true(number == 1.5);
    assert_int_equal(json_get_number(json, "s", 0, &number, "here", &err), STATUS_FAILED);
    assert_int_equal(json_get_bool(json, "t", false, &flag, "here", &err), STATUS_OK);
    assert_true(flag);
    assert_int_equal(json_get_bool(json, "i", false, &flag, "here", &err), STATUS_FAILED);
    assert_int_equal(json_get_string(json, "s", NULL, &string, "here", &err), STATUS_OK);
    assert_string_equal(string, "word");
    assert_int_equal(json_get_string(json, "absent", NULL, &string, "here", &err), STATUS_OK);
    assert_null(string);
    assert_int_equal(json_get_string(json, "t", NULL, &string, "here", &err), STATUS_FAILED);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_whole, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(failed_write_leaves_the_old_file, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(long_file_by_pieces, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(read_errors, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(mapped, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(json_errors_name_the_place, make_folder, remove_folder),
        cmocka_unit_test(json_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
