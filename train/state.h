/* trainer_state.json: the TrainerState of Hugging Face's Trainer (transformers/trainer_callback.py), with the
 * history of what was logged. */
#ifndef VS2_TRAIN_STATE_H
#define VS2_TRAIN_STATE_H

#include "base/json.h"
#include "train/log.h"

/* The name of a value in the history and, after "train/", in TensorBoard: "learning_rate" for "lr". */
const char *trainer_state_name(const char *name);

/* Appends an entry to the history (an array): the values under their names there, then epoch and step. Values
 * that only tell of the speed stay out of it. */
enum status trainer_state_add(json_t *history, const struct train_position *at,
                              const struct log_value *values, size_t count, struct error *err);

/* The file's text; free() it. NULL with err set when out of memory. */
char *trainer_state_text(const struct train_log_settings *settings, const struct train_position *at,
                         json_t *history, struct error *err);

/* Reads FOLDER/trainer_state.json: its history (a new array to be json_decref'd) and its step. */
enum status trainer_state_read(const char *folder, json_t **history, int64_t *step, struct error *err);

/* A finite number as real, others as null; NULL when out of memory. */
json_t *trainer_state_number(double value);

#endif
