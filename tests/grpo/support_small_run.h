/* What the tests of whole GRPO runs share. */
#ifndef VS2_TESTS_GRPO_SUPPORT_SMALL_RUN_H
#define VS2_TESTS_GRPO_SUPPORT_SMALL_RUN_H

#include "tests/train/support_runs.h"

/* A run of a step or more of a tiny model on few frames, into FOLDER/NAME, and what is to be different. The
 * data set is tests/golden/grpo/rows.jsonl, and extra words, up to NULL, come after. */
void say_small_run(struct words *words, const char *folder, const char *name, const char *const *extra);

#endif
