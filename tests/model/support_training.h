/* What the tests of training passes share: gradients, prompts with labels, and one step of each. Everything
 * fails the running test when it cannot be had. */
#ifndef VS2_TESTS_SUPPORT_TRAINING_H
#define VS2_TESTS_SUPPORT_TRAINING_H

#include "model/language.h"
#include "model/parameters.h"
#include "model/vision.h"
#include "tests/model/support_golden.h"

/* Zeroed gradients of the parameters that are trained. */
struct gradients {
    struct model model;
    struct arena memory;
    struct parameter *parameters;
    size_t count;
};

/* `trained` says it of a parameter's name; NULL: all. */
struct gradients gradients_make(struct golden_model *opened, bool (*trained)(const char *name));
void gradients_free(struct gradients *gradients);

/* Compares every gradient with the golden ones of a case (tests/golden/gradients/README.md), which add up
 * when there are several; the names end with NULL. Returns the distance of all together over the norm of all;
 * fails where one is further off than `tolerance` norms. */
double gradients_compare(struct golden_model *opened, const struct gradients *gradients,
                         const struct safetensors *expected, const char *const *names, double tolerance);

/* Packed sequences with visuals and labels. */
struct training_case {
    int64_t count, features, wanted_count, visual_count, segment_count, patch_rows;
    int32_t *tokens, *feature_rows;
    int32_t *positions; /* [3, count] */
    int32_t *wanted;    /* rows with a label on the next token */
    int32_t *target;    /* those tokens */
    float *d_logprob;
    float *patches;
    struct visual_grid visuals[8];
    struct attention_segment segments[8];
};

/* A prompt of the goldens with the labels of tests/golden/gradients; the loss is their mean. */
struct training_case training_case_get(const struct golden_model *opened, const struct safetensors *golden,
                                       const struct safetensors *labels, const char *name);

/* Both one after the other, in one pass; the loss is the sum of theirs. */
struct training_case training_case_join(const struct training_case *a, const struct training_case *b);
void training_case_free(struct training_case *c);

struct training_depths {
    struct tape_depth language, vision;
};

/* Forward and backward: adds to the gradients and writes the loss. The device may have failed; nothing is
 * checked but that. */
enum status training_try(struct golden_model *opened, const struct gradients *gradients,
                         const struct training_case *c, struct training_depths depths, double *loss,
                         struct error *err);

/* The same, which must succeed. Returns the loss. */
double training_step(struct golden_model *opened, const struct gradients *gradients,
                     const struct training_case *c, struct training_depths depths);

/* All gradients in one array, in the order of the parameters (frozen ones: nothing); free() it. */
float *gradients_read(struct golden_model *opened, const struct gradients *gradients, int64_t *count);

#endif
