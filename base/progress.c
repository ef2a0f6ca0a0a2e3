#include "base/progress.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

struct progress {
    FILE *file;
    bool terminal, quiet;
    struct text line; /* on the terminal now; empty: none */
    double shown;     /* clock_seconds when it was written last */
    pthread_mutex_t mutex;
};

/* ---- Figures ----------------------------------------------------------------------------------------- */

/* 12345.6 as "12,346". */
static void append_thousands(struct text *out, double value) {
    enum { GROUP = 3, SIZE = 340 };
    char digits[SIZE];
    int length = snprintf(digits, sizeof digits, "%.0f", value);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % GROUP == 0 && digits[i - 1] != '-') text_append_string(out, ",");
        text_append(out, digits + i, 1);
    }
}

static void append_number(struct text *out, const char *label, double value) {
    text_format(out, "%s %.4f", label, value);
}

static void append_short(struct text *out, const char *label, double value) {
    text_format(out, "%s %.2f", label, value);
}

static void append_rate(struct text *out, const char *label, double value) {
    text_format(out, "%s %.2e", label, value);
}

static void append_speed(struct text *out, const char *label, double value) {
    append_thousands(out, value);
    text_format(out, " %s", label);
}

static void append_percent(struct text *out, const char *label, double value) {
    text_format(out, "%s %.0f%%", label, value * 100);
}

static void append_bytes(struct text *out, const char *label, double value) {
    const double kilo = 1000;
    static const char *const names[] = {"B", "kB", "MB", "GB", "TB"};
    size_t i = 0;
    for (; i + 1 < sizeof names / sizeof *names && value >= kilo; i++) value /= kilo;
    text_format(out, "%s%s%.*f %s", label, *label ? " " : "", i > 2 ? 1 : 0, value, names[i]);
}

/* "12 s", "3:05", "1:02:03", "2 d 3 h" */
static void append_duration(struct text *out, const char *label, double value) {
    enum { MINUTE = 60, HOUR = 3600, DAY = 86400, LONGEST = 1000000000 };
    long seconds = lround(fmin(fmax(value, 0), LONGEST));
    text_format(out, "%s ", label);
    if (seconds < MINUTE)
        text_format(out, "%ld s", seconds);
    else if (seconds < HOUR)
        text_format(out, "%ld:%02ld", seconds / MINUTE, seconds % MINUTE);
    else if (seconds < DAY)
        text_format(out, "%ld:%02ld:%02ld", seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    else
        text_format(out, "%ld d %ld h", seconds / DAY, seconds % DAY / HOUR);
}

static void (*const append_figure[])(struct text *out, const char *label, double value) = {
    [PROGRESS_NUMBER] = append_number,     [PROGRESS_SHORT] = append_short,
    [PROGRESS_RATE] = append_rate,         [PROGRESS_SPEED] = append_speed,
    [PROGRESS_PERCENT] = append_percent,   [PROGRESS_BYTES] = append_bytes,
    [PROGRESS_DURATION] = append_duration,
};

void progress_append_line(struct text *line, const char *what, int64_t done, int64_t total,
                          const struct progress_field *fields, size_t count, size_t width) {
    const size_t start = line->length;
    text_format(line, "%s %" PRId64 "/%" PRId64, what, done, total);
    if (total > 0) text_format(line, "  %.0f%%", floor(100.0 * (double)done / (double)total));
    for (size_t i = 0; i < count && !line->failed; i++) {
        if (!isfinite(fields[i].value)) continue;
        const size_t before = line->length;
        text_append_string(line, "  ");
        append_figure[fields[i].unit](line, fields[i].label, fields[i].value);
        if (width > 0 && line->length - start > width) {
            line->length = before;
            break;
        }
    }
    if (width > 0 && line->length - start > width) line->length = start + width;
    text_append(line, "", 0); /* terminated where it was cut */
}

/* ---- The terminal ------------------------------------------------------------------------------------ */

/* Columns of the terminal but the last one, in which a terminal may begin a new line. */
static size_t usable_width(FILE *file) {
    enum { USUAL = 80 };
    struct winsize size;
    if (ioctl(fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return USUAL - 1;
    return size.ws_col - 1U;
}

static void erase_line(struct progress *progress) {
    if (progress->terminal && progress->line.length > 0) fputs("\r\033[K", progress->file);
}

static void draw_line(struct progress *progress) {
    if (progress->line.length == 0) return;
    fputs(progress->line.data, progress->file);
    if (!progress->terminal) fputs("\n", progress->file);
    fflush(progress->file);
}

struct progress *progress_new(FILE *file, bool quiet, struct error *err) {
    struct progress *progress = memory_new(1, sizeof *progress, "the progress line", err);
    if (!progress) return NULL;
    progress->file = file;
    progress->quiet = quiet;
    progress->terminal = file && isatty(fileno(file));
    progress->shown = -INFINITY;
    pthread_mutex_init(&progress->mutex, NULL);
    return progress;
}

void progress_show(struct progress *progress, const char *what, int64_t done, int64_t total,
                   const struct progress_field *fields, size_t count, bool logged) {
    const double least_seconds = 0.1;
    if (!progress->file || progress->quiet || (!logged && !progress->terminal)) return;
    pthread_mutex_lock(&progress->mutex);
    double now = clock_seconds();
    if (logged || done == total || now - progress->shown >= least_seconds) {
        progress->shown = now;
        erase_line(progress);
        progress->line.length = 0;
        progress_append_line(&progress->line, what, done, total, fields, count,
                             progress->terminal ? usable_width(progress->file) : 0);
        draw_line(progress);
    }
    pthread_mutex_unlock(&progress->mutex);
}

void progress_message(struct progress *progress, const char *format, ...) {
    char message[ERROR_MESSAGE_SIZE];
    va_list arguments;
    if (!progress->file) return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '\x7F') *c = '?';
    pthread_mutex_lock(&progress->mutex);
    erase_line(progress);
    fprintf(progress->file, "%s\n", message);
    if (progress->terminal) draw_line(progress);
    fflush(progress->file);
    pthread_mutex_unlock(&progress->mutex);
}

void progress_free(struct progress *progress) {
    if (!progress) return;
    if (progress->terminal && progress->line.length > 0) fputs("\n", progress->file);
    if (progress->file) fflush(progress->file);
    text_free(&progress->line);
    pthread_mutex_destroy(&progress->mutex);
    free(progress);
}
