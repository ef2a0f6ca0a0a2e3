/* A folder of pictures as a video: its picture files in natural order (frame2 before frame10). */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/video_source.h"

enum { MAX_FILES = 1 << 20 };

struct folder {
    char *path;
    char **names;
    size_t count, capacity;
};

static void close_folder(void *state) {
    struct folder *folder = state;
    for (size_t i = 0; i < folder->count; i++) free(folder->names[i]);
    free(folder->names);
    free(folder->path);
    free(folder);
}

static bool is_picture_name(const char *name) {
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".webp", ".bmp",
                                          ".gif", ".tif", ".tiff", ".ppm"};
    const char *ending = strrchr(name, '.');
    if (!ending || name[0] == '.') return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (!strcasecmp(ending, endings[i])) return true;
    return false;
}

static size_t digits(const char *text) {
    size_t length = 0;
    while (isdigit((unsigned char)text[length])) length++;
    return length;
}

/* Runs of digits by their value, all else by bytes; equal in that, by bytes throughout. */
static int compare_natural(const char *a, const char *b) {
    const char *left = a;
    const char *right = b;
    while (*left && *right) {
        if (isdigit((unsigned char)*left) && isdigit((unsigned char)*right)) {
            while (*left == '0') left++;
            while (*right == '0') right++;
            size_t length = digits(left);
            size_t other = digits(right);
            if (length != other) return length < other ? -1 : 1;
            int order = strncmp(left, right, length);
            if (order) return order;
            left += length;
            right += length;
        } else {
            if (*left != *right) return (unsigned char)*left < (unsigned char)*right ? -1 : 1;
            left++;
            right++;
        }
    }
    if (*left || *right) return *left ? 1 : -1;
    return strcmp(a, b);
}

static int compare_names(const void *a, const void *b) {
    return compare_natural(*(char *const *)a, *(char *const *)b);
}

static enum status list_names(struct folder *folder, struct error *err) {
    DIR *directory = opendir(folder->path);
    if (!directory) return error_set(err, "%s: %s", folder->path, strerror(errno));
    enum status status = STATUS_OK;
    const struct dirent *entry;
    while (!status && (entry = readdir(directory))) { // NOLINT(concurrency-mt-unsafe): one reader each
        if (!is_picture_name(entry->d_name)) continue;
        if (folder->count >= MAX_FILES)
            status = error_set(err, "%s: more than %d pictures", folder->path, MAX_FILES);
        else
            status = memory_grow(&folder->names, &folder->capacity, folder->count + 1, sizeof *folder->names,
                                 "file names", err);
        if (status) break;
        char *name = memory_text(entry->d_name, strlen(entry->d_name), "a file name", err);
        if (!name) status = STATUS_FAILED;
        if (name) folder->names[folder->count++] = name;
    }
    closedir(directory);
    if (!status && folder->count == 0)
        status = error_set(err, "%s: there are no pictures in it", folder->path);
    if (!status) qsort(folder->names, folder->count, sizeof *folder->names, compare_names);
    return status;
}

static enum status read_frame(const struct folder *folder, int64_t index, struct picture *picture,
                              struct error *err) {
    struct text path = {0};
    text_format(&path, "%s/%s", folder->path, folder->names[index]);
    char *name = text_take(&path, "a file name", err);
    if (!name) return STATUS_FAILED;
    enum status status = picture_read(name, picture, err);
    free(name);
    return status;
}

static enum status open_folder(const char *path, const struct video_options *options, void **state,
                               struct video_info *info, struct error *err) {
    (void)options;
    struct folder *folder = memory_new(1, sizeof *folder, "a video", err);
    if (!folder) return STATUS_FAILED;
    folder->path = memory_text(path, strlen(path), "a file name", err);
    if (!folder->path || list_names(folder, err)) goto err;

    struct picture first;
    if (read_frame(folder, 0, &first, err)) goto err;
    info->size = first.size;
    picture_free(&first);
    info->frames = info->stated_frames = (int64_t)folder->count;
    *state = folder;
    return STATUS_OK;
err:
    close_folder(folder);
    return STATUS_FAILED;
}

static enum status decode_folder(void *state, const int64_t *indices, int64_t count, video_sink *sink,
                                 void *context, int64_t *frames, struct error *err) {
    const struct folder *folder = state;
    *frames = (int64_t)folder->count;
    for (int64_t i = 0; i < count; i++) {
        if (i > 0 && indices[i] == indices[i - 1]) continue;
        struct picture picture;
        if (read_frame(folder, indices[i], &picture, err)) return STATUS_FAILED;
        enum status status = sink(context, indices[i], &picture, err);
        picture_free(&picture);
        if (status) return status;
    }
    return STATUS_OK;
}

const struct video_source video_folder_source = {
    .open = open_folder, .decode = decode_folder, .close = close_folder};
