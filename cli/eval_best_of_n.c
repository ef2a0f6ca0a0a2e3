/* vs2-eval best-of-n: the best video of each prompt, from result rows, or from the videos. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/folder.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/eval.h"
#include "cli/eval_score.h"
#include "cli/options.h"
#include "cli/scoring.h"
#include "eval/best_of_n.h"

struct best_settings {
    const char *prompts, *videos, *output, *gain, *model, *scored;
    int score;
    int64_t group_size;
    struct scoring scoring;
};

static const struct option_spec options[] = {
    {.name = "prompts",
     .argument = "FILE",
     .help = "{\"idx\": GROUP, \"text\": PROMPT} a line: rows belong to the group of their prompt",
     .standard = "the group is the second field of a video's name: 12 of model_0012_3.mp4",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, prompts)},
    {.name = "videos",
     .argument = "DIR",
     .help = "the videos of this folder whose names tell their group: scored with --model; without, printed "
             "as {\"video\", \"prompt\"} a line for vs2-score --input; needs --prompts",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, videos)},
    {.name = "score",
     .argument = "KIND",
     .help = "which scores of a row count: as-written, hard or float, as in vs2-eval metrics",
     .standard = "as-written",
     .kind = OPTION_CHOICE,
     .choices = score_kinds,
     .offset = offsetof(struct best_settings, score)},
    {.name = "group-size",
     .argument = "N",
     .help = "leave groups of another size out",
     .kind = OPTION_INTEGER,
     .low = 1,
     .high = 1e9,
     .offset = offsetof(struct best_settings, group_size)},
    {.name = "output",
     .argument = "FILE",
     .help = "write the picks there",
     .standard = "stdout",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, output)},
    {.name = "gain",
     .argument = "FILE",
     .help = "write what the picks are worth there, as JSON",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, gain)},
    {.kind = OPTION_TITLE, .help = "Scoring the videos first"},
    {.name = "model",
     .argument = "DIR",
     .help = "checkpoint folder, or a hub name in the local Hugging Face cache",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, model)},
    {.name = "scored",
     .argument = "RES.json",
     .help = "the rows of the scored videos; what was begun there goes on",
     .kind = OPTION_STRING,
     .offset = offsetof(struct best_settings, scored)},
    {.kind = OPTION_TABLE, .table = scoring_options, .offset = offsetof(struct best_settings, scoring)},
    {0}};

static const struct program program = {
    .name = "vs2-eval",
    .command = "best-of-n",
    .synopsis =
        "[OPTION]... RES.json\n--model DIR --videos DIR --prompts FILE --scored RES.json [OPTION]...\n"
        "--videos DIR --prompts FILE",
    .summary =
        "Picks the video with the highest mean score of each prompt. With ground truth in the rows it says "
        "on stderr how much the picks gain over random ones, and how near they come to the best possible.",
    .examples = "  vs2-eval best-of-n res.json --output picks.json\n"
                "  vs2-eval best-of-n res.jsonl --group-size 5\n"
                "  vs2-eval best-of-n --model out/grpo --videos clips --prompts prompts.jsonl \\\n"
                "      --scored res.json --output picks.json\n",
    .options = options,
    .operands = 1,
};

/* ---- Files ------------------------------------------------------------------------------------------- */

/* To a file, or to stdout when there is no path; takes the JSON along. */
static enum status put_json(json_t *json, const char *path, struct error *err) {
    enum status status = STATUS_FAILED;
    char *for_folder = NULL, *for_name = NULL;
    struct text text = {0};
    if (path) {
        for_folder = memory_text(path, strlen(path), "a path", err);
        for_name = memory_text(path, strlen(path), "a path", err);
        if (for_folder && for_name)
            status = json_write_file(dirname(for_folder), basename(for_name), json, err);
    } else {
        json_append(&text, json, true);
        text_append_string(&text, "\n");
        status = text_check(&text, "the picks", err);
        if (status == STATUS_OK) fwrite(text.data, 1, text.length, stdout);
    }
    text_free(&text);
    free(for_folder);
    free(for_name);
    json_decref(json);
    return status;
}

/* ---- The three uses ---------------------------------------------------------------------------------- */

static enum status print_jobs(const char *folder, const struct group_prompts *prompts, struct error *err) {
    struct score_jobs jobs = {0};
    struct text lines = {0};
    enum status status = group_jobs_read(folder, prompts, &jobs, err);
    for (size_t i = 0; i < jobs.count && status == STATUS_OK; i++) {
        json_t *job = json_pack("{s:s, s:s}", "video", jobs.list[i].video, "prompt", jobs.list[i].prompt);
        if (!job)
            status = error_set(err, "%s: the name is not UTF-8, or memory is short", jobs.list[i].video);
        json_append(&lines, job, false);
        text_append_string(&lines, "\n");
        json_decref(job);
    }
    if (status == STATUS_OK) status = text_check(&lines, "the list of videos", err);
    if (status == STATUS_OK) fwrite(lines.data, 1, lines.length, stdout);
    text_free(&lines);
    score_jobs_free(&jobs);
    return status;
}

static void tell_gain(const struct best_of_n_gain *gain) {
    if (!gain->groups) return;
    const double room = gain->possible - gain->random;
    fprintf(stderr, "%zu groups with ground truth: picked %.3f, a random one %.3f, the best %.3f",
            gain->groups, gain->picked, gain->random, gain->possible);
    if (room > 0)
        fprintf(stderr, "; %+.3f, %.1f%% of the way", gain->picked - gain->random,
                100 * (gain->picked - gain->random) / room);
    fprintf(stderr, "; the best in %.1f%% of them, a random one in %.1f%%\n", 100 * gain->hits,
            100 * gain->random_hits);
}

static enum status pick_best(const char *path, const struct best_settings *settings,
                             const struct group_prompts *prompts, struct error *err) {
    struct results results;
    struct best_of_n best = {0};
    enum status status = results_read(path, NULL, (enum score_kind)settings->score, &results, err);
    if (status != STATUS_OK) return status;
    status = best_of_n_make(&results, prompts, settings->group_size, &best, err);
    if (status == STATUS_OK) {
        const struct best_of_n_gain gain = best_of_n_gain(&best);
        if (best.left_out) fprintf(stderr, "%zu groups of another size left out\n", best.left_out);
        tell_gain(&gain);
        status = put_json(best_of_n_json(&best), settings->output, err);
        if (status == STATUS_OK && settings->gain)
            status = put_json(best_of_n_gain_json(&gain), settings->gain, err);
    }
    best_of_n_free(&best);
    results_free(&results);
    return status;
}

/* Scores the folder's videos to the result file. *waiting: videos that other processes have. */
static enum status score_folder(const struct best_settings *settings, const struct group_prompts *prompts,
                                int64_t *waiting, struct error *err) {
    struct score_jobs jobs = {0};
    struct run_outcome outcome = {0};
    char *folder = benchmark_run_folder(settings->scored, err), *data = NULL;
    enum status status = folder ? folder_make(folder, err) : STATUS_FAILED;
    if (status == STATUS_OK && !(data = file_join(folder, "videos.jsonl", err))) status = STATUS_FAILED;
    if (status == STATUS_OK) status = group_jobs_read(settings->videos, prompts, &jobs, err);
    if (status == STATUS_OK) status = best_of_n_data_write(&jobs, data, err);
    struct benchmark_run run = {.benchmark = best_of_n_benchmark(),
                                .data = data,
                                .videos = settings->videos,
                                .output = settings->scored,
                                .scorer = scoring_settings(&settings->scoring, settings->model)};
    if (status == STATUS_OK) status = eval_score(&run, &outcome, err);
    *waiting = outcome.waiting;
    score_jobs_free(&jobs);
    free(data);
    free(folder);
    return status;
}

static enum status score_and_pick(const struct best_settings *settings, const struct group_prompts *prompts,
                                  struct error *err) {
    int64_t waiting;
    enum status status = score_folder(settings, prompts, &waiting, err);
    if (status != STATUS_OK) return status;
    if (waiting == 0) return pick_best(settings->scored, settings, prompts, err);
    fprintf(stderr, "%lld videos are left to other processes or calls\n", (long long)waiting);
    return STATUS_OK;
}

static enum status check_use(const struct best_settings *settings, bool file, struct error *err) {
    if (settings->videos && file) return error_usage(err, "either --videos or a result file, not both");
    if (settings->videos && !settings->prompts) return error_usage(err, "--videos needs --prompts");
    if (settings->model && (!settings->videos || !settings->scored))
        return error_usage(err, "--model needs --videos and --scored");
    if (settings->scored && !settings->model) return error_usage(err, "--scored needs --model");
    if (!settings->videos && !file) return error_usage(err, "no file is named");
    return STATUS_OK;
}

static enum status run(int argc, char **argv, int first, const struct best_settings *settings,
                       struct error *err) {
    struct group_prompts prompts = {0};
    enum status status = check_use(settings, first < argc, err);
    if (status == STATUS_OK && settings->prompts)
        status = group_prompts_read(settings->prompts, &prompts, err);
    if (status == STATUS_OK && settings->model)
        status = score_and_pick(settings, &prompts, err);
    else if (status == STATUS_OK && settings->videos)
        status = print_jobs(settings->videos, &prompts, err);
    else if (status == STATUS_OK)
        status = pick_best(argv[first], settings, settings->prompts ? &prompts : NULL, err);
    group_prompts_free(&prompts);
    return status;
}

int eval_best_of_n(int argc, char **argv) {
    struct best_settings settings = {.scoring = scoring_default()};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished) status = run(argc, argv, first, &settings, &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
