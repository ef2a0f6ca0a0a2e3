/* Checkpoints of the run, and the model at its end. */
#include <stdlib.h>
#include <string.h>

#include "train/sft_run.h"

/* Files beside the weights: the log and its state, and the query's template for vs2-score. */
static size_t list_files(struct sft *sft, char *state, struct checkpoint_file files[3]) {
    size_t count = 0;
    if (state) {
        size_t length;
        const char *lines = train_log_lines(sft->log, &length);
        files[count++] = (struct checkpoint_file){"trainer_log.jsonl", lines, length};
        files[count++] = (struct checkpoint_file){"trainer_state.json", state, strlen(state)};
    }
    if (sft->template)
        files[count++] = (struct checkpoint_file){"query_template.txt", sft->template, strlen(sft->template)};
    return count;
}

struct train_position sft_at(const struct sft *sft) {
    const struct sft_position *position = &sft->position;
    return (struct train_position){
        .step = position->step,
        .epoch = (double)position->epoch + (double)position->batch / (double)sft->batches,
        .input_tokens = position->tokens,
        .total_flos = position->flops,
    };
}

enum status sft_save(struct sft *sft, struct error *err) {
    const struct train_position at = sft_at(sft);
    struct checkpoint_file files[3];
    json_t *position = sft_position_save(&sft->position, &sft->data.skipped);
    if (!position) return error_set(err, "out of memory for the state of a checkpoint");
    char *state = train_log_state(sft->log, &at, err);
    enum status status = state ? STATUS_OK : STATUS_FAILED;
    if (status == STATUS_OK)
        status = checkpoint_save(sft->writer, sft->position.step, position, files,
                                 list_files(sft, state, files), err);
    if (status == STATUS_OK) {
        sft->saved_step = sft->position.step;
        status = train_log_publish(sft->log, &at, err);
    }
    json_decref(position);
    free(state);
    return status;
}

enum status sft_save_final(struct sft *sft, struct error *err) {
    struct checkpoint_file files[3];
    size_t count = list_files(sft, NULL, files);
    return checkpoint_save_final(sft->writer, files, count, err);
}
