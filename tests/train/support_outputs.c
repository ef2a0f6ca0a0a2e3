#include "tests/train/support_outputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/folder.h"

char *outputs_folder(void) {
    char name[] = "/tmp/vs2-outputs-XXXXXX";
    assert_non_null(mkdtemp(name));
    return strdup(name);
}

void outputs_remove(char *folder) {
    struct error err;
    assert_int_equal(folder_remove(folder, &err), STATUS_OK);
    free(folder);
}

static char *group;

int outputs_group_make(void **state) {
    (void)state;
    group = outputs_folder();
    return 0;
}

int outputs_group_remove(void **state) {
    (void)state;
    outputs_remove(group);
    return 0;
}

const char *outputs_group(void) {
    return group;
}

char *outputs_read(const char *folder, const char *name, size_t *length) {
    struct error err;
    char *text = NULL;
    size_t ignored;
    char *path = file_join(folder, name, &err);
    if (file_read(path, SIZE_MAX - 1, &text, length ? length : &ignored, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    free(path);
    return text;
}

bool outputs_exists(const char *folder, const char *name) {
    struct error err;
    char *path = file_join(folder, name, &err);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

void outputs_write(const char *folder, const char *name, const char *text) {
    struct error err;
    char *path = file_join(folder, name, &err);
    assert_int_equal(file_write(path, text, strlen(text), &err), STATUS_OK);
    free(path);
}
