/* Videos scored to a result file with progress on stderr: what commands of vs2-eval share. */
#ifndef VS2_CLI_EVAL_SCORE_H
#define VS2_CLI_EVAL_SCORE_H

#include "eval/benchmark_run.h"

/* benchmark_run, of this process's share where several were launched. Sets place, progress, failed and
 * context of the run. */
enum status eval_score(struct benchmark_run *run, struct run_outcome *outcome, struct error *err);

#endif
