#include "eval/benchmark_run.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "eval/results.h"
#include "eval/row_journal.h"
#include "eval/run_record.h"
#include "eval/run_rows.h"
#include "eval/score_json.h"
#include "eval/tally.h"

enum { LARGEST_RECORD = 1 << 20 };

static const char journal_ending[] = ".journal";

struct run {
    const struct benchmark_run *wish;
    char *folder, *record_path, *journal_path; /* RES.json.run and what is in it */
    struct benchmark_items items;
    bool *wanted; /* [items.count] */
    struct run_rows rows;
    struct tally tally;
    struct score_jobs jobs; /* what this call scores; their streams are their items */
    struct row_journal journal;
    struct run_progress now;
    double start;
};

/* ---- What is wanted ---------------------------------------------------------------------------------- */

struct draw {
    uint64_t number;
    size_t item;
};

static int by_number(const void *a, const void *b) {
    const struct draw *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* Every row has a number of its own by the seed, and the lowest ones are drawn: a larger limit keeps those of
 * a smaller one. */
static enum status draw_rows(struct run *run, size_t limit, struct error *err) {
    const size_t count = run->items.count;
    struct draw *draws = memory_new(count, sizeof *draws, "rows", err);
    if (!draws) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) {
        uint32_t words[4];
        random_words((struct random_key){.seed = run->wish->sample_seed, .position = i}, words);
        draws[i] = (struct draw){(uint64_t)words[0] << 32 | words[1], i};
    }
    qsort(draws, count, sizeof *draws, by_number);
    for (size_t i = 0; i < limit; i++) run->wanted[draws[i].item] = true;
    free(draws);
    return STATUS_OK;
}

static enum status choose_rows(struct run *run, struct error *err) {
    const size_t count = run->items.count;
    size_t limit = run->wish->limit ? (size_t)run->wish->limit : count;
    if (limit > count) limit = count;
    run->now.rows = (int64_t)limit;
    if (!(run->wanted = memory_new(count, sizeof *run->wanted, "rows", err))) return STATUS_FAILED;
    if (run->wish->drawn) return draw_rows(run, limit, err);
    for (size_t i = 0; i < limit; i++) run->wanted[i] = true;
    return STATUS_OK;
}

/* ---- What is there ----------------------------------------------------------------------------------- */

/* Makes the folder with the record of the settings, or sees that it has the same ones. */
static enum status check_record(struct run *run, struct error *err) {
    json_t *record = run_record_new(run->wish, err), *old = NULL;
    enum status status = record ? folder_make(run->folder, err) : STATUS_FAILED;
    int lock = -1;
    if (status == STATUS_OK) status = folder_lock_wait(run->folder, &lock, err);
    if (status != STATUS_OK) goto end;
    if (access(run->record_path, F_OK) == 0) {
        old = json_read_file(run->record_path, LARGEST_RECORD, err);
        status = old ? run_record_compare(old, record, run->wish->output, err) : STATUS_FAILED;
    } else if (access(run->wish->output, F_OK) == 0) {
        status =
            error_set(err, "%s: it is there already, and was not written by this program", run->wish->output);
    } else {
        status = json_write_file(run->folder, "settings.json", record, err);
    }
end:
    folder_unlock(lock);
    json_decref(old);
    json_decref(record);
    return status;
}

static bool is_journal(const char *name) {
    const size_t length = strlen(name), size = sizeof journal_ending - 1;
    return length > size && strcmp(name + length - size, journal_ending) == 0;
}

static enum status put_row(void *context, size_t number, const char *text, size_t length, struct error *err) {
    struct run *run = context;
    if (number >= run->items.count)
        return error_set(err, "%s: a journal has row %zu, the benchmark only %zu", run->folder, number,
                         run->items.count);
    return run_rows_put(&run->rows, number, text, length, err);
}

/* Does something with every journal in the folder. */
static enum status each_journal(struct run *run,
                                enum status act(struct run *run, const char *path, struct error *err),
                                struct error *err) {
    struct folder_names names;
    enum status status = folder_list(run->folder, &names, err);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < names.count && status == STATUS_OK; i++) {
        if (!is_journal(names.names[i])) continue;
        char *path = file_join(run->folder, names.names[i], err);
        status = path ? act(run, path, err) : STATUS_FAILED;
        free(path);
    }
    folder_names_free(&names);
    return status;
}

static enum status read_journal(struct run *run, const char *path, struct error *err) {
    size_t size;
    return row_journal_read(path, put_row, run, &size, err);
}

static enum status remove_journal(struct run *run, const char *path, struct error *err) {
    (void)run, (void)err;
    row_journal_remove(path); /* one that stays is read again, and changes nothing */
    return STATUS_OK;
}

/* Reads every row that any process has on disk. */
static enum status read_rows(struct run *run, struct error *err) {
    run_rows_free(&run->rows);
    enum status status = run_rows_new(&run->rows, run->items.count, err);
    if (status == STATUS_OK) status = run_rows_read(&run->rows, &run->items, run->wish->output, err);
    if (status == STATUS_OK) status = each_journal(run, read_journal, err);
    return status;
}

/* ---- Scoring ----------------------------------------------------------------------------------------- */

static void count_row(struct run *run, size_t item) {
    const struct run_row *row = &run->rows.list[item];
    tally_add(&run->tally, item, row->scores);
    run->now.done++;
    run->now.failed += row->failed;
    run->now.accuracy = tally_accuracy(&run->tally);
}

/* Lists the rows of this process that are to be scored, and counts those that are there. */
static enum status list_jobs(struct run *run, struct error *err) {
    const struct launcher_place place = run->wish->place;
    const size_t count = run->items.count;
    for (size_t i = 0; i < count; i++) {
        const struct run_row *row = &run->rows.list[i];
        if (!run->wanted[i]) continue;
        const bool mine = (int64_t)i % place.size == place.rank;
        if (row->text && !(mine && row->failed)) count_row(run, i);
        if (!mine || (row->text && !row->failed)) continue;
        if (score_jobs_add_item(&run->jobs, &run->items, i, run->wish->videos, err) != STATUS_OK)
            return STATUS_FAILED;
    }
    run->now.mine = (int64_t)run->jobs.count;
    return STATUS_OK;
}

static char *row_text(const struct run *run, size_t item, const struct score_result *result, size_t *length,
                      struct error *err) {
    struct text text = {0};
    json_t *score = score_result_json(result, false, err), *row = NULL;
    if (!score) return NULL;
    row = result_row_new(run->wish->benchmark, &run->items, &run->items.list[item], score);
    json_append(&text, row, false);
    *length = text.length;
    json_decref(row);
    json_decref(score);
    return text_take(&text, "a row", err);
}

static void tell_progress(struct run *run) {
    run->now.seconds = clock_seconds() - run->start;
    if (run->wish->progress) run->wish->progress(run->wish->context, &run->now);
}

/* Puts one result on disk. */
static enum status take_result(void *context, const struct score_result *result, struct error *err) {
    struct run *run = context;
    const size_t item = run->jobs.list[result->job].stream;
    size_t length;
    char *text = row_text(run, item, result, &length, err);
    if (!text) return STATUS_FAILED;
    enum status status = row_journal_append(&run->journal, item, text, length, err);
    if (status == STATUS_OK) status = run_rows_put(&run->rows, item, text, length, err);
    free(text);
    if (status != STATUS_OK) return status;
    count_row(run, item);
    run->now.mine_done++;
    if (result->status != STATUS_OK && run->wish->failed)
        run->wish->failed(run->wish->context, result->error.message);
    return STATUS_OK;
}

static void take_progress(void *context, const struct score_progress *progress) {
    struct run *run = context;
    run->now.new_tokens = progress->new_tokens;
    tell_progress(run);
}

/* Under the lock under which other processes remove journals that nobody has open. */
static enum status open_journal(struct run *run, struct error *err) {
    int lock;
    enum status status = folder_lock_wait(run->folder, &lock, err);
    if (status != STATUS_OK) return status;
    status = row_journal_open(&run->journal, run->journal_path, err);
    if (status != STATUS_OK) row_journal_close(&run->journal);
    folder_unlock(lock);
    folder_sync(run->folder);
    return status;
}

static enum status score_rows(struct run *run, struct error *err) {
    struct scorer_settings settings = run->wish->scorer;
    struct scorer *scorer = NULL;
    settings.unordered = true; /* a row that is scored is to be on disk at once */
    settings.progress = take_progress;
    settings.progress_context = run;
    enum status status = open_journal(run, err);
    if (status != STATUS_OK) return status;
    status = scorer_open(&settings, &run->jobs, &scorer, err);
    if (status == STATUS_OK) status = scorer_run(scorer, take_result, run, err);
    scorer_close(scorer);
    row_journal_close(&run->journal);
    return status;
}

/* ---- The end ----------------------------------------------------------------------------------------- */

static int64_t missing_rows(const struct run *run) {
    int64_t missing = 0;
    for (size_t i = 0; i < run->items.count; i++) missing += run->wanted[i] && !run->rows.list[i].text;
    return missing;
}

/* Writes the result file if every row is there; only one process at a time does so. */
static enum status merge_rows(struct run *run, struct run_outcome *outcome, struct error *err) {
    int lock;
    enum status status = folder_lock_wait(run->folder, &lock, err);
    if (status != STATUS_OK) return status;
    status = read_rows(run, err);
    outcome->waiting = status == STATUS_OK ? missing_rows(run) : 0;
    if (status == STATUS_OK && outcome->waiting == 0) {
        status = run_rows_write(&run->rows, run->wish->output, err);
        if (status == STATUS_OK) status = each_journal(run, remove_journal, err);
    }
    folder_unlock(lock);
    for (size_t i = 0; i < run->items.count && status == STATUS_OK; i++)
        outcome->failed += run->wanted[i] && run->rows.list[i].text && run->rows.list[i].failed;
    return status;
}

char *benchmark_run_folder(const char *output, struct error *err) {
    struct text folder = {0};
    text_format(&folder, "%s.run", output);
    return text_take(&folder, output, err);
}

static enum status name_files(struct run *run, struct error *err) {
    struct text journal = {0};
    if (!(run->folder = benchmark_run_folder(run->wish->output, err))) return STATUS_FAILED;
    text_format(&journal, "%s/rows-%" PRId64 "%s", run->folder, run->wish->place.rank, journal_ending);
    if (!(run->journal_path = text_take(&journal, run->wish->output, err))) return STATUS_FAILED;
    run->record_path = file_join(run->folder, "settings.json", err);
    return run->record_path ? STATUS_OK : STATUS_FAILED;
}

static void close_run(struct run *run) {
    score_jobs_free(&run->jobs);
    tally_free(&run->tally);
    run_rows_free(&run->rows);
    benchmark_items_free(&run->items);
    free(run->wanted);
    free(run->folder);
    free(run->record_path);
    free(run->journal_path);
}

enum status benchmark_run(const struct benchmark_run *wish, struct run_outcome *outcome, struct error *err) {
    struct run run = {.wish = wish, .now = {.accuracy = NAN}, .start = clock_seconds()};
    *outcome = (struct run_outcome){0};
    enum status status = benchmark_items_read(wish->benchmark, wish->data, &run.items, err);
    if (status == STATUS_OK) status = choose_rows(&run, err);
    if (status == STATUS_OK) status = name_files(&run, err);
    if (status == STATUS_OK) status = check_record(&run, err);
    if (status == STATUS_OK) status = read_rows(&run, err);
    if (status == STATUS_OK)
        status =
            tally_open(&run.tally, wish->benchmark, &run.items, wish->data, wish->scorer.samples == 1, err);
    if (status == STATUS_OK) status = list_jobs(&run, err);
    if (status == STATUS_OK) tell_progress(&run);
    if (status == STATUS_OK && run.jobs.count > 0) status = score_rows(&run, err);
    if (status == STATUS_OK) status = merge_rows(&run, outcome, err);
    outcome->rows = run.now.rows;
    outcome->scored = run.now.mine_done;
    outcome->accuracy = run.now.accuracy;
    close_run(&run);
    return status;
}
