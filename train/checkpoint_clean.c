/* Names: which folders are complete checkpoints, how they come to be, and what remains of killed processes.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/memory.h"
#include "train/checkpoint_parts.h"

const char checkpoint_final_ready[] = "final.ready";
static const char final_moving[] = "final.moving";

enum { STATE_LIMIT = 256 << 20, NAME_SIZE = 300 };

/* ---- Complete ones ----------------------------------------------------------------------------------- */

static enum status check_sizes(const char *folder, const json_t *sizes, struct error *err) {
    const char *name;
    json_t *size;
    if (!json_is_object(sizes)) return error_set(err, "%s: its state lists no files", folder);
    json_object_foreach((json_t *)sizes, name, size) {
        struct stat info;
        char *path = file_join(folder, name, err);
        if (!path) return STATUS_FAILED;
        enum status status = STATUS_OK;
        if (stat(path, &info) != 0)
            status = error_set(err, "%s: %s", path, strerror(errno));
        else if (info.st_size != json_integer_value(size))
            status = error_set(err, "%s: %lld bytes, not the %lld that were written", path,
                               (long long)info.st_size, (long long)json_integer_value(size));
        free(path);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

enum status checkpoint_complete(const char *folder, json_t **state, struct error *err) {
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s/%s", checkpoint_state_folder, checkpoint_state_file);
    char *path = file_join(folder, name, err);
    if (!path) return STATUS_FAILED;
    *state = json_read_file(path, STATE_LIMIT, err);
    long long format = 0;
    enum status status = *state ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK)
        status =
            json_get_integer(*state, "format", CHECKPOINT_FORMAT, CHECKPOINT_FORMAT, 0, &format, path, err);
    if (status == STATUS_OK && format != CHECKPOINT_FORMAT)
        status = error_set(err, "%s: it has no format number", path);
    if (status == STATUS_OK) status = check_sizes(folder, json_object_get(*state, "files"), err);
    free(path);
    if (status == STATUS_OK) return STATUS_OK;
    json_decref(*state);
    *state = NULL;
    return status;
}

/* The step of "checkpoint-N", or -1. */
static int64_t step_of(const char *name) {
    long long step;
    int length = 0;
    if (sscanf(name, "checkpoint-%18lld%n", &step, &length) != 1 || name[length] != 0 || step < 0) return -1;
    return step;
}

/* When a checkpoint was written: by the number that its state has for it, as steps begin again where a run
 * goes on from an older one, and times of folders are lost in copies. Older checkpoints have none, and come
 * before: by their folder's last change, and their step. */
struct age {
    int64_t saves;
    struct timespec when;
    int64_t step;
};

static bool is_later(struct age a, struct age b) {
    if (a.saves != b.saves) return a.saves > b.saves;
    if (a.when.tv_sec != b.when.tv_sec) return a.when.tv_sec > b.when.tv_sec;
    if (a.when.tv_nsec != b.when.tv_nsec) return a.when.tv_nsec > b.when.tv_nsec;
    return a.step > b.step;
}

/* The number of the checkpoint at PATH; 0: it has none, or is not complete. */
static int64_t read_saves(const char *path) {
    struct error ignored;
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s/%s", checkpoint_state_folder, checkpoint_state_file);
    char *file = file_join(path, name, &ignored);
    json_t *state = file ? json_read_file(file, STATE_LIMIT, &ignored) : NULL;
    int64_t saves = json_integer_value(json_object_get(state, "saves"));
    json_decref(state);
    free(file);
    return saves > 0 ? saves : 0;
}

/* Whether NAME in the folder is called as a checkpoint; *age is its age then. */
static bool find_age(const char *output_dir, const char *name, struct age *age) {
    struct error ignored;
    struct stat info;
    age->step = step_of(name);
    if (age->step < 0) return false;
    char *path = file_join(output_dir, name, &ignored);
    bool found = path && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (found) *age = (struct age){read_saves(path), info.st_mtim, age->step};
    free(path);
    return found;
}

int64_t checkpoint_last_save(const char *output_dir) {
    struct error ignored;
    struct folder_names list;
    struct age age;
    int64_t last = 0;
    if (folder_list(output_dir, &list, &ignored) != STATUS_OK) return 0;
    for (size_t i = 0; i < list.count; i++)
        if (find_age(output_dir, list.names[i], &age) && age.saves > last) last = age.saves;
    folder_names_free(&list);
    return last;
}

static bool is_complete(const char *folder, struct text *notes) {
    struct error why;
    json_t *state = NULL;
    bool complete = checkpoint_complete(folder, &state, &why) == STATUS_OK;
    json_decref(state);
    if (!complete && notes) text_format(notes, "passed over %s: %s\n", folder, why.message);
    return complete;
}

enum status checkpoint_find(const char *output_dir, char **folder, struct text *notes, struct error *err) {
    struct folder_names list;
    struct age newest = {0}, age;
    enum status status = STATUS_OK;
    *folder = NULL;
    if (access(output_dir, F_OK) != 0) return STATUS_OK;
    if (folder_list(output_dir, &list, err) != STATUS_OK) return STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < list.count; i++) {
        if (!find_age(output_dir, list.names[i], &age)) continue;
        char *path = file_join(output_dir, list.names[i], err);
        if (!path) {
            status = STATUS_FAILED;
        } else if (is_complete(path, notes) && (!*folder || is_later(age, newest))) {
            free(*folder);
            *folder = path;
            newest = age;
            path = NULL;
        }
        free(path);
    }
    folder_names_free(&list);
    return status;
}

/* ---- Names ------------------------------------------------------------------------------------------- */

/* OUTPUT_DIR/NAME.KIND-PID; free() it. */
static char *aside(const char *output_dir, const char *name, const char *kind, struct error *err) {
    char text[NAME_SIZE];
    snprintf(text, sizeof text, "%s.%s-%ld", name, kind, (long)getpid());
    return file_join(output_dir, text, err);
}

/* Takes a folder out of the way in one step, then removes it. */
static enum status discard(const char *output_dir, const char *name, struct error *err) {
    char *path = file_join(output_dir, name, err), *old = aside(output_dir, name, "old", err);
    enum status status = path && old ? folder_rename(path, old, err) : STATUS_FAILED;
    if (status == STATUS_OK) status = folder_remove(old, err);
    free(path);
    free(old);
    return status;
}

enum status checkpoint_publish(const char *output_dir, const char *written, const char *name,
                               struct error *err) {
    char *path = file_join(output_dir, name, err), *old = aside(output_dir, name, "old", err);
    enum status status = path && old ? STATUS_OK : STATUS_FAILED;
    bool replaces = status == STATUS_OK && access(path, F_OK) == 0;
    if (replaces) status = folder_rename(path, old, err);
    if (status == STATUS_OK) status = folder_rename(written, path, err);
    if (status == STATUS_OK && replaces) status = folder_remove(old, err);
    free(path);
    free(old);
    return status;
}

/* The name of the checkpoint written first of those that are not of step `keep`, empty when there is none;
 * returns how many there are in all. */
static int64_t find_oldest(const char *output_dir, const struct folder_names *list, int64_t keep,
                           char oldest[NAME_SIZE]) {
    struct age least = {0}, age;
    int64_t count = 0;
    oldest[0] = '\0';
    for (size_t i = 0; i < list->count; i++) {
        if (!find_age(output_dir, list->names[i], &age)) continue;
        count++;
        if (age.step == keep || (oldest[0] && !is_later(least, age))) continue;
        least = age;
        snprintf(oldest, NAME_SIZE, "%s", list->names[i]);
    }
    return count;
}

enum status checkpoint_limit(const char *output_dir, int64_t limit, int64_t keep, struct error *err) {
    while (limit > 0) {
        struct folder_names list;
        char oldest[NAME_SIZE];
        if (folder_list(output_dir, &list, err) != STATUS_OK) return STATUS_FAILED;
        int64_t count = find_oldest(output_dir, &list, keep, oldest);
        folder_names_free(&list);
        if (count <= limit || !oldest[0]) return STATUS_OK;
        if (discard(output_dir, oldest, err) != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* ---- The final model --------------------------------------------------------------------------------- */

static bool is_weights(const char *name) {
    size_t length = strlen(name);
    return strncmp(name, "model", 5) == 0 && length > 12 && strcmp(name + length - 12, ".safetensors") == 0;
}

static bool has_name(const struct folder_names *list, const char *name) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0) return true;
    return false;
}

/* Weights of another division, and an index, would be read with the new files: they go first. */
static enum status remove_stale(const char *output_dir, const struct folder_names *fresh, struct error *err) {
    static const char index_name[] = "model.safetensors.index.json";
    struct folder_names list;
    if (folder_list(output_dir, &list, err) != STATUS_OK) return STATUS_FAILED;
    bool divided = has_name(&list, index_name) || has_name(fresh, index_name);
    enum status status = STATUS_OK;
    for (int weights = 0; weights < 2 && divided; weights++)
        for (size_t i = 0; status == STATUS_OK && i < list.count; i++) {
            bool stale = weights ? is_weights(list.names[i]) : strcmp(list.names[i], index_name) == 0;
            if (!stale) continue;
            char *path = file_join(output_dir, list.names[i], err);
            if (!path || (unlink(path) != 0 && errno != ENOENT))
                status = path ? error_set(err, "%s: %s", path, strerror(errno)) : STATUS_FAILED;
            free(path);
        }
    folder_names_free(&list);
    return status;
}

static enum status move_into(const char *output_dir, const char *ready, const char *name, struct error *err) {
    char *from = file_join(ready, name, err), *to = file_join(output_dir, name, err);
    enum status status = from && to ? folder_rename(from, to, err) : STATUS_FAILED;
    free(from);
    free(to);
    return status;
}

/* Moves what is still in OUTPUT_DIR/final.moving, the configuration and the index last. */
static enum status move_files(const char *output_dir, struct error *err) {
    static const char *const last[] = {"config.json", "model.safetensors.index.json"};
    struct folder_names list = {0};
    char *moving = file_join(output_dir, final_moving, err);
    enum status status = moving ? folder_list(moving, &list, err) : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < list.count; i++)
        if (strcmp(list.names[i], last[0]) != 0 && strcmp(list.names[i], last[1]) != 0)
            status = move_into(output_dir, moving, list.names[i], err);
    for (size_t i = 0; status == STATUS_OK && i < 2; i++)
        if (has_name(&list, last[i])) status = move_into(output_dir, moving, last[i], err);
    if (status == STATUS_OK) status = folder_remove(moving, err);
    folder_names_free(&list);
    free(moving);
    return status;
}

enum status checkpoint_move_final(const char *output_dir, struct error *err) {
    struct folder_names list = {0};
    char *ready = file_join(output_dir, checkpoint_final_ready, err);
    char *moving = file_join(output_dir, final_moving, err);
    enum status status = ready && moving ? STATUS_OK : STATUS_FAILED;
    /* Stale weights go while all new ones stand here; once the folder has its second name they are gone. */
    if (status == STATUS_OK && access(ready, F_OK) == 0) {
        status = folder_list(ready, &list, err);
        if (status == STATUS_OK) status = remove_stale(output_dir, &list, err);
        if (status == STATUS_OK) status = folder_rename(ready, moving, err);
    }
    if (status == STATUS_OK && access(moving, F_OK) == 0) status = move_files(output_dir, err);
    folder_names_free(&list);
    free(ready);
    free(moving);
    return status;
}

/* ---- What killed processes left ---------------------------------------------------------------------- */

/* Whether NAME ends in ".KIND-PID" of a process that is no more, or of this one, which has just begun. A
 * process that was killed has a number for a while. */
static bool is_left(const char *name, const char *kind, bool alone, size_t *stem) {
    char mark[16];
    snprintf(mark, sizeof mark, ".%s-", kind);
    const char *at = strstr(name, mark);
    if (!at) return false;
    char *end;
    long pid = strtol(at + strlen(mark), &end, 10);
    *stem = (size_t)(at - name);
    if (*end || pid <= 0) return false;
    return alone || pid == (long)getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

static enum status clean_one(const char *output_dir, const char *name, bool alone, struct error *err) {
    size_t stem;
    char *path = file_join(output_dir, name, err);
    if (!path) return STATUS_FAILED;
    enum status status = STATUS_OK;
    if (is_left(name, "tmp", alone, &stem)) {
        status = folder_remove(path, err);
    } else if (is_left(name, "old", alone, &stem)) {
        char *text = memory_text(name, stem, "a name", err);
        char *original = text ? file_join(output_dir, text, err) : NULL;
        if (!original)
            status = STATUS_FAILED;
        else if (access(original, F_OK) == 0 || step_of(text) < 0)
            status = folder_remove(path, err);
        else
            status = folder_rename(path, original, err);
        free(original);
        free(text);
    }
    free(path);
    return status;
}

enum status checkpoint_clean(const char *output_dir, bool alone, struct error *err) {
    struct folder_names list;
    if (access(output_dir, F_OK) != 0) return STATUS_OK;
    if (folder_list(output_dir, &list, err) != STATUS_OK) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < list.count; i++)
        status = clean_one(output_dir, list.names[i], alone, err);
    if (status == STATUS_OK) status = checkpoint_move_final(output_dir, err);
    folder_names_free(&list);
    return status;
}
