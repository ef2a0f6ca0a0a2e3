#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/activity.h"
#include "base/memory.h"
#include "base/text.h"

/* Bytes: of one call that reads or writes, and after which a written file is brought to the disk. */
enum { PIECE = 16 << 20, SYNCED_PIECE = 256 << 20 };

/* Opens a regular file for reading and tells its size; returns the descriptor or -1. */
static int open_regular(const char *path, size_t *size, struct error *err) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set(err, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (fstat(fd, &info) != 0) {
        error_set(err, "%s: %s", path, strerror(errno));
        goto err;
    }
    if (!S_ISREG(info.st_mode)) {
        error_set(err, "%s: not a regular file", path);
        goto err;
    }
    *size = (size_t)info.st_size;
    return fd;
err:
    close(fd);
    return -1;
}

char *file_join(const char *folder, const char *name, struct error *err) {
    struct text path = {0};
    text_format(&path, "%s/%s", folder, name);
    return text_take(&path, "a file name", err);
}

char *file_find(const char *folder, const char *path, struct error *err) {
    if (path[0] != '/') {
        char *joined = file_join(folder, path, err);
        if (!joined || access(joined, F_OK) == 0 || access(path, F_OK) != 0) return joined;
        free(joined);
    }
    return memory_text(path, strlen(path), "a path", err);
}

enum status file_read(const char *path, size_t limit, char **text, size_t *length, struct error *err) {
    size_t size;
    char *buffer = NULL;
    int fd = open_regular(path, &size, err);
    if (fd < 0) return STATUS_FAILED;
    if (size > limit) {
        error_set(err, "%s: %zu bytes are more than the %zu allowed", path, size, limit);
        goto err;
    }
    buffer = memory_new(size + 1, 1, path, err);
    if (!buffer) goto err;
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, buffer + done, size - done < PIECE ? size - done : PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            error_set(err, "%s: %s", path, got < 0 ? strerror(errno) : "the file became shorter while read");
            goto err;
        }
        done += (size_t)got;
        activity_step();
    }
    close(fd);
    *text = buffer;
    *length = size;
    return STATUS_OK;
err:
    free(buffer);
    close(fd);
    return STATUS_FAILED;
}

enum status file_map(const char *path, struct file_map *map, struct error *err) {
    size_t size;
    int fd = open_regular(path, &size, err);
    if (fd < 0) return STATUS_FAILED;
    *map = (struct file_map){0};
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            error_set(err, "%s: cannot map: %s", path, strerror(errno));
            close(fd);
            return STATUS_FAILED;
        }
        map->data = data;
        map->size = size;
    }
    close(fd);
    return STATUS_OK;
}

void file_unmap(struct file_map *map) {
    if (map->data) munmap((void *)map->data, map->size);
    *map = (struct file_map){0};
}

void file_map_read_ahead(const struct file_map *map) {
    if (map->data) madvise((void *)map->data, map->size, MADV_WILLNEED);
}

void file_map_drop(const struct file_map *map) {
    if (map->data) madvise((void *)map->data, map->size, MADV_DONTNEED);
}

static enum status write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t put = write(fd, data, size < PIECE ? size : PIECE);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return STATUS_FAILED;
        activity_step();
        data += put;
        size -= (size_t)put;
    }
    return STATUS_OK;
}

/* Makes the rename itself durable. File systems that cannot sync a folder are none of the caller's trouble.
 */
static void sync_folder(char *path) {
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

enum status file_writer_open(struct file_writer *writer, const char *path, struct error *err) {
    struct text temporary = {0};
    struct stat there;
    *writer = (struct file_writer){.fd = -1};
    /* What is renamed over a device would take its place. */
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return error_set(err, "%s: cannot write: it is %s", path,
                         S_ISDIR(there.st_mode) ? "a folder" : "no ordinary file");
    text_format(&temporary, "%s.tmp-%ld", path, (long)getpid());
    writer->temporary = text_take(&temporary, path, err);
    writer->path = memory_text(path, strlen(path), path, err);
    if (!writer->temporary || !writer->path) goto err;

    writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        error_set(err, "%s: cannot write: %s", path, strerror(errno));
        goto err;
    }
    return STATUS_OK;
err:
    free(writer->temporary);
    free(writer->path);
    *writer = (struct file_writer){.fd = -1};
    return STATUS_FAILED;
}

void file_writer_write(struct file_writer *writer, const void *data, size_t size) {
    if (writer->failure) return;
    if (write_all(writer->fd, data, size) != STATUS_OK) writer->failure = errno;
    writer->size += size;
    /* By and by: brought to a slow disk at once, a checkpoint takes minutes without a sign of getting on. */
    if (writer->failure || writer->size - writer->synced < SYNCED_PIECE) return;
    if (fdatasync(writer->fd) != 0) writer->failure = errno;
    writer->synced = writer->size;
}

void file_writer_abort(struct file_writer *writer) {
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary) unlink(writer->temporary);
    free(writer->temporary);
    free(writer->path);
    *writer = (struct file_writer){.fd = -1};
}

enum status file_writer_commit(struct file_writer *writer, struct error *err) {
    if (!writer->failure && fsync(writer->fd) != 0) writer->failure = errno;
    if (close(writer->fd) != 0 && !writer->failure) writer->failure = errno;
    writer->fd = -1;
    if (!writer->failure && rename(writer->temporary, writer->path) != 0) writer->failure = errno;
    if (writer->failure) {
        error_set(err, "%s: cannot write: %s", writer->path, strerror(writer->failure));
        file_writer_abort(writer);
        return STATUS_FAILED;
    }
    sync_folder(writer->temporary);
    free(writer->temporary);
    free(writer->path);
    *writer = (struct file_writer){.fd = -1};
    return STATUS_OK;
}

enum status file_write(const char *path, const void *data, size_t size, struct error *err) {
    struct file_writer writer;
    if (file_writer_open(&writer, path, err) != STATUS_OK) return STATUS_FAILED;
    file_writer_write(&writer, data, size);
    return file_writer_commit(&writer, err);
}

enum status file_appender_open(struct file_appender *appender, const char *path, struct error *err) {
    struct stat info;
    *appender = (struct file_appender){.fd = -1};
    appender->path = memory_text(path, strlen(path), path, err);
    if (!appender->path) return STATUS_FAILED;
    appender->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (appender->fd < 0 || fstat(appender->fd, &info) != 0) {
        error_set(err, "%s: cannot write: %s", path, strerror(errno));
        goto err;
    }
    if (!S_ISREG(info.st_mode)) {
        error_set(err, "%s: cannot write: no ordinary file", path);
        goto err;
    }
    appender->size = (size_t)info.st_size;
    return STATUS_OK;
err:
    file_appender_close(appender);
    return STATUS_FAILED;
}

enum status file_appender_cut(struct file_appender *appender, size_t size, struct error *err) {
    if (ftruncate(appender->fd, (off_t)size) != 0)
        return error_set(err, "%s: cannot cut: %s", appender->path, strerror(errno));
    appender->size = size;
    return STATUS_OK;
}

enum status file_appender_write(struct file_appender *appender, const void *data, size_t size,
                                struct error *err) {
    if (write_all(appender->fd, data, size) == STATUS_OK) {
        appender->size += size;
        return STATUS_OK;
    }
    error_set(err, "%s: cannot write: %s", appender->path, strerror(errno));
    if (ftruncate(appender->fd, (off_t)appender->size) != 0) error_prefix(err, "cannot cut it again");
    return STATUS_FAILED;
}

enum status file_appender_sync(const struct file_appender *appender, struct error *err) {
    if (fdatasync(appender->fd) == 0) return STATUS_OK;
    return error_set(err, "%s: cannot write: %s", appender->path, strerror(errno));
}

void file_appender_close(struct file_appender *appender) {
    if (appender->fd >= 0) close(appender->fd);
    free(appender->path);
    *appender = (struct file_appender){.fd = -1};
}
