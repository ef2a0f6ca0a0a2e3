#include "model/hub.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* "NAME" or "ORGANISATION/NAME" of letters, digits, '-', '_' and '.', as hub repositories are called. */
static bool is_repository_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t first = strspn(name, allowed);
    if (first == 0 || name[0] == '.' || name[0] == '-') return false;
    if (name[first] == '\0') return true;
    const char *rest = name + first + 1;
    size_t second = strspn(rest, allowed);
    return name[first] == '/' && second > 0 && rest[0] != '.' && rest[second] == '\0';
}

/* The value of an environment variable, or NULL when it is unset or empty. */
static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* Appends a folder from the environment, in which a leading "~" is the home folder. */
static void append_folder(struct text *path, const char *folder) {
    const char *home = setting("HOME");
    if (folder[0] == '~' && (folder[1] == '/' || folder[1] == '\0') && home) {
        text_append_string(path, home);
        folder++;
    }
    text_append_string(path, folder);
}

/* Where huggingface_hub keeps repositories: HF_HUB_CACHE (HUGGINGFACE_HUB_CACHE before), else
 * HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. */
static char *cache_folder(struct error *err) {
    struct text path = {0};
    const char *hub = setting("HF_HUB_CACHE");
    const char *home = setting("HF_HOME"), *caches = setting("XDG_CACHE_HOME");
    if (!hub) hub = setting("HUGGINGFACE_HUB_CACHE");
    if (hub) {
        append_folder(&path, hub);
    } else if (home) {
        append_folder(&path, home);
        text_append_string(&path, "/hub");
    } else {
        append_folder(&path, caches ? caches : "~/.cache");
        text_append_string(&path, "/huggingface/hub");
    }
    return text_take(&path, "the cache's folder", err);
}

/* CACHE/models--ORGANISATION--NAME */
static char *repository_folder(const char *cache, const char *name, struct error *err) {
    struct text path = {0};
    text_format(&path, "%s/models--", cache);
    for (const char *c = name; *c; c++) text_append(&path, *c == '/' ? "--" : c, *c == '/' ? 2 : 1);
    return text_take(&path, "a folder's name", err);
}

/* The snapshot that refs/main names; *snapshot stays NULL when there is none. */
static enum status main_snapshot(const char *repository, char **snapshot, struct error *err) {
    enum { REF_LIMIT = 256 };
    struct error ignored;
    struct text path = {0};
    char *hash = NULL;
    size_t length;
    char *ref = file_join(repository, "refs/main", err);
    if (!ref) return STATUS_FAILED;
    enum status read = file_read(ref, REF_LIMIT, &hash, &length, &ignored);
    free(ref);
    if (read != STATUS_OK) return STATUS_OK;

    hash[strcspn(hash, "\r\n \t")] = '\0';
    bool usable = *hash && hash[0] != '.' && !strchr(hash, '/');
    text_format(&path, "%s/snapshots/%s", repository, hash);
    free(hash);
    char *folder = text_take(&path, "a folder's name", err);
    if (!folder) return STATUS_FAILED;
    if (usable && is_folder(folder))
        *snapshot = folder;
    else
        free(folder);
    return STATUS_OK;
}

/* Puts the folder in *newest, with its time in *when, if it changed after that. Takes the path over. */
static void keep_newer(char *path, char **newest, struct timespec *when) {
    struct stat info;
    bool later = stat(path, &info) == 0 && S_ISDIR(info.st_mode) &&
                 (!*newest || info.st_mtim.tv_sec > when->tv_sec ||
                  (info.st_mtim.tv_sec == when->tv_sec && info.st_mtim.tv_nsec > when->tv_nsec));
    if (later) {
        free(*newest);
        *newest = path;
        *when = info.st_mtim;
    } else {
        free(path);
    }
}

/* The snapshot folder changed last; *snapshot stays NULL when there is none. */
static enum status newest_snapshot(const char *repository, char **snapshot, struct error *err) {
    enum status status = STATUS_OK;
    struct timespec when = {0};
    char *folder = file_join(repository, "snapshots", err);
    if (!folder) return STATUS_FAILED;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') continue;
        char *path = file_join(folder, entry->d_name, err);
        if (!path) {
            status = STATUS_FAILED;
            break;
        }
        keep_newer(path, snapshot, &when);
    }
    if (listing) closedir(listing);
    free(folder);
    return status;
}

/* A snapshot is of use only with its config.json: a broken download lacks it, or its link dangles. */
static enum status check_snapshot(const char *snapshot, const char *name, struct error *err) {
    char *config = file_join(snapshot, "config.json", err);
    if (!config) return STATUS_FAILED;
    bool there = access(config, R_OK) == 0;
    free(config);
    if (there) return STATUS_OK;
    return error_set(err,
                     "%s: no config.json there: the download of %s is incomplete; repeat it with: "
                     "hf download %s",
                     snapshot, name, name);
}

static enum status find_in_cache(const char *name, char **snapshot, struct error *err) {
    enum status status = STATUS_FAILED;
    char *repository = NULL;
    char *cache = cache_folder(err);
    if (!cache) return STATUS_FAILED;
    repository = repository_folder(cache, name, err);
    if (!repository || main_snapshot(repository, snapshot, err) != STATUS_OK) goto err;
    if (!*snapshot && newest_snapshot(repository, snapshot, err) != STATUS_OK) goto err;
    if (!*snapshot) {
        error_set(err,
                  "%s: no such folder, and not in the Hugging Face cache %s; download it with: hf download "
                  "%s (older: huggingface-cli download %s)",
                  name, cache, name, name);
        goto err;
    }
    status = check_snapshot(*snapshot, name, err);
err:
    free(repository);
    free(cache);
    return status;
}

char *hub_find(const char *name, struct error *err) {
    if (is_folder(name)) return memory_text(name, strlen(name), "a folder's name", err);
    if (access(name, F_OK) == 0) {
        error_set(err, "%s: not a folder; a model is a folder with config.json and model.safetensors", name);
        return NULL;
    }
    if (!is_repository_name(name)) {
        error_set(err, "%s: no such folder", *name ? name : "''");
        return NULL;
    }
    char *snapshot = NULL;
    if (find_in_cache(name, &snapshot, err) != STATUS_OK) {
        free(snapshot);
        return NULL;
    }
    return snapshot;
}
