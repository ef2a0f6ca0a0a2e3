#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum status folder_make(const char *path, struct error *err) {
    struct stat info;
    enum status status = STATUS_OK;
    char *part = memory_text(path, strlen(path), path, err);
    if (!part) return STATUS_FAILED;
    for (char *end = part; status == STATUS_OK && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        const char separator = *end;
        *end = '\0';
        if (mkdir(part, 0777) != 0) {
            int cause = errno;
            if (stat(part, &info) != 0)
                status = error_set(err, "%s: cannot make the folder: %s", part, strerror(cause));
            else if (!S_ISDIR(info.st_mode))
                status = error_set(err, "%s: not a folder", part);
        }
        *end = separator;
    }
    free(part);
    return status;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

enum status folder_remove(const char *path, struct error *err) {
    enum { OPEN_FOLDERS = 16 };
    if (nftw(path, remove_entry, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return STATUS_OK;
    return error_set(err, "%s: cannot remove the folder: %s", path, strerror(errno));
}

void folder_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

enum status folder_rename(const char *from, const char *to, struct error *err) {
    if (rename(from, to) != 0)
        return error_set(err, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    const char *slash = strrchr(to, '/');
    if (!slash) {
        folder_sync(".");
        return STATUS_OK;
    }
    char *parent = memory_text(to, slash == to ? 1 : (size_t)(slash - to), to, err);
    if (!parent) return STATUS_FAILED;
    folder_sync(parent);
    free(parent);
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status add_name(struct folder_names *list, const char *name, struct error *err) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return STATUS_OK;
    if (memory_grow(&list->names, &list->capacity, list->count + 1, sizeof *list->names, "a folder's names",
                    err) != STATUS_OK)
        return STATUS_FAILED;
    list->names[list->count] = memory_text(name, strlen(name), "a folder's names", err);
    return list->names[list->count++] ? STATUS_OK : STATUS_FAILED;
}

enum status folder_list(const char *path, struct folder_names *list, struct error *err) {
    enum status status = STATUS_OK;
    *list = (struct folder_names){0};
    DIR *listing = opendir(path);
    if (!listing) return error_set(err, "%s: cannot read the folder: %s", path, strerror(errno));
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(listing));)
        status = add_name(list, entry->d_name, err);
    closedir(listing);
    if (status != STATUS_OK) {
        folder_names_free(list);
        return status;
    }
    if (list->count) qsort(list->names, list->count, sizeof *list->names, compare_names);
    return STATUS_OK;
}

void folder_names_free(struct folder_names *list) {
    for (size_t i = 0; i < list->count; i++) free(list->names[i]);
    free(list->names);
    *list = (struct folder_names){0};
}

static enum status lock_folder(const char *path, int how, int *lock, struct error *err) {
    *lock = -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;
    if (fd < 0) return error_set(err, "%s: %s", path, strerror(errno));
    do failed = flock(fd, how);
    while (failed && errno == EINTR);
    if (!failed) *lock = fd;
    enum status status = failed && errno == EWOULDBLOCK
                             ? error_set(err, "%s: another run is writing to this folder", path)
                             : STATUS_OK;
    if (failed) close(fd);
    return status;
}

enum status folder_lock(const char *path, int *lock, struct error *err) {
    return lock_folder(path, LOCK_EX | LOCK_NB, lock, err);
}

enum status folder_lock_wait(const char *path, int *lock, struct error *err) {
    return lock_folder(path, LOCK_EX, lock, err);
}

void folder_unlock(int lock) {
    if (lock >= 0) close(lock);
}
