/* The types of problem that Video-R1's data sets have, and how an answer to each is judged.
 *
 * The judge of scores reads (v, t, p) from the completion as eval/answer.h does it; the others take what
 * stands in the first <answer>...</answer> of the completion, as Video-R1 does it (VideoScore2's copy of it
 * takes the whole completion, in which no letter or number can be right once there is a rationale).
 *
 * Values, all in [0, 1]; unreadable answers have 0:
 *   video eval       by the distances of the three scores: 1 when all are 0; where none is over 1, 0.7 for
 * one point in all, 0.4 for two, 0.1 for three; else 0 multiple choice  1 when the answer is the solution's
 * text numerical        1 when both are equal after rounding to two decimals, and both have a decimal point
 *                    or comma, or neither
 *   OCR              1 - word error rate
 *   free-form        ROUGE: the mean of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L, words stemmed
 *   regression       1 - relative error
 */
#ifndef VS2_GRPO_PROBLEM_H
#define VS2_GRPO_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "eval/answer.h"

/* What a solution says. */
struct solution {
    double scores[DIMENSIONS]; /* video eval: 1 to 5 */
    double number;             /* numerical, regression */
    const char *text;          /* what stands in its <answer>, or all of it; borrowed */
    size_t length;
};

struct problem_kind {
    const char *name;        /* "video eval" */
    const char *instruction; /* the published line that ends the question */
    bool options;            /* the question lists the row's options */
    /* Reads a solution; STATUS_FAILED with the reason alone in err when it cannot be one. */
    enum status (*read)(const char *text, struct solution *solution, struct error *err);
    /* The published reward of a completion. It fails only when memory is short. */
    enum status (*judge)(const struct solution *solution, const char *text, size_t length, double *value,
                         struct error *err);
};

/* NULL: there is none of that name. */
const struct problem_kind *problem_find(const char *name);
extern const struct problem_kind problem_kinds[]; /* ends with a name of NULL */

#endif
