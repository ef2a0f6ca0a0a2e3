/* A made-up run for tests of checkpoints: its weights, moments and reference are a function of the step, so
 * that whatever comes back can be compared. */
#ifndef VS2_TESTS_TRAIN_SUPPORT_FAKE_H
#define VS2_TESTS_TRAIN_SUPPORT_FAKE_H

#include "train/checkpoint.h"

struct fake {
    struct model_config config;
    struct parameter *parameters;
    bool *trained; /* the second layer of the language model */
    size_t count;
    json_t *configuration;
    int64_t step;                   /* the values are a function of it */
    bool fails;                     /* reading does */
    struct communicator *processes; /* NULL: one */
};

extern const char fake_source[]; /* the model's folder */

struct fake fake_new(void);
void fake_free(struct fake *fake);

/* An element of a parameter's part at a step. */
float fake_value(int64_t step, size_t index, enum checkpoint_part part, int64_t element);

/* The run of the fake's processes in the folder. */
struct checkpoint_run fake_run(struct fake *fake, const char *folder);

/* checkpoint_save of step N, with trainer_state.json and query_template.txt. What is read later than that is
 * of step -1. */
enum status fake_save(struct checkpoint_writer *writer, struct fake *fake, int64_t step, struct error *err);
extern const struct checkpoint_file fake_files[2];

/* checkpoint_writer_new, which must succeed. */
struct checkpoint_writer *fake_writer(const struct checkpoint_run *run);

/* Saves step N from beginning to end in a writer of its own, and says how that went. */
enum status fake_save_alone(const struct checkpoint_run *run, struct fake *fake, int64_t step,
                            struct error *err);

/* ---- Checks ------------------------------------------------------------------------------------------ */

/* The folder's model files hold the trained weights of `step` and the frozen ones of the source, as bf16. */
void fake_check_model(const struct fake *fake, const char *folder, int64_t step);

/* A run as `run` can go on from the folder: it is given what this process keeps, as it was saved. Returns the
 * step. */
int64_t fake_check_resumable(struct fake *fake, const struct checkpoint_run *run, const char *folder);

#endif
