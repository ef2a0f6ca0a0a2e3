/* Files: read whole, mapped, and written whole or not at all. */
#ifndef VS2_BASE_FILE_H
#define VS2_BASE_FILE_H

#include <stddef.h>

#include "base/error.h"

/* Reads the file into *text (terminated by a NUL that *length does not count); free() it. Files over
 * `limit` bytes are an error. */
enum status file_read(const char *path, size_t limit, char **text, size_t *length, struct error *err);

struct file_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
};

/* Maps the file for reading; file_unmap ends it. */
enum status file_map(const char *path, struct file_map *map, struct error *err);
void file_unmap(struct file_map *map);

/* Writes a file that appears whole or not at all: a temporary beside it, fsync, rename, fsync of the folder.
 */
enum status file_write(const char *path, const void *data, size_t size, struct error *err);

#endif
