/* vs2-data stats: histograms of a data set's scores, lengths and videos. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cli/data.h"
#include "cli/data_rows.h"
#include "cli/options.h"
#include "data/frames.h"
#include "data/sample.h"
#include "data/statistics.h"
#include "eval/answer.h"

/* What is counted. */
enum quantity {
    VISUAL,
    ALIGNMENT,
    PHYSICAL,
    TOKENS,
    ANSWER_TOKENS,
    ANSWER_CHARACTERS,
    DURATION,
    FRAMES,
    TAKEN,
    QUANTITIES
};

static const struct {
    const char *name, *title;
} quantities[QUANTITIES] = {
    [VISUAL] = {"visual_score", "Visual quality (score)"},
    [ALIGNMENT] = {"t2v_score", "Text-to-video alignment (score)"},
    [PHYSICAL] = {"phy_score", "Physical consistency (score)"},
    [TOKENS] = {"tokens", "Tokens of a row"},
    [ANSWER_TOKENS] = {"answer_tokens", "Tokens of the answers"},
    [ANSWER_CHARACTERS] = {"answer_characters", "Bytes of the last answer"},
    [DURATION] = {"duration_seconds", "Length of a video (seconds)"},
    [FRAMES] = {"frames", "Frames of a video"},
    [TAKEN] = {"frames_taken", "Frames taken of a video"},
};

enum { TEXT, JSON };
static const char *const format_names[] = {"text", "json", NULL};

struct stats_settings {
    const char *dataset_dir, *media_dir, *model, *svg;
    double fps, max_pixels;
    int64_t max_frames, threads;
    int format;
    bool no_videos;
};

static const struct option_spec options[] = {{.name = "dataset-dir",
                                              .argument = "DIR",
                                              .help = "folder with dataset_info.json",
                                              .standard = "data",
                                              .kind = OPTION_STRING,
                                              .offset = offsetof(struct stats_settings, dataset_dir)},
                                             {.name = "media-dir",
                                              .argument = "DIR",
                                              .help = "folder that the videos' paths are relative to",
                                              .standard = "where the rows are",
                                              .kind = OPTION_STRING,
                                              .offset = offsetof(struct stats_settings, media_dir)},
                                             {.name = "model",
                                              .argument = "DIR",
                                              .help = "checkpoint folder: its tokenizer counts tokens",
                                              .standard = "tokens are not counted",
                                              .kind = OPTION_STRING,
                                              .offset = offsetof(struct stats_settings, model)},
                                             {.name = "svg",
                                              .argument = "FILE",
                                              .help = "draw the histograms there too",
                                              .kind = OPTION_STRING,
                                              .offset = offsetof(struct stats_settings, svg)},
                                             {.name = "format",
                                              .argument = "text|json",
                                              .help = "how to report",
                                              .standard = "text",
                                              .kind = OPTION_CHOICE,
                                              .offset = offsetof(struct stats_settings, format),
                                              .choices = format_names},
                                             {.name = "no-videos",
                                              .help = "leave the videos alone",
                                              .kind = OPTION_FLAG,
                                              .offset = offsetof(struct stats_settings, no_videos)},
                                             {.name = "threads",
                                              .argument = "N",
                                              .help = "videos that are opened side by side",
                                              .standard = "the number of cores",
                                              .kind = OPTION_INTEGER,
                                              .offset = offsetof(struct stats_settings, threads),
                                              .low = 1,
                                              .high = 1024},
                                             {.help = "Frames, as training takes them", .kind = OPTION_TITLE},
                                             {.name = "fps",
                                              .argument = "N",
                                              .help = "frames a second of video",
                                              .standard = "2",
                                              .kind = OPTION_NUMBER,
                                              .offset = offsetof(struct stats_settings, fps),
                                              .low = 0.01,
                                              .high = 1000},
                                             {.name = "max-frames",
                                              .argument = "N",
                                              .help = "frames of a video at most",
                                              .standard = "10",
                                              .kind = OPTION_INTEGER,
                                              .offset = offsetof(struct stats_settings, max_frames),
                                              .low = 1,
                                              .high = FRAMES_MAX},
                                             {.name = "max-pixels",
                                              .argument = "N",
                                              .help = "pixels of a video's frame at most",
                                              .standard = "691200",
                                              .kind = OPTION_NUMBER,
                                              .offset = offsetof(struct stats_settings, max_pixels),
                                              .low = 784,
                                              .high = 1e8},
                                             {0}};

static const struct program program = {
    .name = "vs2-data",
    .command = "stats",
    .synopsis = "[OPTION]... DATASET...",
    .summary =
        "Draws histograms of data sets, all of them together: scores, lengths of rows and answers, lengths "
        "and frames of videos. DATASET is a file of rows (JSON array or JSON lines), or a name in "
        "dataset_info.json. Videos are opened, not decoded; rows and videos that cannot be read are "
        "left out and counted.",
    .examples = "  vs2-data stats sft.json --svg stats.svg\n"
                "  vs2-data stats --dataset-dir data --model Qwen2.5-VL-7B-Instruct vs2_sft\n",
    .options = options,
    .operands = 1000,
};

struct stats {
    const struct stats_settings *settings;
    const struct dataset *dataset; /* the one that is read */
    struct sample_options sample;
    struct statistics values[QUANTITIES];
    int64_t rows, unreadable;
};

/* What one row gives; several values of a quantity where it has several videos. */
struct result {
    struct statistics values[QUANTITIES];
    bool unreadable;
};

static void values_free(struct statistics values[QUANTITIES]) {
    for (int i = 0; i < QUANTITIES; i++) statistics_free(&values[i]);
}

/* ---- One row, on any thread ---- */

static enum status add_answer(const struct row *row, struct result *result, struct error *err) {
    static const enum quantity scores[DIMENSIONS] = {VISUAL, ALIGNMENT, PHYSICAL};
    const struct chat_message *message = data_rows_answer(row);
    struct answer answer;
    if (answer_read(message->text, message->length, &answer, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i < DIMENSIONS; i++)
        if (answer.values[i].found &&
            statistics_add(&result->values[scores[i]], answer.values[i].value, err) != STATUS_OK)
            return STATUS_FAILED;
    return statistics_add(&result->values[ANSWER_CHARACTERS], (double)message->length, err);
}

static enum status add_video(const struct visual *visual, struct result *result, struct error *err) {
    if (statistics_add(&result->values[DURATION], visual->source_duration, err) != STATUS_OK ||
        statistics_add(&result->values[FRAMES], (double)visual->source_frames, err) != STATUS_OK)
        return STATUS_FAILED;
    return statistics_add(&result->values[TAKEN], (double)visual->index_count, err);
}

static enum status add_videos(const struct stats *stats, const struct row *row, struct result *result,
                              struct error *err) {
    for (size_t i = 0; i < row->video_count; i++) {
        struct visual visual;
        struct error unused;
        char *path = dataset_media(stats->dataset, row->videos[i], err);
        if (!path) return STATUS_FAILED;
        enum status status = visual_measure_video(path, &stats->sample.visual, &visual, &unused);
        free(path);
        if (status != STATUS_OK) {
            result->unreadable = true;
            continue;
        }
        status = add_video(&visual, result, err);
        visual_free(&visual);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

static enum status add_tokens(const struct stats *stats, int64_t index, struct result *result,
                              struct error *err) {
    struct sample sample;
    struct error unused;
    if (sample_measure(&stats->sample, stats->dataset, index, &sample, &unused) != STATUS_OK) {
        result->unreadable = true;
        return STATUS_OK;
    }
    enum status status = statistics_add(&result->values[TOKENS], (double)sample.count, err);
    if (status == STATUS_OK)
        status = statistics_add(&result->values[ANSWER_TOKENS], (double)sample.label_count, err);
    sample_free(&sample);
    return status;
}

static void release_result(void *context, void *result) {
    (void)context;
    values_free(((struct result *)result)->values);
    free(result);
}

static enum status make_result(void *context, int64_t index, void **made, size_t *bytes, struct error *err) {
    const struct stats *stats = context;
    struct row row;
    struct result *result = memory_new(1, sizeof *result, "statistics", err);
    if (!result) return STATUS_FAILED;
    enum status status = dataset_read(stats->dataset, index, &row, err);
    if (status == STATUS_OK) {
        status = add_answer(&row, result, err);
        if (status == STATUS_OK && !stats->settings->no_videos) status = add_videos(stats, &row, result, err);
        if (status == STATUS_OK && !stats->settings->no_videos && stats->sample.tokenizer)
            status = add_tokens(stats, index, result, err);
        row_free(&row);
    }
    if (status != STATUS_OK) {
        release_result(NULL, result);
        return status;
    }
    *made = result;
    *bytes = sizeof *result;
    return STATUS_OK;
}

/* ---- All rows ---- */

static enum status take_result(void *context, int64_t row, void *made, struct error *err) {
    struct stats *stats = context;
    struct result *result = made;
    enum status status = STATUS_OK;
    (void)row;
    for (int i = 0; i < QUANTITIES; i++)
        for (size_t j = 0; status == STATUS_OK && j < result->values[i].count; j++)
            status = statistics_add(&stats->values[i], result->values[i].values[j], err);
    stats->unreadable += result->unreadable;
    release_result(NULL, result);
    return status;
}

static enum status add_dataset(struct stats *stats, const char *name, struct error *err) {
    const struct stats_settings *settings = stats->settings;
    const struct data_rows_work work = {
        .context = stats, .make = make_result, .take = take_result, .progress = "rows"};
    struct dataset *dataset;
    enum status status = data_rows_open(name, settings->dataset_dir, settings->media_dir, &dataset, err);
    if (status != STATUS_OK) return status;
    stats->dataset = dataset;
    stats->rows += dataset_count(dataset) + dataset_skip_count(dataset);
    stats->unreadable += dataset_skip_count(dataset);
    status = data_rows_each(dataset, (int)settings->threads, &work, release_result, err);
    dataset_close(dataset);
    return status;
}

/* ---- The report ---- */

static size_t make_panels(struct stats *stats, struct histogram_panel panels[QUANTITIES]) {
    size_t count = 0;
    for (int i = 0; i < QUANTITIES; i++) {
        if (stats->values[i].count == 0) continue;
        panels[count++] = (struct histogram_panel){.title = quantities[i].title,
                                                   .histogram = histogram_make(&stats->values[i]),
                                                   .summary = statistics_sum_up(&stats->values[i]),
                                                   .count = stats->values[i].count};
    }
    return count;
}

static int terminal_columns(void) {
    enum { STANDARD = 80, MOST = 120 };
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return STANDARD;
    return size.ws_col < MOST ? size.ws_col : MOST;
}

static void report_text(const struct stats *stats, const struct histogram_panel *panels, size_t count,
                        struct text *text) {
    text_format(text, "%lld rows, %lld of them with something that cannot be read\n", (long long)stats->rows,
                (long long)stats->unreadable);
    for (size_t i = 0; i < count; i++) {
        text_append_string(text, "\n");
        histogram_append_text(text, &panels[i], terminal_columns());
    }
}

static json_t *panel_json(const struct histogram_panel *panel) {
    const struct statistics_summary *summary = &panel->summary;
    json_t *bins = json_array();
    for (int i = 0; i < panel->histogram.bins; i++)
        json_array_append_new(bins, json_pack("{s:f, s:I}", "from",
                                              panel->histogram.low + i * panel->histogram.width, "count",
                                              (json_int_t)panel->histogram.counts[i]));
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "count", (json_int_t)panel->count, "mean",
                     summary->mean, "min", summary->least, "median", summary->median, "p95", summary->high,
                     "max", summary->most, "bin_width", panel->histogram.width, "bins", bins);
}

static enum status report_json(struct stats *stats, const struct histogram_panel *panels, struct error *err) {
    json_t *json =
        json_pack("{s:I, s:I}", "rows", (json_int_t)stats->rows, "unreadable", (json_int_t)stats->unreadable);
    size_t panel = 0;
    bool failed = json == NULL;
    for (int i = 0; i < QUANTITIES; i++)
        if (stats->values[i].count > 0)
            failed |= json_object_set_new(json, quantities[i].name, panel_json(&panels[panel++])) != 0;
    if (!failed) {
        json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
        printf("\n");
    }
    json_decref(json);
    return failed ? error_set(err, "out of memory for the report") : STATUS_OK;
}

static enum status report(struct stats *stats, struct error *err) {
    struct histogram_panel panels[QUANTITIES];
    struct text text = {0}, svg = {0};
    enum status status = STATUS_OK;
    size_t count = make_panels(stats, panels);
    if (stats->settings->format == JSON) {
        status = report_json(stats, panels, err);
    } else {
        report_text(stats, panels, count, &text);
        status = text_check(&text, "the report", err);
        if (status == STATUS_OK) fputs(text.data, stdout);
    }
    if (status == STATUS_OK && stats->settings->svg) {
        histograms_append_svg(&svg, panels, count);
        status = text_check(&svg, "the histograms", err);
        if (status == STATUS_OK) status = file_write(stats->settings->svg, svg.data, svg.length, err);
    }
    text_free(&text);
    text_free(&svg);
    return status;
}

static enum status run(char **names, int count, const struct stats_settings *settings, struct error *err) {
    struct stats stats = {.settings = settings};
    struct tokenizer *tokenizer = NULL;
    enum status status = STATUS_OK;
    stats.sample.cutoff = INT32_MAX;
    stats.sample.visual = visual_options_default(visual_policy_find("llamafactory"));
    stats.sample.visual.fps = settings->fps;
    stats.sample.visual.max_frames = settings->max_frames;
    stats.sample.visual.max_pixels = settings->max_pixels;
    stats.sample.visual.threads = 1;
    if (settings->model) {
        tokenizer = tokenizer_load(settings->model, err);
        stats.sample.tokenizer = tokenizer;
        if (!tokenizer ||
            patch_config_read(settings->model, true, &stats.sample.visual.processor, err) != STATUS_OK)
            status = STATUS_FAILED;
    }
    for (int i = 0; status == STATUS_OK && i < count; i++) status = add_dataset(&stats, names[i], err);
    if (status == STATUS_OK) status = report(&stats, err);
    values_free(stats.values);
    tokenizer_free(tokenizer);
    return status;
}

int data_stats(int argc, char **argv) {
    struct stats_settings settings = {.dataset_dir = "data",
                                      .fps = 2,
                                      .max_pixels = 691200,
                                      .max_frames = 10,
                                      .threads = sysconf(_SC_NPROCESSORS_ONLN)};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no data set is named");
    if (status == STATUS_OK && !finished) status = run(argv + first, argc - first, &settings, &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
