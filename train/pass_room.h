/* The memory that the largest pass of a run works in, so that it is there before the first step: a pass as
 * large goes through a device that only counts (device_counting). */
#ifndef VS2_TRAIN_PASS_ROOM_H
#define VS2_TRAIN_PASS_ROOM_H

#include "train/optimizer.h"
#include "train/pass.h"

/* A pass, of sequences that are alike: a video of so many patches, and text; or of groups: such a prompt, and
 * completions after it. Every token is wanted. */
struct pass_size {
    int64_t sequences, tokens, patches;     /* of a sequence, or of a prompt */
    int64_t completions, completion_tokens; /* of a group; 0: a pass over samples */
};

/* *bytes = what such a pass of the runner takes of its arena; the model may be anywhere, and nothing of it is
 * read. `backward`: a pass that trains. */
enum status pass_count_bytes(const struct pass_runner *runner, struct pass_size size, bool backward,
                             size_t *bytes, struct error *err);

/* The same where there is no optimizer: with settings of pass_settings, and what is frozen. Of the model's
 * tensors the shapes are enough; its device is open. */
struct pass_plan {
    const struct model *model;
    const struct freeze *freeze;
    bool recompute;
    int64_t activation_bytes;
};
enum status pass_plan_bytes(const struct pass_plan *plan, struct pass_size size, bool backward, size_t *bytes,
                            struct error *err);

/* Takes what passes of that size that train need, or what reading one of its prompts does with `beside`
 * bytes, if that is more (those that rollouts keep meanwhile). *there is false where the device has not as
 * much free: then memory is taken as it is needed. Nothing is taken on a device that computes in the host's
 * memory. */
enum status pass_reserve(struct pass_runner *runner, struct pass_size size, size_t beside, bool *there,
                         struct error *err);

#endif
