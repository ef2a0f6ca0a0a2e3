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

#include "base/memory.h"

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
        ssize_t got = read(fd, buffer + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            error_set(err, "%s: %s", path, got < 0 ? strerror(errno) : "the file became shorter while read");
            goto err;
        }
        done += (size_t)got;
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

static enum status write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return STATUS_FAILED;
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

enum status file_write(const char *path, const void *data, size_t size, struct error *err) {
    enum { SUFFIX = 24 };
    size_t length = strlen(path) + SUFFIX;
    char *temporary = memory_new(length, 1, path, err);
    if (!temporary) return STATUS_FAILED;
    snprintf(temporary, length, "%s.tmp-%ld", path, (long)getpid());

    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        error_set(err, "%s: cannot write: %s", path, strerror(errno));
        free(temporary);
        return STATUS_FAILED;
    }
    if (write_all(fd, data, size) != STATUS_OK || fsync(fd) != 0) {
        error_set(err, "%s: cannot write: %s", path, strerror(errno));
        close(fd);
        goto err;
    }
    if (close(fd) != 0 || rename(temporary, path) != 0) {
        error_set(err, "%s: cannot write: %s", path, strerror(errno));
        goto err;
    }
    sync_folder(temporary);
    free(temporary);
    return STATUS_OK;
err:
    unlink(temporary);
    free(temporary);
    return STATUS_FAILED;
}
