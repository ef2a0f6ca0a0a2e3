#include "train/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/memory.h"
#include "train/plot.h"
#include "train/state.h"
#include "train/tensorboard.h"

static const char lines_name[] = "trainer_log.jsonl";
static const char state_name[] = "trainer_state.json";
static const char all_results_name[] = "all_results.json";

enum { LARGEST_FILE = 1 << 30 };

struct train_log {
    struct train_log_settings settings; /* output_dir is the log's own copy */
    char *output_dir;
    struct text lines; /* trainer_log.jsonl */
    struct file_appender file;
    struct tensorboard board; /* closed unless settings.tensorboard */
    json_t *history;
    int64_t first_step;     /* steps done when this session began */
    double started;         /* clock_seconds then */
    double earlier_seconds; /* elapsed_time of the sessions before */
};

/* The curves that are drawn where the history has their value. */
static const struct curve {
    const char *value, *file, *title;
} curves[] = {
    {"loss", "training_loss.svg", "Training loss"},
    {"eval_loss", "training_eval_loss.svg", "Loss on the validation rows"},
    {"eval_mean_acc", "benchmark_accuracy.svg", "Accuracy on the benchmark, percent"},
    {"reward", "reward_curve.svg", "Mean reward"},
};

/* ---- Beginning --------------------------------------------------------------------------------------- */

/* The elapsed_time of the last line, or 0 when it cannot be read: an unreadable one is no reason to stop. */
static double last_elapsed(const struct text *lines) {
    struct error ignored;
    double elapsed = 0;
    size_t end = lines->length;
    while (end > 0 && lines->data[end - 1] == '\n') end--;
    size_t start = end;
    while (start > 0 && lines->data[start - 1] != '\n') start--;
    if (start == end) return 0;
    json_t *line = json_read_text(lines->data + start, end - start, lines_name, &ignored);
    if (json_get_number(line, "elapsed_time", 0, &elapsed, lines_name, &ignored) != STATUS_OK) elapsed = 0;
    json_decref(line);
    return elapsed;
}

static enum status read_earlier(struct train_log *log, const char *resume, struct error *err) {
    char *text = NULL;
    size_t length;
    char *path = file_join(resume, lines_name, err);
    enum status status = path ? file_read(path, LARGEST_FILE, &text, &length, err) : STATUS_FAILED;
    if (status == STATUS_OK) {
        text_append(&log->lines, text, length);
        status = text_check(&log->lines, path, err);
    }
    if (status == STATUS_OK) {
        log->earlier_seconds = last_elapsed(&log->lines);
        status = trainer_state_read(resume, &log->history, &log->first_step, err);
    }
    free(text);
    free(path);
    return status;
}

/* Replaces OUTPUT_DIR/trainer_log.jsonl by the lines so far, and goes on in it. */
static enum status begin_file(struct train_log *log, struct error *err) {
    char *path = file_join(log->output_dir, lines_name, err);
    if (!path) return STATUS_FAILED;
    enum status status = file_write(path, log->lines.data, log->lines.length, err);
    if (status == STATUS_OK) status = file_appender_open(&log->file, path, err);
    free(path);
    return status;
}

static enum status begin_board(struct train_log *log, struct error *err) {
    char *folder = file_join(log->output_dir, "runs", err);
    if (!folder) return STATUS_FAILED;
    /* A new run voids all steps of what lies there, a resumed one those after its first. */
    int64_t first = log->first_step > 0 ? log->first_step + 1 : 0;
    enum status status = tensorboard_open(&log->board, folder, first, err);
    free(folder);
    return status;
}

struct train_log *train_log_open(const struct train_log_settings *settings, const char *resume,
                                 struct error *err) {
    struct train_log *log = memory_new(1, sizeof *log, "the log", err);
    if (!log) return NULL;
    log->file.fd = log->board.file.fd = -1;
    log->settings = *settings;
    log->started = clock_seconds();
    log->output_dir = memory_text(settings->output_dir, strlen(settings->output_dir), "the log", err);
    if (!log->output_dir || folder_make(log->output_dir, err) != STATUS_OK) goto err;
    log->settings.output_dir = log->output_dir;
    if (resume) {
        if (read_earlier(log, resume, err) != STATUS_OK) goto err;
    } else if (!(log->history = json_array())) {
        error_set(err, "out of memory for the log");
        goto err;
    }
    if (begin_file(log, err) != STATUS_OK) goto err;
    if (settings->tensorboard && begin_board(log, err) != STATUS_OK) goto err;
    return log;
err:
    train_log_free(log);
    return NULL;
}

void train_log_free(struct train_log *log) {
    if (!log) return;
    file_appender_close(&log->file);
    tensorboard_close(&log->board);
    text_free(&log->lines);
    json_decref(log->history);
    free(log->output_dir);
    free(log);
}

/* ---- Records ----------------------------------------------------------------------------------------- */

double train_log_elapsed(const struct train_log *log) {
    return log->earlier_seconds + (clock_seconds() - log->started);
}

double train_log_remaining(const struct train_log *log, int64_t step) {
    if (step <= log->first_step || step >= log->settings.max_steps) return 0;
    double a_step = (clock_seconds() - log->started) / (double)(step - log->first_step);
    return a_step * (double)(log->settings.max_steps - step);
}

static double round_to_milliseconds(double seconds) {
    return round(seconds * 1e3) / 1e3;
}

static enum status append_line(struct train_log *log, const struct train_record *record, struct error *err) {
    json_t *line =
        json_pack("{s:I, s:I, s:o}", "current_steps", (json_int_t)record->at.step, "total_steps",
                  (json_int_t)log->settings.max_steps, "epoch", trainer_state_number(record->at.epoch));
    bool failed = !line;
    for (size_t i = 0; i < record->count; i++)
        failed |= json_object_set_new(line, record->values[i].name,
                                      trainer_state_number(record->values[i].value)) != 0;
    const double elapsed = round_to_milliseconds(train_log_elapsed(log));
    const double remaining = round_to_milliseconds(train_log_remaining(log, record->at.step));
    failed |= json_object_set_new(line, "elapsed_time", json_real(elapsed)) != 0;
    failed |= json_object_set_new(line, "remaining_time", json_real(remaining)) != 0;

    const size_t before = log->lines.length;
    json_append(&log->lines, failed ? NULL : line, false);
    text_append_string(&log->lines, "\n");
    json_decref(line);
    if (text_check(&log->lines, log->file.path, err) != STATUS_OK) return STATUS_FAILED;
    enum status status =
        file_appender_write(&log->file, log->lines.data + before, log->lines.length - before, err);
    if (status != STATUS_OK) log->lines.length = before;
    return status;
}

/* "train/loss", "train/learning_rate", "eval/loss", as Hugging Face's TensorBoardCallback calls them. */
static void append_tag(struct text *tags, const char *name, bool evaluation) {
    static const char prefix[] = "eval_";
    const size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) == 0)
        text_format(tags, "eval/%s", name + length);
    else
        text_format(tags, "%s/%s", evaluation ? "eval" : "train", trainer_state_name(name));
    text_append(tags, "", 1); /* a terminator after each */
}

static enum status write_scalars(struct train_log *log, const struct train_record *record,
                                 struct error *err) {
    struct text tags = {0};
    const bool evaluation = record->count > 0 && strncmp(record->values[0].name, "eval_", 5) == 0;
    const size_t count = record->count + !evaluation;
    enum status status = STATUS_FAILED;
    struct tensorboard_scalar *scalars = memory_new(count, sizeof *scalars, "TensorBoard scalars", err);
    if (!scalars) return STATUS_FAILED;
    for (size_t i = 0; i < record->count; i++) append_tag(&tags, record->values[i].name, evaluation);
    append_tag(&tags, "epoch", evaluation);
    if (text_check(&tags, "TensorBoard tags", err) != STATUS_OK) goto err;

    const char *tag = tags.data;
    for (size_t i = 0; i < count; i++, tag += strlen(tag) + 1)
        scalars[i] = (struct tensorboard_scalar){
            tag, (float)(i < record->count ? record->values[i].value : record->at.epoch)};
    status = tensorboard_write(&log->board, record->at.step, scalars, count, err);
err:
    free(scalars);
    text_free(&tags);
    return status;
}

enum status train_log_record(struct train_log *log, const struct train_record *record, struct error *err) {
    enum status status = append_line(log, record, err);
    if (status == STATUS_OK)
        status = trainer_state_add(log->history, &record->at, record->values, record->count, err);
    if (status == STATUS_OK && log->settings.tensorboard) status = write_scalars(log, record, err);
    return status;
}

/* ---- What is written now and then -------------------------------------------------------------------- */

const char *train_log_lines(const struct train_log *log, size_t *length) {
    *length = log->lines.length;
    return log->lines.data ? log->lines.data : "";
}

char *train_log_state(const struct train_log *log, const struct train_position *at, struct error *err) {
    return trainer_state_text(&log->settings, at, log->history, err);
}

static enum status publish_state(const struct train_log *log, const struct train_position *at,
                                 struct error *err) {
    char *text = train_log_state(log, at, err);
    char *path = text ? file_join(log->output_dir, state_name, err) : NULL;
    enum status status = path ? file_write(path, text, strlen(text), err) : STATUS_FAILED;
    free(path);
    free(text);
    return status;
}

/* The steps and values of the history's entries that have this value; returns how many. */
static size_t collect(const json_t *history, const char *name, double *steps, double *values) {
    size_t index, count = 0;
    const json_t *entry;
    json_array_foreach(history, index, entry) {
        const json_t *value = json_object_get(entry, name), *step = json_object_get(entry, "step");
        if (!value || !json_is_integer(step)) continue;
        steps[count] = (double)json_integer_value(step);
        values[count++] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    return count;
}

static enum status draw_curve(const struct train_log *log, const struct curve *curve, struct error *err) {
    enum status status = STATUS_FAILED;
    const size_t entries = json_array_size(log->history);
    char *path = NULL;
    double *numbers = memory_new(entries, 3 * sizeof *numbers, curve->file, err);
    if (!numbers) return STATUS_FAILED;
    double *steps = numbers, *values = numbers + entries, *smoothed = numbers + 2 * entries;
    size_t count = collect(log->history, curve->value, steps, values);
    if (count == 0) {
        status = STATUS_OK;
        goto err;
    }
    plot_smooth(values, count, smoothed);
    const struct plot_series series[] = {{"original", PLOT_FAINT, 0, steps, values, count},
                                         {"smoothed", PLOT_LINE, 0, steps, smoothed, count}};
    const struct plot plot = {curve->title, "step", curve->value, series, sizeof series / sizeof *series};
    path = file_join(log->output_dir, curve->file, err);
    if (path) status = plot_write(path, &plot, err);
err:
    free(path);
    free(numbers);
    return status;
}

enum status train_log_publish(struct train_log *log, const struct train_position *at, struct error *err) {
    enum status status = publish_state(log, at, err);
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        if (status == STATUS_OK && log->settings.plot_loss) status = draw_curve(log, &curves[i], err);
    return status;
}

/* ---- Results ----------------------------------------------------------------------------------------- */

/* What all_results.json holds so far; an empty object where there is none or it cannot be read. */
static json_t *read_results(const char *folder, struct error *err) {
    struct error ignored;
    char *path = file_join(folder, all_results_name, err);
    json_t *results = path ? json_read_file(path, LARGEST_FILE, &ignored) : NULL;
    free(path);
    if (json_is_object(results)) return results;
    json_decref(results);
    return json_object();
}

enum status train_log_results(struct train_log *log, const char *split, const struct log_value *values,
                              size_t count, struct error *err) {
    enum status status = STATUS_FAILED;
    struct text name = {0};
    json_t *results = json_object(), *all = read_results(log->output_dir, err);
    bool failed = !results || !all;
    for (size_t i = 0; i < count; i++)
        failed |= json_object_set_new(results, values[i].name, trainer_state_number(values[i].value)) != 0;
    failed |= json_object_update(all, results) != 0;
    text_format(&name, "%s_results.json", split);
    if (failed || name.failed) {
        error_set(err, "%s: out of memory for the results", log->output_dir);
        goto err;
    }
    status = json_write_file(log->output_dir, name.data, results, err);
    if (status == STATUS_OK) status = json_write_file(log->output_dir, all_results_name, all, err);
err:
    json_decref(results);
    json_decref(all);
    text_free(&name);
    return status;
}

enum status train_log_finish(struct train_log *log, const struct train_summary *summary, struct error *err) {
    const double seconds = fmax(train_log_elapsed(log), 1e-3);
    /* In the order of their names, as Hugging Face writes them. */
    const struct log_value values[] = {
        {"epoch", summary->at.epoch},
        {"total_flos", summary->at.total_flos},
        {"train_loss", summary->train_loss},
        {"train_runtime", round_to_milliseconds(seconds)},
        {"train_samples_per_second", round_to_milliseconds((double)summary->samples / seconds)},
        {"train_steps_per_second", round_to_milliseconds((double)summary->at.step / seconds)},
    };
    const size_t count = sizeof values / sizeof *values;
    enum status status = trainer_state_add(log->history, &summary->at, values, count, err);
    if (status == STATUS_OK) status = train_log_results(log, "train", values, count, err);
    if (status == STATUS_OK) status = train_log_publish(log, &summary->at, err);
    return status;
}
