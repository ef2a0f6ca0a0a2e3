/* Finding a checkpoint: a folder, or a repository of the Hugging Face cache. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/hub.h"
#include "tests/model/support_checkpoint.h"

static const char repository[] = "hub/models--Qwen--Qwen2.5-VL-7B-Instruct";

static void clear_environment(void) {
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

static void write_in(const char *root, const char *folder, const char *name, const char *text) {
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    support_write_text(root, path, text);
}

/* The folder found ends with `expected`, or the error contains it when it begins with "!". */
static void expect(const char *name, const char *expected) {
    struct error err = {0};
    char *found = hub_find(name, &err);
    if (expected[0] == '!') {
        assert_null(found);
        if (!strstr(err.message, expected + 1)) fail_msg("'%s' lacks '%s'", err.message, expected + 1);
        return;
    }
    if (!found) fail_msg("%s", err.message);
    size_t length = strlen(found), wanted = strlen(expected);
    if (length < wanted || strcmp(found + length - wanted, expected) != 0)
        fail_msg("'%s', not '%s'", found, expected);
    free(found);
}

static void folders(void **state) {
    (void)state;
    char *root = support_folder();
    clear_environment();
    setenv("HOME", root, 1);
    expect(root, root);
    char path[4096];
    snprintf(path, sizeof path, "%s/file", root);
    support_write_text(root, "file", "x");
    expect(path, "!not a folder");
    snprintf(path, sizeof path, "%s/missing", root);
    expect(path, "!/missing: no such folder");
    expect("./missing", "!./missing: no such folder");
    expect("a/b/c", "!a/b/c: no such folder");
    expect("", "!'': no such folder");
    expect("../no-such", "!../no-such: no such folder");
    expect("org/..", "!org/..: no such folder");
    support_folder_remove(root);
}

static void every_cache_variable(void **state) {
    (void)state;
    char *root = support_folder(), path[4096];
    static const struct {
        const char *variable, *folder, *prefix;
    } cases[] = {
        {"HF_HUB_CACHE", "", ""},
        {"HUGGINGFACE_HUB_CACHE", "legacy", ""},
        {"HF_HOME", "home", "/hub"},
        {"XDG_CACHE_HOME", "xdg", "/huggingface/hub"},
        {"HOME", "user", "/.cache/huggingface/hub"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(path, sizeof path, "%s%s/models--org--name/snapshots/abc", cases[i].folder, cases[i].prefix);
        write_in(root, path[0] == '/' ? path + 1 : path, "config.json", "{}");
        clear_environment();
        setenv("HOME", root, 1);
        snprintf(path, sizeof path, "%s/%s", root, cases[i].folder);
        setenv(cases[i].variable, path, 1);
        expect("org/name", "models--org--name/snapshots/abc");
        expect("org/other", "!hf download org/other");
    }
    clear_environment();
    setenv("HOME", root, 1);
    setenv("HF_HOME", "~/home", 1);
    expect("org/name", "/home/hub/models--org--name/snapshots/abc");
    support_folder_remove(root);
}

static void snapshots(void **state) {
    (void)state;
    char *root = support_folder(), path[4096];
    const char *name = "Qwen/Qwen2.5-VL-7B-Instruct";
    clear_environment();
    setenv("HF_HOME", root, 1);
    expect(name, "!not in the Hugging Face cache");
    write_in(root, repository, "snapshots/old/config.json", "{}");
    expect(name, "/snapshots/old");

    write_in(root, repository, "snapshots/new/config.json", "{}");
    const struct timespec future[2] = {{.tv_sec = 4000000000}, {.tv_sec = 4000000000}};
    snprintf(path, sizeof path, "%s/%s/snapshots/new", root, repository);
    assert_int_equal(utimensat(AT_FDCWD, path, future, 0), 0);
    expect(name, "/snapshots/new");

    write_in(root, repository, "refs/main", "old\n");
    expect(name, "/snapshots/old");
    write_in(root, repository, "refs/main", "../../../../etc"); /* not followed */
    expect(name, "/snapshots/new");
    write_in(root, repository, "refs/main", "gone");
    expect(name, "/snapshots/new");

    write_in(root, repository, "refs/main", "new");
    snprintf(path, sizeof path, "%s/%s/snapshots/new/config.json", root, repository);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("../../blobs/gone", path), 0); /* a dangling link, as of a broken download */
    expect(name, "!the download of Qwen/Qwen2.5-VL-7B-Instruct is incomplete");
    support_folder_remove(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(folders), cmocka_unit_test(every_cache_variable),
                                       cmocka_unit_test(snapshots)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
