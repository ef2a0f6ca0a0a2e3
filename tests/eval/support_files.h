/* Files of a test, in a folder of its own. */
#ifndef VS2_TESTS_EVAL_SUPPORT_FILES_H
#define VS2_TESTS_EVAL_SUPPORT_FILES_H

#include <jansson.h>

/* Group setup and teardown: make and remove the folder. */
int make_folder(void **state);
int remove_folder(void **state);

/* The path of a file in it; valid until the next call but three. */
const char *path_of(const char *name);

/* Writes a file there and returns its path. */
const char *put_text(const char *name, const char *text);
const char *put_json(const char *name, const json_t *json);

#endif
