/* Folders, checksums and the writing of JSON. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"

static char base[64];

static int make_base(void **state) {
    (void)state;
    strcpy(base, "/tmp/vs2-folder-XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int remove_base(void **state) {
    (void)state;
    struct error err;
    return folder_remove(base, &err) == STATUS_OK && access(base, F_OK) != 0 ? 0 : -1;
}

static char *inside(const char *name) {
    struct error err;
    return file_join(base, name, &err);
}

static void made_listed_renamed_removed(void **state) {
    (void)state;
    struct error err;
    struct folder_names list;
    char *deep = inside("a/b//c/"), *file = inside("a/b/file"), *a = inside("a"), *z = inside("z");
    char *link_to_a = inside("link");
    assert_int_equal(folder_make(deep, &err), STATUS_OK);
    assert_int_equal(folder_make(deep, &err), STATUS_OK);
    assert_int_equal(file_write(file, "x", 1, &err), STATUS_OK);
    assert_int_equal(folder_make(file, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "a/b/file: not a folder"));
    assert_int_equal(symlink(a, link_to_a), 0);
    assert_int_equal(folder_list(base, &list, &err), STATUS_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.names[0], "a");
    folder_names_free(&list);

    assert_int_equal(folder_remove(link_to_a, &err), STATUS_OK); /* the link, not what it leads to */
    assert_int_equal(access(file, F_OK), 0);
    assert_int_equal(folder_rename(a, z, &err), STATUS_OK);
    assert_int_equal(folder_rename(a, z, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "cannot rename"));
    assert_int_equal(folder_remove(z, &err), STATUS_OK);
    assert_int_equal(folder_remove(z, &err), STATUS_OK);
    assert_int_equal(folder_list(z, &list, &err), STATUS_FAILED);
    free(deep);
    free(file);
    free(a);
    free(z);
    free(link_to_a);
}

static void records_are_appended(void **state) {
    (void)state;
    struct error err;
    struct file_appender appender;
    char *path = inside("log"), *text;
    size_t length;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(file_appender_open(&appender, path, &err), STATUS_OK);
        assert_int_equal(file_appender_write(&appender, "line\n", 5, &err), STATUS_OK);
        file_appender_close(&appender);
    }
    assert_int_equal(appender.fd, -1);
    assert_int_equal(file_appender_open(&appender, path, &err), STATUS_OK);
    assert_int_equal(file_appender_write(&appender, "li", 2, &err), STATUS_OK);
    assert_int_equal(file_appender_cut(&appender, 10, &err), STATUS_OK);
    assert_int_equal(file_appender_write(&appender, "end\n", 4, &err), STATUS_OK);
    assert_int_equal(file_appender_sync(&appender, &err), STATUS_OK);
    assert_int_equal(appender.size, 14);
    file_appender_close(&appender);
    assert_int_equal(file_read(path, 100, &text, &length, &err), STATUS_OK);
    assert_string_equal(text, "line\nline\nend\n");
    assert_int_equal(file_appender_open(&appender, base, &err), STATUS_FAILED);
    assert_int_equal(file_appender_open(&appender, "/dev/null", &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "no ordinary file"));
    free(text);
    free(path);
}

/* The vectors of RFC 3720 B.4, and the same however the bytes are divided. */
static void checksums(void **state) {
    (void)state;
    unsigned char bytes[100];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46DD794E);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    for (int i = 0; i < 100; i++) bytes[i] = (unsigned char)(i * 37);
    uint32_t whole = crc32c(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut++)
        assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, sizeof bytes - cut), whole);
}

static void json_is_written_exactly(void **state) {
    (void)state;
    struct error err;
    struct text text = {0};
    const char *source =
        "{\"a\": [1, 2.5, 1e-06, 3.0, 0.10000000149011612, 1e+300], \"b\": {\"c\\\"\": null, "
        "\"d\": {}, \"e\": [], \"f\": true, \"g\": \"x\\ny\"}}";
    json_t *json = json_read_text(source, strlen(source), "here", &err);
    json_append(&text, json, false);
    assert_string_equal(text.data, source);
    text_free(&text);
    json_append(&text, json_object_get(json, "b"), true);
    assert_string_equal(text.data,
                        "{\n  \"c\\\"\": null,\n  \"d\": {},\n  \"e\": [],\n  \"f\": true,\n  \"g\": "
                        "\"x\\ny\"\n}");
    text_free(&text);
    json_decref(json);
    for (uint64_t i = 1; i < 1000; i++) {
        double value = (double)(i * 0x9E3779B97F4A7C15u) * 1e-12 / (double)i, back;
        json_t *real = json_real(value);
        json_append(&text, real, false);
        back = strtod(text.data, NULL);
        assert_memory_equal(&back, &value, sizeof value);
        text_free(&text);
        json_decref(real);
    }
    json_append(&text, NULL, false);
    assert_int_equal(text_check(&text, "json", &err), STATUS_FAILED);
    text_free(&text);
}

/* A second lock is refused while the first is held, and had when it is gone. */
static void locked_once(void **state) {
    (void)state;
    struct error err;
    int first, second;
    assert_int_equal(folder_lock(base, &first, &err), STATUS_OK);
    assert_int_equal(folder_lock(base, &second, &err), STATUS_FAILED);
    assert_int_equal(second, -1);
    assert_non_null(strstr(err.message, "another run is writing to this folder"));
    folder_unlock(second);
    folder_unlock(first);
    assert_int_equal(folder_lock(base, &second, &err), STATUS_OK);
    folder_unlock(second);
    assert_int_equal(folder_lock("/nowhere/at/all", &first, &err), STATUS_FAILED);
    assert_non_null(strstr(err.message, "/nowhere/at/all: No such file"));
}

/* A child waits for the lock that its parent holds. */
static void a_lock_is_waited_for(void **state) {
    (void)state;
    struct error err;
    int lock, pipes[2], code;
    char word = 0;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(folder_lock_wait(base, &lock, &err), STATUS_OK);
    pid_t child = fork();
    if (child == 0) {
        folder_unlock(lock); /* its copy: the parent's lock stays while the parent has it */
        _exit(folder_lock_wait(base, &lock, &err) != STATUS_OK || write(pipes[1], "x", 1) != 1);
    }
    struct pollfd wait = {.fd = pipes[0], .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 50), 0);
    folder_unlock(lock);
    assert_int_equal(read(pipes[0], &word, 1), 1);
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_listed_renamed_removed, make_base, remove_base),
        cmocka_unit_test_setup_teardown(records_are_appended, make_base, remove_base),
        cmocka_unit_test_setup_teardown(locked_once, make_base, remove_base),
        cmocka_unit_test_setup_teardown(a_lock_is_waited_for, make_base, remove_base),
        cmocka_unit_test(checksums),
        cmocka_unit_test(json_is_written_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
