/* Files: read whole, mapped, and written whole or not at all. */
#ifndef VS2_BASE_FILE_H
#define VS2_BASE_FILE_H

#include <stddef.h>

#include "base/error.h"

/* "FOLDER/NAME"; free() it. NULL with err set when out of memory. */
char *file_join(const char *folder, const char *name, struct error *err);

/* The path of a file that a data set names: FOLDER/path when that is there, else the path as it stands when
 * that is, else FOLDER/path. free() it. NULL with err set when out of memory. */
char *file_find(const char *folder, const char *path, struct error *err);

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

/* Has the whole file read in the background, ahead of its use. */
void file_map_read_ahead(const struct file_map *map);

/* Lets its pages go: those that are looked at again are read again. */
void file_map_drop(const struct file_map *map);

/* Writes a file that appears whole or not at all: a temporary beside it, fsync, rename, fsync of the folder.
 */
enum status file_write(const char *path, const void *data, size_t size, struct error *err);

/* The same for a file written piece by piece. After open, end with exactly one of commit and abort; a write
 * that failed is remembered, later ones do nothing, and commit reports it. */
struct file_writer {
    char *path, *temporary;
    int fd;
    int failure;         /* errno of the first write that failed, or 0 */
    size_t size, synced; /* bytes written, and those of them that are known to be on the disk */
};

enum status file_writer_open(struct file_writer *writer, const char *path, struct error *err);
void file_writer_write(struct file_writer *writer, const void *data, size_t size);
enum status file_writer_commit(struct file_writer *writer, struct error *err);
void file_writer_abort(struct file_writer *writer);

/* A file that grows record by record, and is there to be read meanwhile. A record that does not fit on the
 * disk is taken back, so that only whole ones stay. */
struct file_appender {
    char *path;
    int fd; /* -1: closed */
    size_t size;
};

/* Goes on at the end of the file, which is made if it is not there; file_appender_cut makes it end after
 * `size` bytes first. */
enum status file_appender_open(struct file_appender *appender, const char *path, struct error *err);
enum status file_appender_cut(struct file_appender *appender, size_t size, struct error *err);
enum status file_appender_write(struct file_appender *appender, const void *data, size_t size,
                                struct error *err);
/* Returns when everything that was written is on the disk. */
enum status file_appender_sync(const struct file_appender *appender, struct error *err);
void file_appender_close(struct file_appender *appender);

#endif
