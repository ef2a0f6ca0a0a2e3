#include "train/progress.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

#define SECONDS_BETWEEN 0.1

enum { MESSAGE_SIZE = 4096, NUMBER_SIZE = 64 };

struct progress {
    pthread_mutex_t mutex;
    FILE *file;
    bool quiet, terminal;
    size_t shown; /* columns of the line that stands there; 0: none */
    double last;  /* when it was shown */
};

struct progress *progress_new(FILE *file, bool quiet, struct error *err) {
    struct progress *progress = memory_new(1, sizeof *progress, "the progress line", err);
    if (!progress) return NULL;
    pthread_mutex_init(&progress->mutex, NULL);
    progress->file = file;
    progress->quiet = quiet;
    progress->terminal = isatty(fileno(file)) != 0;
    return progress;
}

/* Columns of the terminal; one is left free, as a full line would wrap. */
static size_t terminal_width(const struct progress *progress) {
    struct winsize size;
    if (ioctl(fileno(progress->file), TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 79;
    return size.ws_col - 1u;
}

/* ---- Figures ----------------------------------------------------------------------------------------- */

/* 1234567 as "1,234,567". */
static void append_thousands(struct text *out, double value) {
    char digits[NUMBER_SIZE];
    int length = snprintf(digits, sizeof digits, "%.0f", value);
    int first = digits[0] == '-';
    for (int i = 0; i < length && i < NUMBER_SIZE - 1; i++) {
        if (i > first && (length - i) % 3 == 0) text_append_string(out, ",");
        text_append(out, &digits[i], 1);
    }
}

static void append_duration(struct text *out, double seconds) {
    long long whole = seconds < 0 ? 0 : seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (whole >= 3600)
        text_format(out, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        text_format(out, "%lld:%02lld", whole / 60, whole % 60);
}

static void append_bytes(struct text *out, double bytes) {
    static const struct {
        double size;
        const char *name;
    } units[] = {{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (bytes < units[i].size) continue;
        text_format(out, "%.1f %s", bytes / units[i].size, units[i].name);
        return;
    }
    text_format(out, "%.0f B", bytes);
}

static void append_field(struct text *out, const struct progress_field *field) {
    bool behind = field->unit == PROGRESS_SPEED;
    if (!behind && field->label[0]) text_format(out, "%s ", field->label);
    switch (field->unit) {
    case PROGRESS_NUMBER: text_format(out, "%.4f", field->value); break;
    case PROGRESS_SHORT: text_format(out, "%.2f", field->value); break;
    case PROGRESS_RATE: text_format(out, "%.3g", field->value); break;
    case PROGRESS_SPEED: append_thousands(out, field->value); break;
    case PROGRESS_PERCENT: text_format(out, "%.0f%%", 100 * field->value); break;
    case PROGRESS_BYTES: append_bytes(out, field->value); break;
    case PROGRESS_DURATION: append_duration(out, field->value); break;
    }
    if (behind) text_format(out, " %s", field->label);
}

void progress_append_line(struct text *line, const char *what, int64_t done, int64_t total,
                          const struct progress_field *fields, size_t count, size_t width) {
    size_t start = line->length;
    text_format(line, "%s %lld/%lld %.0f%%", what, (long long)done, (long long)total,
                total > 0 ? 100.0 * (double)done / (double)total : 100.0);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(fields[i].value)) continue;
        struct text piece = {0};
        text_append_string(&piece, "  ");
        append_field(&piece, &fields[i]);
        bool fits = width == 0 || line->length - start + piece.length <= width;
        if (piece.failed)
            line->failed = true;
        else if (fits)
            text_append(line, piece.data, piece.length);
        text_free(&piece);
        if (!fits) return;
    }
}

/* ---- The line ---------------------------------------------------------------------------------------- */

/* Blanks out what stands there. */
static void wipe(struct progress *progress) {
    if (progress->shown > 0) fprintf(progress->file, "\r%*s\r", (int)progress->shown, "");
    progress->shown = 0;
}

static bool is_due(const struct progress *progress, int64_t done, int64_t total, bool logged) {
    if (progress->quiet) return false;
    if (logged || !progress->terminal) return logged;
    return done == total || progress->shown == 0 || clock_seconds() - progress->last >= SECONDS_BETWEEN;
}

void progress_show(struct progress *progress, const char *what, int64_t done, int64_t total,
                   const struct progress_field *fields, size_t count, bool logged) {
    pthread_mutex_lock(&progress->mutex);
    if (is_due(progress, done, total, logged)) {
        struct text line = {0};
        size_t width = progress->terminal ? terminal_width(progress) : 0;
        progress_append_line(&line, what, done, total, fields, count, width);
        if (!line.failed && progress->terminal) {
            size_t columns = line.length < width ? line.length : width;
            int rest = progress->shown > columns ? (int)(progress->shown - columns) : 0;
            fprintf(progress->file, "\r%.*s%*s", (int)columns, line.data, rest, "");
            progress->shown = columns;
        } else if (!line.failed) {
            fprintf(progress->file, "%s\n", line.data);
        }
        fflush(progress->file);
        progress->last = clock_seconds();
        text_free(&line);
    }
    pthread_mutex_unlock(&progress->mutex);
}

void progress_message(struct progress *progress, const char *format, ...) {
    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    pthread_mutex_lock(&progress->mutex);
    wipe(progress);
    fprintf(progress->file, "%s\n", message);
    fflush(progress->file);
    pthread_mutex_unlock(&progress->mutex);
}

void progress_free(struct progress *progress) {
    if (!progress) return;
    if (progress->shown > 0) fputc('\n', progress->file);
    pthread_mutex_destroy(&progress->mutex);
    free(progress);
}
