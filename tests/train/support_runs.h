/* What the tests of whole training runs share: a configuration in words, the lines that a run writes, and
 * what it did to the weights. Everything fails the running test when it cannot be had. */
#ifndef VS2_TESTS_TRAIN_SUPPORT_RUNS_H
#define VS2_TESTS_TRAIN_SUPPORT_RUNS_H

#include <stddef.h>

#include "base/json.h"

enum { WORDS = 64, WORD = 512 };

/* The words of a configuration. */
struct words {
    char text[WORDS][WORD];
    const char *list[WORDS];
    size_t count;
};

void say(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say_settings(struct words *words, const json_t *settings); /* "key=value" of each member */

/* The lines of FOLDER/NAME, each JSON, that have the member; json_decref the list. */
json_t *read_lines(const char *folder, const char *name, const char *member);

/* A member that must be a number. */
double number(const json_t *object, const char *key);

/* What a run did to every weight against what the reference did, all together: the differences between the
 * checkpoints `before` and `after` have the projections `moves` (tests/reference/sft.py) within `limit` of
 * the norm. */
void check_moves(const char *before, const char *after, const json_t *moves, double limit);

#endif
