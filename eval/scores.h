/* From a written answer and the probabilities of its digits to scores (docs/reference_scoring.md), and from
 * the scores of several samples to their mean and agreement. */
#ifndef VS2_EVAL_SCORES_H
#define VS2_EVAL_SCORES_H

#include <stdbool.h>
#include <stdint.h>

#include "eval/answer.h"
#include "model/tokenizer.h"

enum { SCORE_LEVELS = 5 };

/* One dimension of one sample. */
struct dimension_score {
    bool has_hard;
    double hard; /* what is written */
    bool has_soft;
    double normed;     /* most probable digit * confidence: the published "float" score */
    double expected;   /* sum of s * p(s) */
    double confidence; /* largest p(s) */
    char problem[128]; /* why something is missing; "" when nothing is */
};

struct scores {
    struct dimension_score dimensions[DIMENSIONS];
};

/* The tokens "1" to "5"; -1 where the tokenizer has none. */
void score_tokens(const struct tokenizer *tokenizer, int32_t tokens[SCORE_LEVELS]);

/* The soft scores of log-probabilities of the five digits (-inf: filtered out), renormalised over the five.
 * Sets `problem` when all are filtered out or one is not a number. */
void scores_soft(const float logprobs[SCORE_LEVELS], struct dimension_score *score);

/* The index of the token that wrote the byte at `offset` of the text that ids[0..count) decode to (special
 * tokens left out), or -1. */
enum status token_at_byte(const struct tokenizer *tokenizer, const int32_t *ids, int64_t count, size_t offset,
                          int64_t *index, struct error *err);

/* What was generated. */
struct sample_text {
    const char *text; /* the decoded ids, special tokens left out */
    size_t length;
    const int32_t *ids; /* [count] */
    int64_t count;
    const float *watched; /* [count, SCORE_LEVELS]: log-probabilities of the digits at each token */
};

/* Reads the answer, and the soft scores at the token of each digit. `tokens`: from score_tokens. Fails only
 * when out of memory. */
enum status scores_read(const struct tokenizer *tokenizer, const int32_t tokens[SCORE_LEVELS],
                        const struct sample_text *sample, struct scores *scores, struct error *err);

/* What several samples say of one dimension. */
struct score_summary {
    int64_t read; /* samples whose hard score could be read; those of the first line are from them */
    double hard;  /* the most frequent; of equally frequent ones the nearest to the mean, then the lower */
    double mean;  /* of the hard scores */
    double standard_error; /* of that mean: standard deviation (n - 1) / sqrt n; NaN for one sample */
    double agreement;      /* share of the samples read that equal `hard` */
    int64_t soft;          /* samples with soft scores; the three below are their means, NaN when 0 */
    double normed, expected, confidence;
};

struct score_summary scores_summarise(const struct scores *samples, int64_t count, enum dimension dimension);

#endif
