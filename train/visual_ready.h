/* A video or image of a row as a pass takes it: measured, then with its features from the vision cache, or
 * decoded to patches. All functions may be called from several threads. */
#ifndef VS2_TRAIN_VISUAL_READY_H
#define VS2_TRAIN_VISUAL_READY_H

#include "data/sample.h"
#include "train/vision_features.h"

/* What is needed to make visuals ready. */
struct visual_source {
    const struct model *model;
    struct vision_cache *cache; /* or NULL: every visual is decoded */
    const struct visual_options *options;
};

struct ready_visual {
    char *key;                    /* of the vision cache; NULL without one */
    struct cached_features found; /* data NULL: none; then the visual has patches */
};

/* Finds the features of a measured visual, or decodes it: `visual` then has its patches. *mismatch: its
 * header lied of its frames, so that the decoded one has another grid than the measured one had. */
enum status visual_make_ready(const struct visual_source *source, const char *path, bool image,
                              struct visual *visual, struct ready_visual *ready, bool *mismatch,
                              struct error *err);
void ready_visual_free(struct ready_visual *ready);

#endif
