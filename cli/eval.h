/* The commands of vs2-eval, each in its own file: argv[0] is the command's name; the exit code comes back. */
#ifndef VS2_CLI_EVAL_H
#define VS2_CLI_EVAL_H

int eval_run(int argc, char **argv);
int eval_metrics(int argc, char **argv);
int eval_best_of_n(int argc, char **argv);
int eval_report(int argc, char **argv);

#endif
