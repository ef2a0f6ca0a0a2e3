/* The problems of a run: which rows can be used, how long their prompts are, which are held out, and in what
 * order they come. */
#ifndef VS2_GRPO_PROBLEMS_H
#define VS2_GRPO_PROBLEMS_H

#include "grpo/prompt.h"
#include "train/skipped.h"

/* Problems to train on, or to evaluate on. */
struct problem_set {
    const struct grpo_rows *rows;
    const char *path; /* of their file */
    int64_t *list;    /* [count]: numbers of grpo_rows, in the order of the file */
    int64_t count;
    int64_t tokens;       /* of all prompts */
    int64_t longest;      /* tokens of the longest prompt */
    int64_t most_patches; /* of the largest video or image */
};

struct problems {
    struct grpo_rows *rows, *eval_rows; /* the latter NULL: no eval_dataset */
    struct problem_set train, eval;     /* eval.count 0: nothing to evaluate on */
};

/* Reads the files, measures every prompt on preprocessing_num_workers threads without decoding videos, lists
 * rows that cannot be used in `skipped`, and splits off val_size. Too many skipped rows, or none left, are
 * errors; problems_close also after a failure. */
enum status problems_open(struct problems *problems, const struct train_config *config,
                          const struct prompt_settings *settings, struct skipped *skipped,
                          void (*progress)(void *context, int64_t done, int64_t total), void *context,
                          struct error *err);
void problems_close(struct problems *problems);

/* Where a row of the set comes from. */
struct row_place problem_place(const struct problem_set *set, const struct grpo_row *row);

#endif
