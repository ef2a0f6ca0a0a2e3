/* The rows of a run: which can be used, how long they are, which are held out, and how they are grouped. */
#ifndef VS2_TRAIN_SFT_DATA_H
#define VS2_TRAIN_SFT_DATA_H

#include "train/config.h"
#include "train/skipped.h"
#include "train/stream.h"

/* Rows to train on, or to evaluate on. */
struct sft_set {
    const struct dataset *dataset;
    int64_t *rows; /* group after group */
    struct stream_group *groups;
    int64_t group_count, row_count;
    int64_t tokens, labels; /* of all rows, after truncation */
    int64_t longest;        /* tokens of the longest group */
    int64_t most_patches;   /* of the videos and images of a group */
};

struct sft_data {
    struct dataset *dataset, *eval_dataset; /* the latter NULL: none named */
    struct sft_set train, eval;             /* eval.group_count 0: nothing to evaluate on */
};

/* Reads the data sets, measures every row on preprocessing_num_workers threads without decoding videos,
 * lists those that cannot be used in `skipped`, splits off val_size and packs. `progress` is called now and
 * then, or NULL. Too many skipped rows, or none left, are errors; sft_data_close also after a failure. */
enum status sft_data_open(struct sft_data *data, const struct train_config *config,
                          const struct sample_options *encoding, struct skipped *skipped,
                          void (*progress)(void *context, int64_t done, int64_t total), void *context,
                          struct error *err);
void sft_data_close(struct sft_data *data);

/* The order of the groups in an epoch: order [group_count]. */
enum status sft_data_order(const struct sft_data *data, const struct train_config *config, int64_t epoch,
                           int64_t *order, struct error *err);

#endif
