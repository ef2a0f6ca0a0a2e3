#include "train/state.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char file_name[] = "trainer_state.json";

/* The names whose place in the history is not their own. */
static const struct named_value {
    const char *name;
    const char *history_name; /* NULL: not in the history, it tells of the speed */
} named_values[] = {
    {"lr", "learning_rate"}, {"tokens_per_second", NULL}, {"step_seconds", NULL}, {"mfu", NULL},
    {"memory", NULL},
};

static const struct named_value *find_named(const char *name) {
    for (size_t i = 0; i < sizeof named_values / sizeof *named_values; i++)
        if (strcmp(named_values[i].name, name) == 0) return &named_values[i];
    return NULL;
}

const char *trainer_state_name(const char *name) {
    const struct named_value *named = find_named(name);
    return named && named->history_name ? named->history_name : name;
}

json_t *trainer_state_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

enum status trainer_state_add(json_t *history, const struct train_position *at,
                              const struct log_value *values, size_t count, struct error *err) {
    json_t *entry = json_object();
    bool failed = !entry;
    for (size_t i = 0; i < count; i++) {
        const struct named_value *named = find_named(values[i].name);
        if (named && !named->history_name) continue;
        failed |= json_object_set_new(entry, trainer_state_name(values[i].name),
                                      trainer_state_number(values[i].value)) != 0;
    }
    failed |= json_object_set_new(entry, "epoch", trainer_state_number(at->epoch)) != 0;
    failed |= json_object_set_new(entry, "step", json_integer(at->step)) != 0;
    if (failed) {
        json_decref(entry);
        return error_set(err, "out of memory for %s", file_name);
    }
    if (json_array_append_new(history, entry) != 0) return error_set(err, "out of memory for %s", file_name);
    return STATUS_OK;
}

char *trainer_state_text(const struct train_log_settings *settings, const struct train_position *at,
                         json_t *history, struct error *err) {
    enum { DEFAULT_STEPS = 500 }; /* what TrainerState says where nothing was set */
    struct text text = {0};
    json_int_t eval_steps = settings->eval_steps > 0 ? settings->eval_steps : DEFAULT_STEPS;
    json_t *state = json_pack(
        "{s:n, s:n, s:n, s:o, s:I, s:I, s:b, s:b, s:b, s:O, s:I, s:I, s:I, s:I, s:I, s:{}, s:o, s:I, s:n, "
        "s:n}",
        "best_global_step", "best_metric", "best_model_checkpoint", "epoch", trainer_state_number(at->epoch),
        "eval_steps", eval_steps, "global_step", (json_int_t)at->step, "is_hyper_param_search", 0,
        "is_local_process_zero", 1, "is_world_process_zero", 1, "log_history", history, "logging_steps",
        (json_int_t)settings->logging_steps, "max_steps", (json_int_t)settings->max_steps,
        "num_input_tokens_seen", (json_int_t)at->input_tokens, "num_train_epochs",
        (json_int_t)ceil(settings->num_train_epochs), "save_steps", (json_int_t)settings->save_steps,
        "stateful_callbacks", "total_flos", trainer_state_number(at->total_flos), "train_batch_size",
        (json_int_t)settings->train_batch_size, "trial_name", "trial_params");
    json_append(&text, state, true);
    text_append_string(&text, "\n");
    json_decref(state);
    return text_take(&text, file_name, err);
}

enum status trainer_state_read(const char *folder, json_t **history, int64_t *step, struct error *err) {
    enum { LARGEST_FILE = 1 << 30 };
    enum status status = STATUS_FAILED;
    long long value;
    json_t *state = NULL;
    char *path = file_join(folder, file_name, err);
    if (!path || !(state = json_read_file(path, LARGEST_FILE, err))) goto err;
    if (json_get_integer(state, "global_step", 0, INT64_MAX, 0, &value, path, err) != STATUS_OK) goto err;
    json_t *entries = json_object_get(state, "log_history"), *entry;
    size_t index;
    if (!json_is_array(entries)) {
        error_set(err, "%s: no list 'log_history'", path);
        goto err;
    }
    json_array_foreach(entries, index, entry) {
        if (json_is_object(entry)) continue;
        error_set(err, "%s: 'log_history' holds something else than objects", path);
        goto err;
    }
    *step = value;
    *history = json_incref(entries);
    status = STATUS_OK;
err:
    json_decref(state);
    free(path);
    return status;
}
