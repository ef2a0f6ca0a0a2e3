/* vs2-data check: reads a data set and its videos, and reports what is broken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/data.h"
#include "cli/data_rows.h"
#include "cli/options.h"
#include "data/frames.h"
#include "data/sample.h"
#include "eval/answer.h"

enum kind { KIND_ROW, KIND_MEDIA, KIND_SCORES, KIND_LENGTH, KIND_DUPLICATE, KINDS };

static const struct {
    const char *name, *words; /* in JSON, and in the summary */
} kinds[KINDS] = {
    [KIND_ROW] = {"row", "rows that cannot be trained"},
    [KIND_MEDIA] = {"media", "videos or images that cannot be read"},
    [KIND_SCORES] = {"scores", "answers without readable scores"},
    [KIND_LENGTH] = {"length", "rows over cutoff_len"},
    [KIND_DUPLICATE] = {"duplicate", "rows that are there twice"},
};

enum { TEXT, JSON };
static const char *const format_names[] = {"text", "json", NULL};

struct check_settings {
    const char *dataset_dir, *media_dir, *model;
    double fps, max_pixels;
    int64_t max_frames, cutoff, threads;
    int format;
    bool quick, no_scores;
};

static const struct option_spec options[] = {
    {.name = "dataset-dir",
     .argument = "DIR",
     .help = "folder with dataset_info.json",
     .standard = "data",
     .kind = OPTION_STRING,
     .offset = offsetof(struct check_settings, dataset_dir)},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "folder that the videos' paths are relative to",
     .standard = "where the rows are",
     .kind = OPTION_STRING,
     .offset = offsetof(struct check_settings, media_dir)},
    {.name = "model",
     .argument = "DIR",
     .help = "checkpoint folder: its tokenizer counts the tokens of each row",
     .standard = "tokens are not counted",
     .kind = OPTION_STRING,
     .offset = offsetof(struct check_settings, model)},
    {.name = "cutoff-len",
     .argument = "N",
     .help = "with --model, rows of more tokens are reported",
     .standard = "8192",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct check_settings, cutoff),
     .low = 1,
     .high = 1e9},
    {.name = "quick",
     .help = "open the videos, but decode none of their frames",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct check_settings, quick)},
    {.name = "no-scores",
     .help = "the answers are not scores",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct check_settings, no_scores)},
    {.name = "threads",
     .argument = "N",
     .help = "videos that are read side by side",
     .standard = "the number of cores",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct check_settings, threads),
     .low = 1,
     .high = 1024},
    {.name = "format",
     .argument = "text|json",
     .help = "how to report",
     .standard = "text",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct check_settings, format),
     .choices = format_names},
    {.help = "Frames, as training takes them", .kind = OPTION_TITLE},
    {.name = "fps",
     .argument = "N",
     .help = "frames a second of video",
     .standard = "2",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct check_settings, fps),
     .low = 0.01,
     .high = 1000},
    {.name = "max-frames",
     .argument = "N",
     .help = "frames of a video at most",
     .standard = "10",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct check_settings, max_frames),
     .low = 1,
     .high = FRAMES_MAX},
    {.name = "max-pixels",
     .argument = "N",
     .help = "pixels of a video's frame at most",
     .standard = "691200",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct check_settings, max_pixels),
     .low = 784,
     .high = 1e8},
    {0}};

static const struct program program = {
    .name = "vs2-data",
    .command = "check",
    .synopsis = "[OPTION]... DATASET...",
    .summary =
        "Reads data sets and their videos and reports what is broken: rows that cannot be trained, videos "
        "that are missing or cannot be decoded, answers without scores, rows that are too long, rows "
        "that are there twice. DATASET is a file of rows (JSON array or JSON lines), or a name in "
        "dataset_info.json. Exits with 1 when something is broken.",
    .examples = "  vs2-data check sft.json\n"
                "  vs2-data check --dataset-dir data --model Qwen2.5-VL-7B-Instruct vs2_sft\n"
                "  vs2-data check --quick --format json sft.json\n",
    .options = options,
    .operands = 1000,
};

struct finding {
    int64_t number; /* of the row in its file */
    enum kind kind;
    char *text;
};

struct findings {
    struct finding *items;
    size_t count, capacity;
};

/* What is known of a row, to find it again. */
struct print {
    uint64_t hash;
    int64_t row;
};

struct check {
    const struct check_settings *settings;
    const struct dataset *dataset;
    struct sample_options sample;
    struct findings findings;
    struct print *prints; /* [rows] */
};

static enum status find(struct findings *findings, int64_t number, enum kind kind, const char *text,
                        struct error *err) {
    if (memory_grow(&findings->items, &findings->capacity, findings->count + 1, sizeof *findings->items,
                    "the report", err) != STATUS_OK)
        return STATUS_FAILED;
    char *copy = memory_text(text, strlen(text), "the report", err);
    if (!copy) return STATUS_FAILED;
    findings->items[findings->count++] = (struct finding){.number = number, .kind = kind, .text = copy};
    return STATUS_OK;
}

static void findings_free(struct findings *findings) {
    for (size_t i = 0; i < findings->count; i++) free(findings->items[i].text);
    free(findings->items);
    *findings = (struct findings){0};
}

/* ---- One row, on any thread ---- */

struct result {
    struct findings findings;
    uint64_t hash;
};

/* FNV-1a; the zero bytes between the parts keep them apart. */
static uint64_t hash_bytes(uint64_t hash, const char *data, size_t length) {
    for (size_t i = 0; i <= length; i++)
        hash = (hash ^ (i < length ? (unsigned char)data[i] : 0)) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_row(const struct row *row) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < row->message_count; i++)
        hash = hash_bytes(hash, row->messages[i].text, row->messages[i].length);
    for (size_t i = 0; i < row->video_count; i++)
        hash = hash_bytes(hash, row->videos[i], strlen(row->videos[i]));
    for (size_t i = 0; i < row->image_count; i++)
        hash = hash_bytes(hash, row->images[i], strlen(row->images[i]));
    return hash;
}

static enum status check_scores(const struct row *row, int64_t number, struct findings *findings,
                                struct error *err) {
    const struct chat_message *message = data_rows_answer(row);
    struct answer answer;
    if (answer_read(message->text, message->length, &answer, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i < DIMENSIONS; i++) {
        char text[256];
        if (answer.values[i].found) continue;
        snprintf(text, sizeof text, "%s: %s", dimension_name((enum dimension)i), answer.values[i].problem);
        if (find(findings, number, KIND_SCORES, text, err) != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* Reads one video or image as training would, and reports it when that fails. */
static enum status check_visual(const struct check *check, const char *name, bool image, int64_t number,
                                struct findings *findings, struct error *err) {
    struct visual visual;
    struct error reason;
    char *path = dataset_media(check->dataset, name, err);
    if (!path) return STATUS_FAILED;
    sample_reader *reader = check->settings->quick ? sample_measure_visual : sample_decode;
    enum status status = reader(NULL, path, image, &check->sample.visual, &visual, &reason);
    free(path);
    if (status != STATUS_OK) return find(findings, number, KIND_MEDIA, reason.message, err);
    visual_free(&visual);
    return STATUS_OK;
}

static enum status check_visuals(const struct check *check, const struct row *row, int64_t number,
                                 struct findings *findings, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < row->video_count; i++)
        status = check_visual(check, row->videos[i], false, number, findings, err);
    for (size_t i = 0; status == STATUS_OK && i < row->image_count; i++)
        status = check_visual(check, row->images[i], true, number, findings, err);
    return status;
}

/* Counts the tokens of a row whose visuals are there. */
static enum status check_length(const struct check *check, int64_t row, int64_t number,
                                struct findings *findings, struct error *err) {
    struct sample sample;
    struct error reason;
    if (sample_measure(&check->sample, check->dataset, row, &sample, &reason) != STATUS_OK)
        return find(findings, number, KIND_LENGTH, reason.message, err);
    enum status status = STATUS_OK;
    if (sample.count < sample.untruncated_count) {
        char text[128];
        snprintf(text, sizeof text, "its %lld tokens are cut at cutoff_len %lld",
                 (long long)sample.untruncated_count, (long long)check->sample.cutoff);
        status = find(findings, number, KIND_LENGTH, text, err);
    }
    sample_free(&sample);
    return status;
}

static enum status check_row(const struct check *check, int64_t index, struct result *result,
                             struct error *err) {
    struct row row;
    const int64_t number = dataset_place(check->dataset, index).number;
    if (dataset_read(check->dataset, index, &row, err) != STATUS_OK) return STATUS_FAILED;
    result->hash = hash_row(&row);
    enum status status = check_visuals(check, &row, number, &result->findings, err);
    if (status == STATUS_OK && check->sample.tokenizer && result->findings.count == 0)
        status = check_length(check, index, number, &result->findings, err);
    if (status == STATUS_OK && !check->settings->no_scores)
        status = check_scores(&row, number, &result->findings, err);
    row_free(&row);
    return status;
}

static void release_result(void *context, void *result) {
    (void)context;
    findings_free(&((struct result *)result)->findings);
    free(result);
}

static enum status make_result(void *context, int64_t row, void **made, size_t *bytes, struct error *err) {
    struct result *result = memory_new(1, sizeof *result, "the report", err);
    if (!result) return STATUS_FAILED;
    if (check_row(context, row, result, err) != STATUS_OK) {
        release_result(NULL, result);
        return STATUS_FAILED;
    }
    *made = result;
    *bytes = sizeof *result;
    return STATUS_OK;
}

/* ---- All rows ---- */

static enum status take_result(void *context, int64_t row, void *made, struct error *err) {
    struct check *check = context;
    struct result *result = made;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < result->findings.count; i++) {
        const struct finding *finding = &result->findings.items[i];
        status = find(&check->findings, finding->number, finding->kind, finding->text, err);
    }
    check->prints[row] = (struct print){.hash = result->hash, .row = row};
    release_result(NULL, result);
    return status;
}

static int compare_prints(const void *a, const void *b) {
    const struct print *left = a, *right = b;
    if (left->hash != right->hash) return left->hash < right->hash ? -1 : 1;
    return (left->row > right->row) - (left->row < right->row);
}

static bool same_row(const struct row *a, const struct row *b) {
    if (a->message_count != b->message_count || a->video_count != b->video_count ||
        a->image_count != b->image_count)
        return false;
    for (size_t i = 0; i < a->message_count; i++)
        if (a->messages[i].length != b->messages[i].length ||
            memcmp(a->messages[i].text, b->messages[i].text, a->messages[i].length) != 0)
            return false;
    for (size_t i = 0; i < a->video_count; i++)
        if (strcmp(a->videos[i], b->videos[i]) != 0) return false;
    for (size_t i = 0; i < a->image_count; i++)
        if (strcmp(a->images[i], b->images[i]) != 0) return false;
    return true;
}

/* Reports row b when it is row a again. */
static enum status compare_rows(struct check *check, int64_t a, int64_t b, struct error *err) {
    struct row first, second;
    if (dataset_read(check->dataset, a, &first, err) != STATUS_OK) return STATUS_FAILED;
    enum status status = dataset_read(check->dataset, b, &second, err);
    if (status == STATUS_OK) {
        char text[64];
        snprintf(text, sizeof text, "the same as row %lld",
                 (long long)dataset_place(check->dataset, a).number);
        if (same_row(&first, &second))
            status =
                find(&check->findings, dataset_place(check->dataset, b).number, KIND_DUPLICATE, text, err);
        row_free(&second);
    }
    row_free(&first);
    return status;
}

static enum status find_duplicates(struct check *check, struct error *err) {
    const int64_t count = dataset_count(check->dataset);
    enum status status = STATUS_OK;
    int64_t first = 0; /* of those with one hash */
    qsort(check->prints, (size_t)count, sizeof *check->prints, compare_prints);
    for (int64_t i = 1; status == STATUS_OK && i < count; i++) {
        if (check->prints[i].hash != check->prints[first].hash)
            first = i;
        else
            status = compare_rows(check, check->prints[first].row, check->prints[i].row, err);
    }
    return status;
}

static int compare_findings(const void *a, const void *b) {
    const struct finding *left = a, *right = b;
    if (left->number != right->number) return left->number < right->number ? -1 : 1;
    return (int)left->kind - (int)right->kind;
}

static enum status check_rows(struct check *check, struct error *err) {
    const struct check_settings *settings = check->settings;
    const struct data_rows_work work = {
        .context = check, .make = make_result, .take = take_result, .progress = "rows"};
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < dataset_skip_count(check->dataset); i++) {
        const struct dataset_skip *skip = dataset_skip(check->dataset, i);
        status = find(&check->findings, skip->place.number, KIND_ROW, skip->reason, err);
    }
    check->prints = memory_new((size_t)dataset_count(check->dataset), sizeof *check->prints, "rows", err);
    if (status == STATUS_OK && !check->prints) status = STATUS_FAILED;
    if (status == STATUS_OK)
        status = data_rows_each(check->dataset, (int)settings->threads, &work, release_result, err);
    if (status == STATUS_OK) status = find_duplicates(check, err);
    if (status == STATUS_OK && check->findings.count > 0)
        qsort(check->findings.items, check->findings.count, sizeof *check->findings.items, compare_findings);
    return status;
}

/* ---- The report ---- */

static void count_kinds(const struct findings *findings, size_t counts[KINDS]) {
    for (int i = 0; i < KINDS; i++) counts[i] = 0;
    for (size_t i = 0; i < findings->count; i++) counts[findings->items[i].kind]++;
}

static void report_text(const struct check *check, const char *name) {
    const struct findings *findings = &check->findings;
    size_t counts[KINDS];
    count_kinds(findings, counts);
    for (size_t i = 0; i < findings->count; i++)
        printf("%s: row %lld: %s\n", name, (long long)findings->items[i].number, findings->items[i].text);
    printf("%s: %lld rows, ", name,
           (long long)(dataset_count(check->dataset) + dataset_skip_count(check->dataset)));
    if (findings->count == 0) printf("nothing is broken");
    for (int i = 0, any = 0; i < KINDS; i++) {
        if (counts[i] == 0) continue;
        printf("%s%s: %zu", any ? ", " : "", kinds[i].words, counts[i]);
        any = 1;
    }
    printf("\n");
}

static enum status report_json(const struct check *check, const char *name, json_t *reports,
                               struct error *err) {
    const struct findings *findings = &check->findings;
    size_t counts[KINDS];
    json_t *problems = json_array(), *sums = json_object();
    bool failed = false;
    count_kinds(findings, counts);
    for (int i = 0; i < KINDS; i++)
        failed |= json_object_set_new(sums, kinds[i].name, json_integer((json_int_t)counts[i])) != 0;
    for (size_t i = 0; i < findings->count; i++)
        failed |= json_array_append_new(problems, json_pack("{s:I, s:s, s:s}", "row",
                                                            (json_int_t)findings->items[i].number, "kind",
                                                            kinds[findings->items[i].kind].name, "problem",
                                                            findings->items[i].text)) != 0;
    json_int_t rows = dataset_count(check->dataset) + dataset_skip_count(check->dataset);
    failed |= json_array_append_new(reports, json_pack("{s:s, s:I, s:o, s:o}", "dataset", name, "rows", rows,
                                                       "counts", sums, "problems", problems)) != 0;
    return failed ? error_set(err, "out of memory for the report") : STATUS_OK;
}

/* Checks one data set; *broken: something was found. */
static enum status check_one(const char *name, const struct check_settings *settings,
                             const struct tokenizer *tokenizer, json_t *reports, bool *broken,
                             struct error *err) {
    struct dataset *dataset;
    enum status status = data_rows_open(name, settings->dataset_dir, settings->media_dir, &dataset, err);
    if (status != STATUS_OK) return status;
    struct check check = {.settings = settings, .dataset = dataset};
    check.sample = (struct sample_options){.tokenizer = tokenizer, .cutoff = settings->cutoff};
    check.sample.visual = visual_options_default(visual_policy_find("llamafactory"));
    check.sample.visual.fps = settings->fps;
    check.sample.visual.max_frames = settings->max_frames;
    check.sample.visual.max_pixels = settings->max_pixels;
    check.sample.visual.threads = 1;
    if (settings->model)
        status = patch_config_read(settings->model, true, &check.sample.visual.processor, err);
    if (status == STATUS_OK) status = check_rows(&check, err);
    if (status == STATUS_OK && settings->format == JSON)
        status = report_json(&check, name, reports, err);
    else if (status == STATUS_OK)
        report_text(&check, name);
    *broken = *broken || check.findings.count > 0;
    findings_free(&check.findings);
    free(check.prints);
    dataset_close(dataset);
    return status;
}

static enum status check_all(char **names, int count, const struct check_settings *settings, bool *broken,
                             struct error *err) {
    enum status status = STATUS_OK;
    struct tokenizer *tokenizer = NULL;
    json_t *reports = json_array();
    if (settings->model && !(tokenizer = tokenizer_load(settings->model, err))) status = STATUS_FAILED;
    for (int i = 0; status == STATUS_OK && i < count; i++)
        status = check_one(names[i], settings, tokenizer, reports, broken, err);
    if (status == STATUS_OK && settings->format == JSON) {
        json_dumpf(reports, stdout, JSON_INDENT(1));
        printf("\n");
    }
    json_decref(reports);
    tokenizer_free(tokenizer);
    return status;
}

int data_check(int argc, char **argv) {
    struct check_settings settings = {.dataset_dir = "data",
                                      .fps = 2,
                                      .max_pixels = 691200,
                                      .max_frames = 10,
                                      .cutoff = 8192,
                                      .threads = sysconf(_SC_NPROCESSORS_ONLN)};
    struct error err;
    int first;
    bool finished = false, broken = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no data set is named");
    if (status == STATUS_OK && !finished)
        status = check_all(argv + first, argc - first, &settings, &broken, &err);
    if (status != STATUS_OK) return program_fail(&program, status, &err);
    return program_finish(&program, broken ? STATUS_FAILED : STATUS_OK);
}
