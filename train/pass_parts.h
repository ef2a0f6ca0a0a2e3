/* What the files of the training pass share: its host tables, and what it has in hand. */
#ifndef VS2_TRAIN_PASS_PARTS_H
#define VS2_TRAIN_PASS_PARTS_H

#include "model/vision.h"
#include "train/pass.h"

/* The tables of one pass. Values are log-probabilities of target tokens. */
struct pass_layout {
    int64_t tokens, features, wanted, values;
    int32_t *ids;          /* [tokens] */
    int32_t *positions;    /* [3, tokens] */
    int32_t *feature_rows; /* [features] */
    int32_t *rows;         /* [wanted]: tokens whose final state predicts a target, ascending */
    int32_t *targets;      /* [values] */
    int32_t *picks; /* [values]: which of `rows` predicts the value; NULL: one value a row, in their order */
    struct attention_segment *segments;
    int64_t segment_count;

    struct pass_visuals *visuals; /* [visual_sources]: of each sequence that has some */
    int64_t visual_sources;
    struct visual_grid *grids; /* [visual_count]: of all of them */
    int64_t visual_count;
};

/* Fill in the tables; pass_layout_free also after a failure. A pass over groups of which none has a value has
 * no tokens. */
enum status pass_layout_samples(struct pass_layout *layout, const struct model_config *config,
                                const struct pass_sample *samples, int64_t count, struct error *err);
enum status pass_layout_groups(struct pass_layout *layout, const struct model_config *config,
                               const struct pass_group *groups, int64_t count, struct error *err);
void pass_layout_free(struct pass_layout *layout);

struct pass_runner {
    struct pass_settings settings;
    struct arena own_arena;
    struct arena *arena; /* the own one, or the lender's */
    struct pass_statistics statistics;
    struct pass_visuals *announced; /* of the pass after the next */
    size_t announced_count, announced_capacity;
};

/* What one pass has in hand. */
struct pass_run {
    struct pass_runner *runner;
    const struct model *model, *gradients; /* gradients: NULL where the model is only read */
    struct arena *arena;
    bool backward, trains_vision;
    struct units_pass together; /* what this pass goes through in all processes that share the model */
    struct pass_layout layout;

    struct vision_plan plan; /* of all visuals, when the tower is trained */
    struct vision_tape vision_tape;
    struct tensor patches, features;

    struct language_pass pass;
    struct language_tape language_tape;
    double clock; /* when the part that runs now began */
};

/* Ends a part: its seconds are added to *seconds. */
enum status pass_end_part(struct pass_run *run, double *seconds, struct error *err);

/* run->features: of the tower as it is, or from the cache when it is frozen. Nothing where nothing is to be
 * seen. */
enum status pass_see(struct pass_run *run, struct error *err);

#endif
