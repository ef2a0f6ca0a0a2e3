#include "train/run_state.h"

/* The members of a position by name: whole numbers and others. */
static const struct {
    const char *name;
    size_t offset;
} whole_numbers[] = {
    {"step", offsetof(struct run_position, step)},
    {"epoch", offsetof(struct run_position, epoch)},
    {"batch", offsetof(struct run_position, batch)},
    {"updates", offsetof(struct run_position, updates)},
    {"bad_steps", offsetof(struct run_position, bad_steps)},
    {"bad_in_a_row", offsetof(struct run_position, bad_in_a_row)},
    {"samples", offsetof(struct run_position, samples)},
    {"tokens", offsetof(struct run_position, tokens)},
    {"labels", offsetof(struct run_position, labels)},
    {"window_steps", offsetof(struct run_position, window_steps)},
    {"loss_steps", offsetof(struct run_position, loss_steps)},
};
static const struct {
    const char *name;
    size_t offset;
} numbers[] = {
    {"flops", offsetof(struct run_position, flops)},
    {"window_loss", offsetof(struct run_position, window_loss)},
    {"total_loss", offsetof(struct run_position, total_loss)},
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static int64_t *whole_at(struct run_position *position, size_t i) {
    return (int64_t *)(void *)((char *)position + whole_numbers[i].offset);
}

static double *number_at(struct run_position *position, size_t i) {
    return (double *)(void *)((char *)position + numbers[i].offset);
}

json_t *run_position_save(const struct run_position *position, const struct skipped *skipped) {
    struct run_position copy = *position;
    json_t *state = json_object();
    int failed = state == NULL;
    for (size_t i = 0; i < LENGTH(whole_numbers) && !failed; i++)
        failed = json_object_set_new(state, whole_numbers[i].name, json_integer(*whole_at(&copy, i)));
    for (size_t i = 0; i < LENGTH(numbers) && !failed; i++)
        failed = json_object_set_new(state, numbers[i].name, json_real(*number_at(&copy, i)));
    if (!failed) failed = json_object_set_new(state, "skipped", skipped_save(skipped));
    if (!failed) return state;
    json_decref(state);
    return NULL;
}

enum status run_position_load(struct run_position *position, struct skipped *skipped, const json_t *state,
                              struct error *err) {
    const char *place = "the checkpoint's state";
    for (size_t i = 0; i < LENGTH(whole_numbers); i++) {
        long long value;
        if (json_get_integer(state, whole_numbers[i].name, 0, INT64_MAX, 0, &value, place, err) != STATUS_OK)
            return STATUS_FAILED;
        *whole_at(position, i) = value;
    }
    for (size_t i = 0; i < LENGTH(numbers); i++)
        if (json_get_number(state, numbers[i].name, 0, number_at(position, i), place, err) != STATUS_OK)
            return STATUS_FAILED;
    return skipped_load(skipped, json_object_get(state, "skipped"), err);
}

json_t *run_fingerprint(const struct train_config *config) {
    return json_pack(
        "{s:I, s:I, s:f, s:f, s:s, s:f, s:I, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:b, s:f, s:b, s:I}",
        "per_device_train_batch_size", (json_int_t)config->per_device_train_batch_size,
        "gradient_accumulation_steps times processes", (json_int_t)train_step_batches(config),
        "learning_rate", config->learning_rate, "min_lr", config->min_lr, "lr_scheduler_type",
        config->lr_scheduler_type, "warmup_ratio", config->warmup_ratio, "warmup_steps",
        (json_int_t)config->warmup_steps, "num_train_epochs", config->num_train_epochs, "max_steps",
        (json_int_t)config->max_steps, "weight_decay", config->weight_decay, "adam_beta1", config->adam_beta1,
        "adam_beta2", config->adam_beta2, "adam_epsilon", config->adam_epsilon, "max_grad_norm",
        config->max_grad_norm, "bf16", config->bf16, "val_size", config->val_size, "disable_shuffling",
        config->disable_shuffling, "data_seed", (json_int_t)config->data_seed);
}
