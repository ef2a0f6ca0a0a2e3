/* The types of problem that Video-R1's data sets have, and how an answer to each is judged.
 *
 * The judge of scores reads (v, t, p) from the completion as eval/answer.h does it; the others take what
 * stands in the first <answer>...</answer> of the completion, as Video-R1 does it (VideoScore2's copy of it
 * takes the whole completion, in which no letter or number can be right once there is a rationale).
 *
 * Values, all in [0, 1]; unreadable answers have 0:
 *   video eval       by the distances of the three scores: 1 when there is none; where none is over 1, 0.7
 *                    for one point in all, 0.4 for two, 0.1 for three; else 0
 *   multiple choice  1 when the answer is the solution's text
 *   numerical        1 when both are equal after rounding to two decimals, and both or neither have a
 *                    decimal point or comma
 *   OCR              1 - word error rate
 *   free-form        ROUGE: the mean of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L, words stemmed
 *   regression       1 - relative error
 */
#ifndef VS2_GRPO_PROBLEM_H
#define VS2_GRPO_PROBLEM_H

#include <stdbool.h>

#include "base/error.h"
#include "eval/answer.h"
#include "grpo/words.h"

/* What a solution says. */
struct solution {
    double scores[DIMENSIONS]; /* video eval: 1 to 5 */
    double number;             /* numerical, regression */
    struct passage text;       /* what stands in its <answer>, or all of it; borrowed */
};

/* A function of a completion in [0, 1]. It fails only when memory is short. */
typedef enum status problem_judge(const struct solution *solution, struct passage completion, double *value,
                                  struct error *err);

struct problem_kind {
    const char *name;        /* "video eval"; NULL: the end of the table */
    const char *instruction; /* the published line that ends the question */
    bool options;            /* the question lists the row's options */
    /* Reads what stands in a solution's <answer>; STATUS_FAILED with the reason alone in err when it cannot
     * be one. */
    enum status (*read)(struct passage text, struct solution *solution, struct error *err);
    problem_judge *accuracy; /* the published one */
    problem_judge *distance; /* the same, but for video eval: 1 - (sum of the distances) / 12 */
};

extern const struct problem_kind problem_kinds[];

/* NULL: there is none of that name. */
const struct problem_kind *problem_find(const char *name);

/* Reads a solution; STATUS_FAILED with the reason alone in err when it cannot be one of that kind. The text
 * must outlive what was read. */
enum status problem_read(const struct problem_kind *kind, const char *text, struct solution *solution,
                         struct error *err);

#endif
