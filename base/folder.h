/* Folders: made, emptied, renamed and made durable. */
#ifndef VS2_BASE_FOLDER_H
#define VS2_BASE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Makes the folder and those above it; one that is there is fine. */
enum status folder_make(const char *path, struct error *err);

/* Removes the folder and all that is in it, without following links; one that is not there is fine. */
enum status folder_remove(const char *path, struct error *err);

/* Renames a file or folder, over a file that is there, and syncs the folder that it is in then. */
enum status folder_rename(const char *from, const char *to, struct error *err);

/* Has the folder's entries written to disk. File systems that cannot do it are none of the caller's trouble.
 */
void folder_sync(const char *path);

/* Keeps other programs out of a folder that they lock, too: fails while another has it. *lock is given to
 * folder_unlock; it ends with the process as well. Where the file system has no locks nobody is kept out, and
 * *lock is -1. */
enum status folder_lock(const char *path, int *lock, struct error *err);
void folder_unlock(int lock); /* -1 is fine */

/* The same, but waits until nobody has it. For what is quickly done. */
enum status folder_lock_wait(const char *path, int *lock, struct error *err);

/* The names in a folder, sorted, without "." and ".."; folder_names_free ends it. */
struct folder_names {
    char **names;
    size_t count, capacity;
};

enum status folder_list(const char *path, struct folder_names *list, struct error *err);
void folder_names_free(struct folder_names *list);

#endif
