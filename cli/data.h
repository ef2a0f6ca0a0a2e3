/* The commands of vs2-data, each in its own file: argv[0] is the command's name; the exit code comes back. */
#ifndef VS2_CLI_DATA_H
#define VS2_CLI_DATA_H

int data_synth(int argc, char **argv);
int data_check(int argc, char **argv);
int data_stats(int argc, char **argv);
int data_template(int argc, char **argv);
int data_convert(int argc, char **argv);

#endif
