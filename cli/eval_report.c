/* vs2-eval report: one HTML file on result files. */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/progress.h"
#include "cli/eval.h"
#include "cli/eval_files.h"
#include "cli/options.h"
#include "eval/report.h"

struct report_options {
    struct eval_files_options files;
    const char *videos, *output;
    int64_t thumbnails;
    bool quiet;
};

static const struct option_spec options[] = {
    {.name = "output",
     .letter = 'o',
     .argument = "FILE",
     .help = "the HTML file",
     .kind = OPTION_STRING,
     .required = true,
     .offset = offsetof(struct report_options, output)},
    {.kind = OPTION_TABLE, .table = eval_files_table, .offset = offsetof(struct report_options, files)},
    {.name = "videos",
     .argument = "DIR",
     .help = "the folder of the videos, to show frames of them",
     .standard = "no frames",
     .kind = OPTION_STRING,
     .offset = offsetof(struct report_options, videos)},
    {.name = "thumbnails",
     .argument = "N",
     .help = "show frames of so many videos at most, those with the largest errors; 10 to 40 KB each",
     .standard = "100",
     .kind = OPTION_INTEGER,
     .high = 1e9,
     .offset = offsetof(struct report_options, thumbnails)},
    {.name = "quiet",
     .help = "show no progress",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct report_options, quiet)},
    {0}};

static const struct program program = {
    .name = "vs2-eval",
    .command = "report",
    .synopsis = "[OPTION]... RES.json... -o report.html",
    .summary = "Draws a report on result files, without a model: one HTML file with their metrics beside the "
               "published ones and each other, charts, and every video with what is wrong with its scores. "
               "Of several files the first is what the others are compared with.",
    .examples = "  vs2-eval report --benchmark videoscore-bench-v2 res.json -o report.html\n"
                "  vs2-eval report --benchmark videophy2 --videos clips sft.json grpo.json -o report.html\n",
    .options = options,
    .operands = REPORT_FILES_MOST,
};

static void show_progress(void *context, int64_t done, int64_t total) {
    progress_show(context, "frames of videos", done, total, NULL, 0, false);
}

/* What the user should know of the report. */
static void tell(const char *path, const struct report_summary *summary, struct progress *progress) {
    progress_message(progress, "%s: %zu videos, %zu with frames", path, summary->videos, summary->pictures);
    if (summary->unreadable)
        progress_message(progress, "%zu videos could not be read; the first: %s", summary->unreadable,
                         summary->problem.message);
}

static enum status write_report(const struct results *files, size_t count, const char *path,
                                struct report_settings *settings, bool quiet, struct error *err) {
    struct report_summary summary;
    struct text html = {0};
    struct progress *progress = progress_new(quiet ? NULL : stderr, false, err);
    if (!progress) return STATUS_FAILED;
    settings->progress = show_progress;
    settings->progress_context = progress;
    enum status status = report_append(&html, files, count, settings, &summary, err);
    if (status == STATUS_OK) status = file_write(path, html.data, html.length, err);
    if (status == STATUS_OK) tell(path, &summary, progress);
    progress_free(progress);
    text_free(&html);
    return status;
}

static enum status make_report(const struct report_options *wish, char **paths, size_t count,
                               struct error *err) {
    struct eval_files files;
    enum status status = eval_files_read(&wish->files, paths, count, &files, err);
    struct report_settings settings = {.benchmark = files.benchmark,
                                       .pairs = files.pairs,
                                       .seed = files.seed,
                                       .videos = wish->videos,
                                       .thumbnails = wish->thumbnails};
    if (status == STATUS_OK)
        status = write_report(files.list, files.count, wish->output, &settings, wish->quiet, err);
    eval_files_free(&files);
    return status;
}

int eval_report(int argc, char **argv) {
    struct report_options wish = {.thumbnails = 100};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &wish, &first, &finished, &err);
    if (status == STATUS_OK && !finished)
        status = make_report(&wish, argv + first, (size_t)(argc - first), &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
