/* Pieces of a text that an answer is read from. White space is that of Python's str methods, with which the
 * published rewards cut their texts. */
#ifndef VS2_GRPO_WORDS_H
#define VS2_GRPO_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A stretch of somebody's text. */
struct passage {
    const char *text;
    size_t length;
};

struct passage passage_of(const char *string);

/* Without white space at both ends. */
struct passage passage_trim(struct passage passage);

/* Passes over a string that begins the passage; false, and nothing happens, when something else does. */
bool passage_skip(struct passage *passage, const char *string);

/* Passes over all up to the first such mark, and over the mark: `before` is what stood before it. False, and
 * nothing happens, when there is none. */
bool passage_until(struct passage *passage, const char *mark, struct passage *before);

/* What stands between the first `open` and the next `close` after it; false: there is no such place. */
bool passage_between(struct passage passage, const char *open, const char *close, struct passage *inside);

bool passage_equal(struct passage a, struct passage b);

/* The words between white space, in an array to be freed with free(). */
enum status passage_words(struct passage passage, struct passage **words, size_t *count, struct error *err);

#endif
