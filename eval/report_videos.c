/* The list of videos, as data for eval/report.js:
 *
 *     {"files": [NAME], "dimensions": [NAME],
 *      "videos": [{"name", "prompt", "truth": [v, t, p], "place", "picture"?, "problem"?,
 *                  "files": [{"score": [v, t, p], "error": [v, t, p], "confidence": [v, t, p]?,
 *                             "text": [PART, MARKED, PART, ...], "marks": [DIMENSION]} or null]}]}
 *
 * in the order of their errors, largest first. `text` is what the model wrote, every second part of it being
 * a score of the answer. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "data/thumbnail.h"
#include "eval/report_parts.h"

struct video {
    const struct result_row *rows[REPORT_FILES_MOST]; /* of each file; NULL: it has none */
    size_t first;                                     /* the first file that has one */
    double error; /* mean over files and dimensions; NaN: nothing to compare */
    size_t place; /* in the files: those of the first, then what the second has besides, ... */
};

struct videos {
    struct video *list;
    size_t count;
};

/* ---- Which there are, and in which order ------------------------------------------------------------- */

/* |level - truth| of a row in a dimension; NaN where there is no such thing. */
static double error_of(const struct report *report, size_t file, const struct result_row *row,
                       int dimension) {
    if (isnan(row->model[dimension]) || isnan(row->truths[dimension])) return NAN;
    return fabs(column_level(report->settings->benchmark, dimension, row->model, report->files[file].whole) -
                row->truths[dimension]);
}

static double mean_error(const struct report *report, const struct video *video) {
    double sum = 0;
    int count = 0;
    for (size_t f = 0; f < report->count; f++)
        for (int d = 0; d < DIMENSIONS && video->rows[f]; d++) {
            const double error = error_of(report, f, video->rows[f], d);
            if (isnan(error)) continue;
            sum += error;
            count++;
        }
    return count ? sum / count : NAN;
}

static int by_error(const void *a, const void *b) {
    const struct video *x = a, *y = b;
    if (isnan(x->error) != isnan(y->error)) return isnan(x->error) ? 1 : -1;
    if (x->error != y->error && !isnan(x->error)) return x->error > y->error ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* One of the files before has the video already. */
static bool is_listed(const struct report *report, size_t file, const struct result_row *row) {
    for (size_t f = 0; f < file; f++)
        if (results_find(&report->files[f], row->video_name)) return true;
    return false;
}

static enum status gather(const struct report *report, struct videos *videos, struct error *err) {
    size_t most = 0;
    for (size_t f = 0; f < report->count; f++) most += report->files[f].count;
    videos->list = memory_new(most, sizeof *videos->list, "the list of videos", err);
    if (!videos->list) return STATUS_FAILED;
    for (size_t f = 0; f < report->count; f++)
        for (size_t i = 0; i < report->files[f].count; i++) {
            const struct result_row *row = &report->files[f].rows[i];
            if (is_listed(report, f, row)) continue;
            struct video *video = &videos->list[videos->count];
            *video = (struct video){.first = f, .place = videos->count++};
            video->rows[f] = row;
            for (size_t other = f + 1; other < report->count; other++)
                video->rows[other] = results_find(&report->files[other], row->video_name);
            video->error = mean_error(report, video);
        }
    qsort(videos->list, videos->count, sizeof *videos->list, by_error);
    return STATUS_OK;
}

/* ---- Texts of a row ---------------------------------------------------------------------------------- */

/* Appends the text that a JSON value is. What is no text, or none that can be read, is shown as it stands in
 * the file; bytes that are not UTF-8 are replaced. */
static enum status append_string(struct text *text, struct json_slice value, struct error *err) {
    struct text valid = {0};
    struct json_reader reader;
    struct json_slice string;
    struct error unread;
    utf8_append_lossy(&valid, value.data, value.length);
    enum status status = text_check(&valid, "the texts of a row", err);
    if (status == STATUS_OK) {
        json_reader_start(&reader, valid.data, valid.length, "text");
        if (*valid.data == '"' && json_reader_string(&reader, &string, &unread) == STATUS_OK)
            text_append(text, string.data, string.length);
        else
            text_append(text, valid.data, valid.length);
        text->failed |= reader.unescaped.failed;
        json_reader_free(&reader);
    }
    text_free(&valid);
    return status;
}

static bool is_key(struct json_slice key, const char *name) {
    return name && strlen(name) == key.length && memcmp(key.data, name, key.length) == 0;
}

/* The prompt and what the model wrote; empty where the row has none. */
static enum status read_texts(const struct report *report, const struct result_row *row, struct text *prompt,
                              struct text *output, struct error *err) {
    struct json_reader reader;
    struct json_slice key, value, prompt_value = {0}, output_value = {0};
    bool more = false;
    json_reader_start(&reader, row->text.data, row->text.length, "row");
    enum status status = json_reader_open(&reader, '{', err);
    while (status == STATUS_OK) {
        status = json_reader_next(&reader, '}', &more, err);
        if (status != STATUS_OK || !more) break;
        status = json_reader_key(&reader, &key, err);
        if (status != STATUS_OK) break;
        const bool is_output = is_key(key, "output");
        bool is_prompt = is_key(key, "prompt");
        for (int i = 0; i < BENCHMARK_NAMES && !prompt_value.data; i++)
            is_prompt |= is_key(key, report->settings->benchmark->prompt[i]);
        status = json_reader_skip(&reader, &value, err);
        if (is_prompt) prompt_value = value;
        if (is_output) output_value = value;
    }
    json_reader_free(&reader);
    text_append(prompt, "", 0);
    text_append(output, "", 0);
    if (status == STATUS_OK && prompt_value.data && !is_key(prompt_value, "null"))
        status = append_string(prompt, prompt_value, err);
    if (status == STATUS_OK && output_value.data && !is_key(output_value, "null"))
        status = append_string(output, output_value, err);
    if (status == STATUS_OK) status = text_check(prompt, "a prompt", err);
    return status == STATUS_OK ? text_check(output, "a rationale", err) : status;
}

/* ---- A video as JSON --------------------------------------------------------------------------------- */

/* Each takes its value along and is false, or NULL, when memory ran out. */

static bool set(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

static json_t *numbers(const double values[DIMENSIONS]) {
    json_t *array = json_array();
    for (int d = 0; d < DIMENSIONS; d++)
        if (json_array_append_new(array, json_from_double(values[d])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* Sets "text" and "marks". */
static enum status set_text(json_t *object, const struct text *output, struct error *err) {
    struct answer answer;
    json_t *parts = json_array(), *marks = json_array();
    size_t at = 0;
    bool done = true;
    enum status status = answer_read(output->data, output->length, &answer, err);
    while (status == STATUS_OK && done) {
        int next = -1; /* the first value of the answer that is not behind us */
        for (int d = 0; d < DIMENSIONS; d++) {
            const struct answer_value *value = &answer.values[d];
            if (!value->found || value->start < at || value->end <= value->start) continue;
            if (next < 0 || value->start < answer.values[next].start) next = d;
        }
        const size_t start = next < 0 ? output->length : answer.values[next].start;
        done = json_array_append_new(parts, json_stringn(output->data + at, start - at)) == 0;
        if (next < 0 || !done) break;
        at = answer.values[next].end;
        done = json_array_append_new(parts, json_stringn(output->data + start, at - start)) == 0 &&
               json_array_append_new(marks, json_integer(next)) == 0;
    }
    done = set(object, "text", parts) && done;
    done = set(object, "marks", marks) && done;
    return status == STATUS_OK && !done ? error_set(err, "out of memory for the list of videos") : status;
}

/* Appends what one file says of the video. */
static enum status append_side(json_t *sides, const struct report *report, size_t file,
                               const struct result_row *row, const struct text *output, struct error *err) {
    double errors[DIMENSIONS];
    bool confident = false;
    json_t *side = json_object();
    for (int d = 0; d < DIMENSIONS; d++) {
        errors[d] = error_of(report, file, row, d);
        confident |= !isnan(row->confidence[d]);
    }
    bool done = set(side, "score", numbers(row->model)) && set(side, "error", numbers(errors));
    if (done && confident) done = set(side, "confidence", numbers(row->confidence));
    enum status status = done ? set_text(side, output, err) : STATUS_OK;
    done = json_array_append_new(sides, side) == 0 && done;
    return status == STATUS_OK && !done ? error_set(err, "out of memory for the list of videos") : status;
}

/* A string of bytes that may not be UTF-8. */
static json_t *lossy(const char *bytes) {
    struct text text = {0};
    text_append(&text, "", 0);
    utf8_append_lossy(&text, bytes, strlen(bytes));
    json_t *string = text.failed ? NULL : json_stringn(text.data, text.length);
    text_free(&text);
    return string;
}

/* What the files say of the video, and its prompt. */
static enum status set_sides(json_t *object, const struct report *report, const struct video *video,
                             struct error *err) {
    json_t *sides = json_array();
    enum status status = STATUS_OK;
    bool done = true;
    for (size_t f = 0; f < report->count && status == STATUS_OK && done; f++) {
        struct text prompt = {0}, output = {0};
        if (!video->rows[f]) {
            done = json_array_append_new(sides, json_null()) == 0;
            continue;
        }
        status = read_texts(report, video->rows[f], &prompt, &output, err);
        if (status == STATUS_OK) status = append_side(sides, report, f, video->rows[f], &output, err);
        if (status == STATUS_OK && f == video->first)
            done = set(object, "prompt", json_stringn(prompt.data, prompt.length));
        text_free(&prompt);
        text_free(&output);
    }
    done = set(object, "files", sides) && done;
    return status == STATUS_OK && !done ? error_set(err, "out of memory for the list of videos") : status;
}

/* ---- Frames ------------------------------------------------------------------------------------------ */

/* Sets "picture", or "problem" where the video cannot be read. False: out of memory. */
static bool set_picture(json_t *object, const struct report *report, const struct result_row *row,
                        struct report_summary *summary) {
    struct error problem;
    struct text jpeg = {0}, address = {0};
    char *name = memory_text(row->stem.start, row->stem.length, "a name", &problem);
    const struct benchmark_item item = {.name = name, .file = row->video_name};
    char *path = name ? benchmark_item_path(&item, report->settings->videos, &problem) : NULL;
    enum status status = path ? thumbnail_append(&jpeg, path, &problem) : STATUS_FAILED;
    free(path);
    free(name);
    if (status != STATUS_OK) {
        if (!summary->unreadable++) summary->problem = problem;
        return set(object, "problem", lossy(problem.message));
    }
    summary->pictures++;
    text_append_string(&address, "data:image/jpeg;base64,");
    base64_append(&address, jpeg.data, jpeg.length);
    const bool done = !jpeg.failed && !address.failed && set(object, "picture", json_string(address.data));
    text_free(&jpeg);
    text_free(&address);
    return done;
}

/* ---- The list ---------------------------------------------------------------------------------------- */

/* JSON inside a script element, which "</script" and "<!--" would end. */
static void append_for_script(struct text *html, const json_t *json) {
    struct text text = {0};
    json_append(&text, json, false);
    for (size_t start = 0; start < text.length && !text.failed;) {
        const char *open = memchr(text.data + start, '<', text.length - start);
        const size_t end = open ? (size_t)(open - text.data) : text.length;
        text_append(html, text.data + start, end - start);
        if (open) text_append_string(html, "\\u003c");
        start = end + 1;
    }
    html->failed |= text.failed;
    text_free(&text);
}

static enum status append_video(struct text *html, const struct report *report, const struct video *video,
                                bool picture, struct report_summary *summary, struct error *err) {
    const struct result_row *row = video->rows[video->first];
    json_t *object = json_object();
    bool done = set(object, "name", lossy(row->video_name)) && set(object, "truth", numbers(row->truths)) &&
                set(object, "place", json_integer((json_int_t)video->place));
    if (done && picture) done = set_picture(object, report, row, summary);
    enum status status =
        done ? set_sides(object, report, video, err) : error_set(err, "out of memory for the list of videos");
    if (status == STATUS_OK) append_for_script(html, object);
    json_decref(object);
    return status == STATUS_OK ? text_check(html, "the report", err) : status;
}

static void append_names(struct text *html, const struct report *report) {
    text_append_string(html, "{\"files\": [");
    for (size_t f = 0; f < report->count; f++)
        text_format(html, "%s\"%s\"", f ? ", " : "", report_file_name(report, f));
    text_append_string(html, "], \"dimensions\": [");
    for (int d = 0; d < DIMENSIONS; d++) text_format(html, "%s\"%s\"", d ? ", " : "", column_heading(d));
    text_append_string(html, "], \"videos\": [\n");
}

static enum status append_data(struct text *html, const struct report *report, const struct videos *videos,
                               struct report_summary *summary, struct error *err) {
    const struct report_settings *settings = report->settings;
    const int64_t pictures = !settings->videos                               ? 0
                             : settings->thumbnails < (int64_t)videos->count ? settings->thumbnails
                                                                             : (int64_t)videos->count;
    enum status status = STATUS_OK;
    text_append_string(html, "<script type=\"application/json\" id=\"data\">\n");
    append_names(html, report);
    for (size_t i = 0; i < videos->count && status == STATUS_OK; i++) {
        const bool picture = (int64_t)i < pictures;
        if (i) text_append_string(html, ",\n");
        status = append_video(html, report, &videos->list[i], picture, summary, err);
        if (picture && settings->progress)
            settings->progress(settings->progress_context, (int64_t)i + 1, pictures);
    }
    text_append_string(html, "\n]}\n</script>\n");
    return status;
}

static void append_controls(struct text *html, const struct report *report, size_t videos) {
    text_format(html,
                "<section id=\"videos\" aria-labelledby=\"videos-title\">\n<h2 id=\"videos-title\">Videos"
                "</h2>\n<noscript><p>The list of %zu videos needs JavaScript; everything above does not."
                "</p></noscript>\n<div id=\"controls\" role=\"search\" hidden>\n"
                "<label>Search <input type=\"search\" id=\"search\" autocomplete=\"off\" "
                "placeholder=\"names, prompts, rationales\"></label>\n<label>Order <select id=\"order\">",
                videos);
    text_append_string(html, "<option value=\"error\">largest error first</option>");
    for (size_t f = 0; f < report->count && report->count > 1; f++)
        text_format(html, "<option value=\"error %zu\">largest error of %s first</option>", f,
                    report_file_name(report, f));
    text_append_string(html, "<option value=\"least\">smallest error first</option>");
    if (report->count > 1)
        text_append_string(html, "<option value=\"apart\">files furthest apart first</option>");
    text_append_string(html, "<option value=\"sure\">wrong and most confident first</option>"
                             "<option value=\"low\">lowest scores first</option>"
                             "<option value=\"high\">highest scores first</option>"
                             "<option value=\"name\">by name</option>"
                             "<option value=\"place\">as in the file</option></select></label>\n"
                             "<label>Show <select id=\"show\"><option value=\"all\">all</option>"
                             "<option value=\"wrong\">not all scores right</option>"
                             "<option value=\"right\">all scores right</option>"
                             "<option value=\"unread\">without all three scores</option></select></label>\n"
                             "<label><input type=\"checkbox\" id=\"open\"> rationales open</label>\n</div>\n"
                             "<p id=\"found\" role=\"status\" tabindex=\"-1\"></p>\n<ol id=\"list\"></ol>\n"
                             "<nav id=\"pages\" aria-label=\"Pages\" hidden></nav>\n");
}

enum status report_append_videos(struct text *html, const struct report *report,
                                 struct report_summary *summary, struct error *err) {
    struct videos videos = {0};
    enum status status = gather(report, &videos, err);
    if (status == STATUS_OK) {
        summary->videos = videos.count;
        append_controls(html, report, videos.count);
        status = append_data(html, report, &videos, summary, err);
        text_append_string(html, "</section>\n");
    }
    free(videos.list);
    return status;
}
