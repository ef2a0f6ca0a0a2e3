#include "cli/eval_score.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/progress.h"

struct display {
    const struct benchmark_run *run;
    struct progress *progress;
    bool begun;
    double logged; /* seconds at which a plain line was written */
};

static void announce(const struct display *display, const struct run_progress *now) {
    const struct launcher_place place = display->run->place;
    char share[64] = "";
    if (place.size > 1)
        snprintf(share, sizeof share, "process %" PRId64 " of %" PRId64 ": ", place.rank + 1, place.size);
    progress_message(display->progress,
                     "vs2-eval: %s%s: %" PRId64 " videos, %" PRId64 " are done, %" PRId64 " to score here",
                     share, display->run->benchmark->name, now->rows, now->done, now->mine);
}

static void show_progress(void *context, const struct run_progress *now) {
    const double seconds_between_lines = 10;
    struct display *display = context;
    if (!display->begun) announce(display, now);
    display->begun = true;
    if (now->mine_done == 0) return;
    const bool last = now->mine_done == now->mine;
    const bool logged = last || now->seconds - display->logged >= seconds_between_lines;
    const bool alone = display->run->place.size == 1;
    const double left = now->seconds / (double)now->mine_done * (double)(now->mine - now->mine_done);
    const struct progress_field fields[] = {
        {"accuracy", PROGRESS_PERCENT, now->accuracy},
        {"ETA", PROGRESS_DURATION, last ? NAN : left},
        {"tok/s", PROGRESS_SPEED, (double)now->new_tokens / now->seconds},
        {"failed", PROGRESS_SPEED, now->failed ? (double)now->failed : NAN},
    };
    if (logged) display->logged = now->seconds;
    progress_show(display->progress, "videos", alone ? now->done : now->mine_done,
                  alone ? now->rows : now->mine, fields, sizeof fields / sizeof *fields, logged);
}

static void tell_failure(void *context, const char *message) {
    const struct display *display = context;
    progress_message(display->progress, "vs2-eval: error: %s", message);
}

enum status eval_score(struct benchmark_run *run, struct run_outcome *outcome, struct error *err) {
    struct display display = {.run = run};
    enum status status = launcher_find(&run->place, err);
    if (status != STATUS_OK) return status;
    if (!(display.progress = progress_new(stderr, false, err))) return STATUS_FAILED;
    run->progress = show_progress;
    run->failed = tell_failure;
    run->context = &display;
    status = benchmark_run(run, outcome, err);
    progress_free(display.progress);
    return status;
}
