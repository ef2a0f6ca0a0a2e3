/* vs2-bench video: how fast videos become patches. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cli/bench.h"
#include "cli/options.h"
#include "data/prefetch.h"
#include "data/visual.h"

struct settings {
    const char *data, *media_dir;
    int policy;
    double fps;
    int64_t max_frames, max_pixels, repeat, threads;
};

static const struct option_spec option_table[] = {
    {.name = "data",
     .argument = "ROWS.json",
     .help = "rows that name videos: a JSON array, or an object a line",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, data),
     .required = true},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "folder that the videos' names start from",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, media_dir)},
    {.name = "frame-policy",
     .argument = "NAME",
     .help = "how frames are chosen and sized",
     .standard = "llamafactory",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, policy),
     .choices = visual_policy_names},
    {.name = "fps",
     .argument = "N",
     .help = "frames a second",
     .standard = "2",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, fps),
     .low = 0.001,
     .high = 1000},
    {.name = "max-frames",
     .argument = "N",
     .help = "frames of a video at most",
     .standard = "the policy's",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, max_frames),
     .low = 1,
     .high = 65536},
    {.name = "max-pixels",
     .argument = "N",
     .help = "pixels of a frame at most",
     .standard = "the policy's",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, max_pixels),
     .low = 1,
     .high = 1 << 26},
    {.name = "repeat",
     .argument = "N",
     .help = "times that every row is read",
     .standard = "1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, repeat),
     .low = 1,
     .high = 1 << 20},
    {.name = "threads",
     .argument = "N",
     .help = "videos read at once",
     .standard = "the number of cores",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, threads),
     .low = 1,
     .high = 1024},
    {0}};

static const struct program program = {
    .name = "vs2-bench",
    .command = "video",
    .synopsis = "--data ROWS.json [options]",
    .summary = "Measures how long a video takes from file to patches, and prints JSON.",
    .examples = "vs2-bench video --data rows.json --media-dir videos --fps 2 --max-frames 10 --repeat 20\n",
    .options = option_table,
};

struct job {
    const struct bench_rows *rows;
    struct visual_options options;
};

static enum status make(void *context, int64_t item, void **result, size_t *bytes, struct error *err) {
    const struct job *job = context;
    struct visual *visual = memory_new(1, sizeof *visual, "a video", err);
    if (!visual) return STATUS_FAILED;
    const char *path = job->rows->rows[(size_t)item % job->rows->count].video;
    if (visual_read_video(path, &job->options, visual, err)) {
        free(visual);
        return STATUS_FAILED;
    }
    *bytes = visual_bytes(visual);
    *result = visual;
    return STATUS_OK;
}

static void release(void *context, void *result) {
    (void)context;
    visual_free(result);
    free(result);
}

struct totals {
    int64_t frames, patches;
    double seconds;
};

static enum status measure(struct job *job, int64_t count, int threads, struct totals *totals,
                           struct error *err) {
    struct prefetch_work work = {.context = job, .make = make, .release = release};
    struct prefetch_limits limits = {.threads = threads};
    double start = clock_seconds();
    struct prefetch *prefetch = prefetch_start(&work, count, &limits, err);
    if (!prefetch) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (int64_t i = 0; !status && i < count; i++) {
        void *result;
        status = prefetch_next(prefetch, &result, err);
        if (status) break;
        const struct visual *visual = result;
        totals->frames += visual->index_count;
        totals->patches += visual->rows;
        release(job, result);
    }
    totals->seconds = clock_seconds() - start;
    prefetch_stop(prefetch);
    return status;
}

static void print(const struct settings *settings, const struct bench_rows *rows, int threads,
                  const struct totals *totals) {
    int64_t videos = (int64_t)rows->count * settings->repeat;
    printf("{\"rows\": %zu, \"repeat\": %" PRId64 ", \"threads\": %d, \"frame_policy\": \"%s\", "
           "\"frames_per_video\": %.2f, \"patches_per_video\": %.1f, \"seconds\": %.6f, "
           "\"seconds_per_video\": %.6f, \"videos_per_second\": %.3f, \"peak_memory_bytes\": %zu}\n",
           rows->count, settings->repeat, threads, visual_policy_names[settings->policy],
           (double)totals->frames / (double)videos, (double)totals->patches / (double)videos, totals->seconds,
           totals->seconds / (double)videos, (double)videos / totals->seconds, bench_peak_memory());
}

static enum status run(const struct settings *settings, struct error *err) {
    struct bench_rows rows;
    if (bench_rows_read(settings->data, settings->media_dir, &rows, err)) return STATUS_FAILED;
    struct job job = {.rows = &rows};
    job.options = visual_options_default(visual_policy_find(visual_policy_names[settings->policy]));
    job.options.fps = settings->fps;
    if (settings->max_frames) job.options.max_frames = settings->max_frames;
    if (settings->max_pixels) job.options.max_pixels = (double)settings->max_pixels;

    /* As many videos at once as there are cores; what is left over goes to the decoders' own threads. */
    int64_t count = (int64_t)rows.count * settings->repeat;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t threads = settings->threads ? settings->threads : cores;
    if (threads > count) threads = count;
    job.options.threads = cores > threads ? (int)(cores / threads) : 1;

    struct totals totals = {0};
    enum status status = measure(&job, count, (int)threads, &totals, err);
    if (!status) print(settings, &rows, (int)threads, &totals);
    bench_rows_free(&rows);
    return status;
}

int bench_video(int argc, char **argv) {
    struct settings settings = {.fps = 2.0, .repeat = 1};
    struct error err;
    int first;
    bool finished;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (finished && !status) return STATUS_OK;
    if (!status) status = run(&settings, &err);
    return status ? program_fail(&program, status, &err) : STATUS_OK;
}
