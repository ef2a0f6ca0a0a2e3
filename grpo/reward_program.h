/* Rewards from a program of the user's: cmd:PROGRAM.
 *
 * PROGRAM is a command line for /bin/sh. It is started for each batch of completions and reads from stdin a
 * JSON object a line for each of them: the members of the data row (problem_id, problem, solution, path, ...,
 * and what else the row has), and
 *
 *     "completion": TEXT, "completion_ids": [...], "truncated": false, "group": NUMBER OF THE PROMPT FROM 0
 *
 * It writes to stdout a number a line, in the same order, and nothing else. It may write to stderr, which is
 * shown when it fails. It has failed when it ends with another code than 0 or by a signal, when it is not
 * done within the time limit, when a line is not a finite number, and when the lines are not as many as the
 * completions. It is then tried once more. When it is done or has failed, all that it started and that stayed
 * in its process group is killed.
 */
#ifndef VS2_GRPO_REWARD_PROGRAM_H
#define VS2_GRPO_REWARD_PROGRAM_H

#include "grpo/reward.h"

/* Fills `values`, a number for each completion of the groups. `notes` as in rewards_compute. */
enum status reward_program_run(const char *command, double time_limit, const struct reward_group *groups,
                               int64_t count, double *values, struct text *notes, struct error *err);

#endif
