/* What the processes of a run do together (train/communicator.h). In a run of one nothing is exchanged. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/communicator.h"
#include "train/run.h"

bool run_leads(const struct train_run *run) {
    return communicator_rank(run->config->processes) == 0;
}

enum status run_agree(const struct train_run *run, enum status status, struct error *err) {
    return communicator_agree(run->config->processes, status, err);
}

enum status run_end_passes(struct train_run *run, bool backward, enum status status, struct error *err) {
    struct error own;
    enum status begun = backward ? optimizer_end_passes(&run->optimizer, &own) : STATUS_OK;
    if (begun != STATUS_OK) { /* the others wait for this process, which is to end all */
        if (status == STATUS_OK) *err = own;
        return status == STATUS_OK ? begun : status;
    }
    return units_finish(run->optimizer.units, run->config->processes, backward, status, err);
}

enum status run_join_step(struct train_run *run, struct run_step *step, struct error *err) {
    struct communicator *processes = run->config->processes;
    const int bad = isfinite(step->loss) ? 0 : 1;
    double sums[] = {step->loss,
                     (double)step->micro_batches,
                     (double)step->sequences,
                     (double)step->tokens,
                     (double)step->labels,
                     step->flops,
                     bad,
                     bad * communicator_rank(processes)};
    enum status status = communicator_sum_values(processes, sums, sizeof sums / sizeof *sums, err);
    if (status != STATUS_OK) return status;
    step->loss = sums[0];
    step->micro_batches = (int64_t)sums[1];
    step->sequences = (int64_t)sums[2];
    step->tokens = (int64_t)sums[3];
    step->labels = (int64_t)sums[4];
    step->flops = sums[5];
    step->bad_processes = (int64_t)sums[6];
    step->bad_process = (int64_t)sums[7];
    return optimizer_reduce(&run->optimizer, err);
}

enum status run_join_stop(struct train_run *run, bool *stop, struct error *err) {
    double asked = *stop;
    enum status status = communicator_sum_values(run->config->processes, &asked, 1, err);
    *stop = asked > 0;
    return status;
}

/* Takes what one process had to skip, and says so. */
static enum status take_news(struct train_run *run, const char *text, struct error *err) {
    struct skipped news = {0};
    json_t *list = json_read_text(text, strlen(text), "rows that a process skipped", err);
    enum status status = list ? skipped_load(&news, list, err) : STATUS_FAILED;
    for (size_t i = 0; status == STATUS_OK && i < news.count; i++) {
        const struct skipped_row *row = &news.rows[i];
        progress_message(run->progress, "skipped %s row %lld: %s", row->dataset, (long long)row->number,
                         row->reason);
        const struct row_place place = {row->dataset, row->number};
        status = skipped_add(&run->skipped, place, row->reason, err);
    }
    skipped_free(&news);
    json_decref(list);
    return status;
}

enum status run_join_skips(struct train_run *run, struct error *err) {
    struct communicator *processes = run->config->processes;
    double news = (double)run->news.count;
    enum status status = communicator_sum_values(processes, &news, 1, err);
    if (status != STATUS_OK || news == 0) return status;
    json_t *list = skipped_save(&run->news);
    char *text = list ? json_dumps(list, JSON_COMPACT) : NULL, **texts = NULL;
    json_decref(list);
    if (!text) return error_set(err, "out of memory for the rows that were skipped");
    texts = communicator_share(processes, text, err);
    status = texts ? STATUS_OK : STATUS_FAILED;
    for (int r = 0; texts && r < communicator_size(processes); r++) {
        if (status == STATUS_OK) status = take_news(run, texts[r], err);
        free(texts[r]);
    }
    free(texts);
    free(text);
    skipped_free(&run->news);
    if (status == STATUS_OK && run_leads(run))
        status = skipped_write(&run->skipped, run->config->output_dir, err);
    if (status == STATUS_OK) status = skipped_check(&run->skipped, run->config->max_skipped_ratio, err);
    return run_agree(run, status, err);
}
