/* A folder for what a test has written. */
#ifndef VS2_TESTS_TRAIN_SUPPORT_OUTPUTS_H
#define VS2_TESTS_TRAIN_SUPPORT_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

/* A new folder; outputs_remove deletes and frees it. */
char *outputs_folder(void);
void outputs_remove(char *folder);

/* One folder for all tests of a program: setup and teardown of their group, and the folder in between. */
int outputs_group_make(void **state);
int outputs_group_remove(void **state);
const char *outputs_group(void);

/* FOLDER/NAME as text, terminated; free() it. Its length in *length unless that is NULL. */
char *outputs_read(const char *folder, const char *name, size_t *length);
bool outputs_exists(const char *folder, const char *name);
void outputs_write(const char *folder, const char *name, const char *text);

#endif
