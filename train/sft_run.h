/* What the files of the SFT run share. */
#ifndef VS2_TRAIN_SFT_RUN_H
#define VS2_TRAIN_SFT_RUN_H

#include "train/log.h"
#include "train/optimizer.h"
#include "train/pass.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/sft_data.h"
#include "train/sft_state.h"

struct sft {
    const struct train_config *config;
    char *folder; /* of the model trained from */
    struct device device;
    struct model model;
    struct tokenizer *tokenizer;
    struct sample_options encoding;
    struct sft_data data;
    struct vision_cache *cache;
    struct optimizer optimizer;
    struct pass_runner *runner;
    struct schedule schedule;
    struct device_peak peak;
    int64_t batches;                                            /* micro-batches an epoch */
    int64_t total_steps, logging_steps, save_steps, eval_steps; /* 0: never */
    struct sft_position position;

    /* The epoch that is running. */
    int64_t *order;
    struct stream *stream;

    /* What it writes. */
    struct progress *progress;
    struct train_log *log;
    struct checkpoint_run checkpoints;
    struct checkpoint_writer *writer;
    bool *trained;
    json_t *fingerprint;
    char *template;     /* of the query, recovered from the data; NULL: there is none */
    int64_t saved_step; /* of the last checkpoint of this session */
};

/* What a step was. */
struct sft_step {
    double loss, norm, learning_rate; /* NaN where there was nothing to train on */
    int64_t micro_batches, sequences, tokens, labels;
    bool updated;
    double seconds, flops;
};

/* sft_open.c: everything up to the first step; sft_close also after a failure. */
enum status sft_open(struct sft *sft, const struct train_config *config, struct error *err);

/* sft_open.c: the beginning of it: the data, measured, and the schedule. */
enum status sft_open_data(struct sft *sft, const struct train_config *config, struct error *err);
struct freeze sft_freeze(const struct train_config *config);
void sft_close(struct sft *sft);

/* sft_step.c: one optimizer step; position moves on. */
enum status sft_step(struct sft *sft, struct sft_step *step, struct error *err);

/* sft_step.c: the mean loss over the held-out sequences, as Hugging Face's Trainer averages it: over batches
 * of per_device_eval_batch_size, by their number of sequences. */
enum status sft_evaluate(struct sft *sft, double *loss, int64_t *sequences, struct error *err);

/* sft_save.c: the position as the log wants it. */
struct train_position sft_at(const struct sft *sft);

/* sft_save.c: a checkpoint of the position, and the model in the output folder itself. */
enum status sft_save(struct sft *sft, struct error *err);
enum status sft_save_final(struct sft *sft, struct error *err);

#endif
