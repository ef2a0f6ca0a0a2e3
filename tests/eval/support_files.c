#include "tests/eval/support_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/folder.h"

static char folder[64];

int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/vs2-eval-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int remove_folder(void **state) {
    (void)state;
    struct error err;
    return folder_remove(folder, &err) == STATUS_OK ? 0 : -1;
}

const char *path_of(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *put_text(const char *name, const char *text) {
    const char *path = path_of(name);
    FILE *file = fopen(path, "wb"); /* not file_write, whose fsync takes its time in tests of many files */
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

const char *put_json(const char *name, const json_t *json) {
    char *text = json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    assert_non_null(text);
    const char *path = put_text(name, text);
    free(text);
    return path;
}
