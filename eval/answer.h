/* Reads the three scores from the text that a model wrote.
 *
 * The trained answer is a rationale in <think> tags and then
 *     (1) visual quality: 4
 *     (2) text-to-video alignment: 3
 *     (3) physical/common-sense consistency: 5
 * but models write it in many ways: with descriptors between name and score, markdown, tables, JSON, an
 * <answer> block, other names, another order, Chinese, number words, without tags, or cut off. What is read
 * is the last complete answer (all three dimensions) outside the rationale; a score is never taken from the
 * rationale when there is an answer, nor from a quoted ground truth. Where the rationale never ends, or
 * nothing follows it, only a complete list of scores that ends the text is taken. What could not be read says
 * why.
 */
#ifndef VS2_EVAL_ANSWER_H
#define VS2_EVAL_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum dimension {
    DIMENSION_VISUAL,    /* visual quality, "v" */
    DIMENSION_ALIGNMENT, /* text-to-video alignment, "t" */
    DIMENSION_PHYSICAL,  /* physical/common-sense consistency, "p" */
    DIMENSIONS,
};

/* "v", "t", "p": the prefix of result fields. */
const char *dimension_letter(enum dimension dimension);
/* "visual quality", ... */
const char *dimension_name(enum dimension dimension);

struct answer_value {
    bool found;
    double value;      /* 1 to 5; whole unless the text has a fraction */
    size_t start, end; /* bytes [start, end) of the text: the number itself ("4" of "**4/5**") */
    char problem[96];  /* when not found: why, in words */
};

struct answer {
    struct answer_value values[DIMENSIONS];
};

/* Reads `length` bytes of text, UTF-8 or nearly. Fails only when out of memory: an unreadable text is an
 * answer whose values are not found. */
enum status answer_read(const char *text, size_t length, struct answer *answer, struct error *err);

#endif
