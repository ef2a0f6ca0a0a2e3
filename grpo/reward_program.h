/* Rewards from a program of the user's: cmd:PROGRAM.
 *
 * PROGRAM is a command line for /bin/sh. It is started for each batch of completions, reads from stdin a JSON
 * object a line, one for each completion,
 *
 *     {"problem_id": ID, "problem": TEXT, "data_type": "video", "problem_type": "video eval", "options": [],
 *      "solution": TEXT, "path": PATH, "data_source": TEXT, "completion": TEXT, "completion_ids": [...],
 *      "truncated": false, "group": NUMBER FROM 0}
 *
 * and writes to stdout a number a line, in the same order, and nothing else. It may write to stderr, which is
 * shown when it fails. It has failed when it ends with another code than 0 or by a signal, when it is not
 * done within the time limit (it is then killed, with all that it started in its process group), when a line
 * is not a finite number, or when there are fewer or more lines than completions. It is then tried once more.
 */
#ifndef VS2_GRPO_REWARD_PROGRAM_H
#define VS2_GRPO_REWARD_PROGRAM_H

#include "grpo/reward.h"

/* Fills values[i * stride] for the completions of the groups, in their order. */
enum status reward_program_run(const char *command, double time_limit, const struct reward_group *groups,
                               int64_t count, double *values, int64_t stride, struct error *err);

#endif
