#include "eval/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

enum { LARGEST_FILE = 1 << 30 };

enum status score_jobs_add(struct score_jobs *jobs, const char *video, const char *prompt,
                           struct error *err) {
    enum status status =
        memory_grow(&jobs->list, &jobs->capacity, jobs->count + 1, sizeof *jobs->list, "jobs", err);
    if (status != STATUS_OK) return status;
    struct score_job *job = &jobs->list[jobs->count];
    job->video = memory_text(video, strlen(video), "jobs", err);
    job->prompt = memory_text(prompt, strlen(prompt), "jobs", err);
    job->stream = (uint32_t)jobs->count;
    jobs->count++; /* freed with the rest, whole or not */
    return job->video && job->prompt ? STATUS_OK : STATUS_FAILED;
}

enum status score_jobs_add_item(struct score_jobs *jobs, const struct benchmark_items *items, size_t item,
                                const char *folder, struct error *err) {
    char *path = benchmark_item_path(&items->list[item], folder, err);
    if (!path) return STATUS_FAILED;
    enum status status = score_jobs_add(jobs, path, items->list[item].prompt, err);
    if (status == STATUS_OK) jobs->list[jobs->count - 1].stream = (uint32_t)item;
    free(path);
    return status;
}

/* Adds the job of one line; `place` is "FILE:LINE". */
static enum status add_line(const char *line, size_t length, const char *media_dir, const char *place,
                            struct score_jobs *jobs, struct error *err) {
    const char *video, *prompt;
    char *path = NULL;
    enum status status = STATUS_FAILED;
    json_t *row = json_read_text(line, length, place, err);
    if (!row) return STATUS_FAILED;
    if (!json_is_object(row)) {
        error_set(err, "%s: not an object {\"video\": ..., \"prompt\": ...}", place);
        goto err;
    }
    if (json_get_string(row, "video", NULL, &video, place, err) != STATUS_OK ||
        json_get_string(row, "prompt", NULL, &prompt, place, err) != STATUS_OK)
        goto err;
    if (!video || !*video || !prompt) {
        error_set(err, "%s: no \"%s\"", place, prompt ? "video" : "prompt");
        goto err;
    }
    if (media_dir && *video != '/' && !(path = file_join(media_dir, video, err))) goto err;
    status = score_jobs_add(jobs, path ? path : video, prompt, err);
err:
    free(path);
    json_decref(row);
    return status;
}

enum status score_jobs_read(const char *path, const char *media_dir, struct score_jobs *jobs,
                            struct error *err) {
    char *text, *place = NULL;
    size_t length;
    enum status status = file_read(path, LARGEST_FILE, &text, &length, err);
    if (status != STATUS_OK) return status;
    size_t number = 0, start = length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    while (start < length && status == STATUS_OK) {
        const char *end = memchr(text + start, '\n', length - start);
        size_t size = end ? (size_t)(end - text) - start : length - start;
        number++;
        if (strspn(text + start, " \t\r") < size) {
            free(place);
            if (asprintf(&place, "%s:%zu", path, number) < 0) {
                place = NULL;
                status = error_set(err, "%s: out of memory", path);
            } else {
                status = add_line(text + start, size, media_dir, place, jobs, err);
            }
        }
        start += size + 1;
    }
    if (status == STATUS_OK && !jobs->count) status = error_set(err, "%s: no video in it", path);
    free(place);
    free(text);
    return status;
}

void score_jobs_free(struct score_jobs *jobs) {
    for (size_t i = 0; i < jobs->count; i++) {
        free(jobs->list[i].video);
        free(jobs->list[i].prompt);
    }
    free(jobs->list);
    *jobs = (struct score_jobs){0};
}
