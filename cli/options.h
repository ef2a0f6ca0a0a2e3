/* The command line of every program: options, help, errors and exit codes.
 *
 * A program describes its options in a const table and keeps their values in a struct of its own, whose
 * members are set to the defaults before parsing:
 *
 *     struct settings { const char *model; double fps; bool quiet; };
 *     static const struct option_spec options[] = {
 *         {.name = "model", .argument = "DIR", .help = "checkpoint folder", .kind = OPTION_STRING,
 *          .offset = offsetof(struct settings, model), .required = true},
 *         {.name = "fps", .argument = "N", .help = "frames a second", .standard = "2", .kind = OPTION_NUMBER,
 *          .offset = offsetof(struct settings, fps), .low = 0.01, .high = 1000},
 *         {0}};
 *
 * --help and --version are there by themselves. With an OPTION_CONFIG, options may stand in a YAML file, too:
 * "max-new-tokens: 512" or "max_new_tokens: 512"; null leaves an option alone, and the command line wins. The
 * member is NULL before; yaml_tree_free ends it, also after a failure, once the strings are no longer used.
 */
#ifndef VS2_CLI_OPTIONS_H
#define VS2_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum option_kind {                    /* the member of the settings is a ... */
                   OPTION_STRING = 0, /* const char *, borrowed; an empty one is an error */
                   OPTION_INTEGER,    /* int64_t in [low, high] */
                   OPTION_NUMBER,     /* double in [low, high], finite */
                   OPTION_FLAG,       /* bool, set to true; the option takes no argument */
                   OPTION_CHOICE,     /* int, the index of the word in `choices` */
                   OPTION_CONFIG,     /* struct yaml_node *, the map of a YAML file with options by name */
                   OPTION_TITLE,      /* no option: `help` is a title for those that follow */
                   OPTION_TABLE,      /* the options of `table`, whose settings are the struct at offset */
};

struct option_spec {
    const char *name;     /* without "--"; NULL, no title and no table: the end of the table */
    char letter;          /* 'o': it can be written "-o", too; 0: it cannot */
    const char *argument; /* the word for the argument in the help: "FILE" */
    const char *help;     /* one sentence, no full stop */
    const char *standard; /* the default in words, shown in the help, or NULL */
    enum option_kind kind;
    bool required;
    size_t offset;                   /* of the member in the settings */
    double low, high;                /* range of numbers, both included; both 0: any */
    const char *const *choices;      /* words of a choice, ending with NULL */
    const struct option_spec *table; /* of OPTION_TABLE: what several programs share */
};

struct program {
    const char *name;     /* "vs2-score" */
    const char *command;  /* "video" of "vs2-bench video", or NULL */
    const char *synopsis; /* what follows the name in the usage line; lines of it are alternatives */
    const char *summary;  /* what it does, for the help */
    const char *examples; /* whole lines, for the help */
    const struct option_spec *options;
    int operands; /* how many words that are no options it takes at most */
};

/* Parses argv[1..argc) into the settings. Options may be shortened while they stay clear, and stand after
 * operands; "--" ends them. When --help or --version was asked for, it is printed and *finished set.
 * Operands are moved to the end of argv: argv[*first_operand .. argc). Errors are STATUS_USAGE. */
enum status options_parse(const struct program *program, int argc, char **argv, void *settings,
                          int *first_operand, bool *finished, struct error *err);

/* The help, on stdout. */
void options_help(const struct program *program);

/* Prints "PROGRAM: error: MESSAGE" on stderr and returns the exit code of the status. */
int program_fail(const struct program *program, enum status status, const struct error *err);

/* Flushes stdout: the exit code, or an error when something written there did not get through (full disk). */
int program_finish(const struct program *program, int exit_code);

/* One command of a program with several: vs2-data synth, check, ... */
struct command {
    const char *name; /* NULL: the end of the table */
    const char *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
};

/* Runs the command that argv[1] names. `program` describes the whole: its options are not used. --help lists
 * the commands. */
int commands_run(const struct program *program, const struct command *commands, int argc, char **argv);

#endif
