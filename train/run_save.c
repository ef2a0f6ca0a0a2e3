/* Checkpoints of the run, and the model at its end. */
#include <stdlib.h>
#include <string.h>

#include "train/run.h"

/* Files beside the weights: the log and its state, and the query's template for vs2-score. */
static size_t list_files(struct train_run *run, char *log, struct checkpoint_file files[3]) {
    size_t count = 0;
    if (log) {
        size_t length;
        const char *lines = train_log_lines(run->log, &length);
        files[count++] = (struct checkpoint_file){"trainer_log.jsonl", lines, length};
        files[count++] = (struct checkpoint_file){"trainer_state.json", log, strlen(log)};
    }
    if (run->template)
        files[count++] = (struct checkpoint_file){"query_template.txt", run->template, strlen(run->template)};
    return count;
}

struct train_position run_at(const struct train_run *run) {
    const struct run_position *position = &run->position;
    return (struct train_position){
        .step = position->step,
        .epoch = (double)position->epoch + (double)position->batch / (double)run->batches,
        .input_tokens = position->tokens,
        .total_flos = position->flops,
    };
}

/* What vs2_state/state.json holds of the run. NULL when out of memory. */
static json_t *save_state(const struct train_run *run) {
    const struct run_stage *stage = run->stage;
    json_t *state = run_position_save(&run->position, &run->skipped);
    bool failed = !state || json_object_set_new(state, "metrics", run_metrics_save(&run->metrics)) != 0 ||
                  (stage->save && json_object_set_new(state, "stage", stage->save(stage->context)) != 0);
    if (!failed) return state;
    json_decref(state);
    return NULL;
}

enum status run_load_state(struct train_run *run, const json_t *state, struct error *err) {
    const struct run_stage *stage = run->stage;
    enum status status = run_position_load(&run->position, &run->skipped, state, err);
    if (status == STATUS_OK) status = run_metrics_load(&run->metrics, json_object_get(state, "metrics"), err);
    if (status == STATUS_OK && stage->load)
        status = stage->load(stage->context, json_object_get(state, "stage"), err);
    return status;
}

enum status run_save(struct train_run *run, struct error *err) {
    const struct train_position at = run_at(run);
    struct checkpoint_file files[3];
    size_t count = 0;
    json_t *state = NULL;
    char *log = NULL;
    enum status status = STATUS_OK;
    if (run_leads(run)) {
        state = save_state(run);
        log = state ? train_log_state(run->log, &at, err) : NULL;
        if (!state) error_set(err, "out of memory for the state of a checkpoint");
        if (!log) status = STATUS_FAILED;
        if (log) count = list_files(run, log, files);
    }
    status = run_agree(run, status, err);
    if (status == STATUS_OK && run->writer)
        status = checkpoint_save(run->writer, run->position.step, state, files, count, err);
    if (status == STATUS_OK && run_leads(run)) status = train_log_publish(run->log, &at, err);
    if (status == STATUS_OK) run->saved_step = run->position.step;
    json_decref(state);
    free(log);
    return status;
}

enum status run_save_final(struct train_run *run, struct error *err) {
    struct checkpoint_file files[3];
    size_t count = list_files(run, NULL, files);
    return run->writer ? checkpoint_save_final(run->writer, files, count, err) : STATUS_OK;
}

enum status run_wait_saved(struct train_run *run, struct error *err) {
    return run_agree(run, run->writer ? checkpoint_wait(run->writer, err) : STATUS_OK, err);
}
