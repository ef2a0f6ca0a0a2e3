#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/text.h"
#include "base/yaml.h"
#include "cli/wrap.h"

enum {
    MOST_OPTIONS = 96,
    HELP_COLUMN = 28,
    HELP_WIDTH = 80,
    FIRST_VALUE = 256, /* getopt_long's value of the first option; above every character */
    VALUE_HELP = FIRST_VALUE + MOST_OPTIONS,
    VALUE_VERSION,
};

static bool is_end(const struct option_spec *spec) {
    return !spec->name && spec->kind != OPTION_TITLE && spec->kind != OPTION_TABLE;
}

/* Every option of a program in one table, those of inner tables too. */
struct option_list {
    struct option_spec specs[MOST_OPTIONS + 1]; /* ends as a table does */
    int count;
};

static void add_table(struct option_list *list, const struct option_spec *table, size_t offset) {
    for (; !is_end(table); table++) {
        if (table->kind == OPTION_TABLE) {
            add_table(list, table->table, offset + table->offset);
            continue;
        }
        assert(list->count < MOST_OPTIONS);
        list->specs[list->count] = *table;
        list->specs[list->count++].offset += offset;
    }
    list->specs[list->count] = (struct option_spec){0};
}

/* ---- Help -------------------------------------------------------------------------------------------- */

static void help_option(struct text *out, const struct option_spec *spec) {
    size_t start = out->length;
    text_append_string(out, "  ");
    if (spec->letter) text_format(out, "-%c, ", spec->letter);
    text_format(out, "--%s%s%s", spec->name, spec->argument ? " " : "", spec->argument ? spec->argument : "");
    size_t column = out->length - start;
    struct text words = {0};
    text_append_string(&words, spec->help);
    if (spec->standard) text_format(&words, " (default: %s)", spec->standard);
    if (column + 2 > HELP_COLUMN) {
        text_append_string(out, "\n");
        column = 0;
    }
    for (; column < HELP_COLUMN; column++) text_append_string(out, " ");
    if (words.data) wrap_text(out, words.data, HELP_COLUMN, HELP_COLUMN, HELP_WIDTH);
    text_append_string(out, "\n");
    text_free(&words);
}

static void help_usage(struct text *out, const struct program *program) {
    const char *line = program->synopsis ? program->synopsis : "[OPTION...]";
    for (bool first = true; *line; first = false) {
        int length = (int)strcspn(line, "\n");
        text_format(out, "%s %s%s%s %.*s\n", first ? "Usage:" : "      ", program->name,
                    program->command ? " " : "", program->command ? program->command : "", length, line);
        line += length + (line[length] == '\n');
    }
}

static void help_begin(struct text *out, const struct program *program) {
    help_usage(out, program);
    text_append_string(out, "\n");
    wrap_text(out, program->summary, 0, 0, HELP_WIDTH);
    text_append_string(out, "\n");
}

static void help_end(struct text *out, const struct program *program) {
    if (program->examples) text_format(out, "\nExamples:\n%s", program->examples);
    if (!out->failed) fputs(out->data, stdout);
    text_free(out);
}

void options_help(const struct program *program) {
    struct text out = {0};
    struct option_list list = {.count = 0};
    add_table(&list, program->options, 0);
    help_begin(&out, program);
    if (list.specs[0].kind != OPTION_TITLE) text_append_string(&out, "\nOptions:\n");
    for (const struct option_spec *spec = list.specs; !is_end(spec); spec++) {
        if (spec->kind == OPTION_TITLE)
            text_format(&out, "\n%s:\n", spec->help);
        else
            help_option(&out, spec);
    }
    text_append_string(&out, "\nOther:\n");
    help_option(&out, &(struct option_spec){.name = "help", .help = "show this help and exit"});
    help_option(&out, &(struct option_spec){.name = "version", .help = "show the version and exit"});
    help_end(&out, program);
}

/* ---- Values ------------------------------------------------------------------------------------------ */

static bool in_range(const struct option_spec *spec, double value) {
    return (spec->low == 0 && spec->high == 0) || (value >= spec->low && value <= spec->high);
}

static enum status out_of_range(const struct option_spec *spec, const char *value, struct error *err) {
    return error_usage(err, "option '--%s': %s is out of range (%.17g to %.17g)", spec->name, value,
                       spec->low, spec->high);
}

static enum status set_integer(const struct option_spec *spec, const char *value, int64_t *to,
                               struct error *err) {
    char *end;
    errno = 0;
    intmax_t number = strtoimax(value, &end, 10);
    if (end == value || *end)
        return error_usage(err, "option '--%s': '%s' is not a whole number", spec->name, value);
    if (errno == ERANGE || number < INT64_MIN || number > INT64_MAX || !in_range(spec, (double)number))
        return out_of_range(spec, value, err);
    *to = (int64_t)number;
    return STATUS_OK;
}

static enum status set_number(const struct option_spec *spec, const char *value, double *to,
                              struct error *err) {
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !isfinite(number))
        return error_usage(err, "option '--%s': '%s' is not a number", spec->name, value);
    if (!in_range(spec, number)) return out_of_range(spec, value, err);
    *to = number;
    return STATUS_OK;
}

static enum status set_choice(const struct option_spec *spec, const char *value, int *to, struct error *err) {
    struct text words = {0};
    for (int i = 0; spec->choices[i]; i++) {
        if (strcmp(spec->choices[i], value) == 0) {
            text_free(&words);
            *to = i;
            return STATUS_OK;
        }
        text_format(&words, "%s%s", i ? ", " : "", spec->choices[i]);
    }
    enum status status = error_usage(err, "option '--%s': '%s' is none of %s", spec->name, value,
                                     words.data ? words.data : "");
    text_free(&words);
    return status;
}

static enum status set_config(const char *path, struct yaml_node **to, struct error *err) {
    yaml_tree_free(*to);
    *to = NULL;
    return yaml_read_file(path, to, err);
}

static enum status set_value(const struct option_spec *spec, const char *value, void *settings,
                             struct error *err) {
    void *to = (char *)settings + spec->offset;
    switch (spec->kind) {
    case OPTION_STRING:
        if (!*value) return error_usage(err, "option '--%s': its argument is empty", spec->name);
        *(const char **)to = value;
        return STATUS_OK;
    case OPTION_INTEGER: return set_integer(spec, value, to, err);
    case OPTION_NUMBER: return set_number(spec, value, to, err);
    case OPTION_FLAG: *(bool *)to = true; return STATUS_OK;
    case OPTION_CHOICE: return set_choice(spec, value, to, err);
    case OPTION_CONFIG: return set_config(value, to, err);
    case OPTION_TITLE:
    case OPTION_TABLE: break;
    }
    assert(!"this is no option");
    return STATUS_OK;
}

/* ---- Words of the command line ----------------------------------------------------------------------- */

/* What getopt_long did not accept: `word` as it stands in argv. */
static enum status unknown_option(const struct option_list *list, const char *word, struct error *err) {
    if (word[0] != '-' || word[1] != '-')
        return error_usage(err, "unknown option '%s' (options begin with two dashes; see --help)", word);
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    struct nearest search = nearest_start(name);
    const char *first = NULL, *second = NULL; /* options that the word could be short for */
    for (const struct option_spec *spec = list->specs; !is_end(spec); spec++) {
        if (spec->kind == OPTION_TITLE) continue;
        nearest_offer(&search, spec->name);
        if (strncmp(spec->name, name, strlen(name)) != 0) continue;
        second = first ? spec->name : NULL;
        first = first ? first : spec->name;
    }
    nearest_offer(&search, "help");
    nearest_offer(&search, "version");
    if (first && second)
        return error_usage(err, "option '--%s' is ambiguous ('--%s' or '--%s')", name, first, second);
    if (search.best)
        return error_usage(err, "unknown option '--%s' (did you mean '--%s'?)", name, search.best);
    return error_usage(err, "unknown option '--%s' (see --help)", name);
}

static int fill_long_options(const struct option_list *list, struct option *options) {
    int count = 0;
    for (int i = 0; i < list->count; i++) {
        const struct option_spec *spec = &list->specs[i];
        if (spec->kind == OPTION_TITLE) continue;
        int takes = spec->kind == OPTION_FLAG ? no_argument : required_argument;
        options[count++] = (struct option){spec->name, takes, NULL, FIRST_VALUE + i};
    }
    options[count++] = (struct option){"help", no_argument, NULL, VALUE_HELP};
    options[count++] = (struct option){"version", no_argument, NULL, VALUE_VERSION};
    options[count] = (struct option){0};
    return count;
}

/* ---- Options of a file ------------------------------------------------------------------------------- */

/* Whether the key is the option's name, its '_' being '-'. */
static bool names_option(const char *key, const struct option_spec *spec) {
    if (spec->kind == OPTION_TITLE || spec->kind == OPTION_CONFIG) return false;
    const char *name = spec->name;
    for (; *key && *name; key++, name++)
        if (*key != *name && (*key != '_' || *name != '-')) return false;
    return *key == *name;
}

static enum status unknown_key(const struct option_list *list, const char *key, struct error *err) {
    struct nearest search = nearest_start(key);
    for (const struct option_spec *spec = list->specs; !is_end(spec); spec++)
        if (spec->kind != OPTION_TITLE && spec->kind != OPTION_CONFIG) nearest_offer(&search, spec->name);
    if (search.best) return error_usage(err, "unknown key '%s' (did you mean '%s'?)", key, search.best);
    return error_usage(err, "unknown key '%s'", key);
}

static enum status set_key(const struct option_spec *spec, const struct yaml_node *node, void *settings,
                           struct error *err) {
    bool on = true;
    if (node->kind != YAML_SCALAR) return error_usage(err, "'%s' is to be a single value", node->key);
    if (yaml_is_null(node)) return STATUS_OK;
    if (spec->kind == OPTION_FLAG && !yaml_to_bool(node, &on))
        return error_usage(err, "'%s' is neither true nor false", node->key);
    return on ? set_value(spec, node->text, settings, err) : STATUS_OK;
}

/* Sets what the file gives and the command line does not. */
static enum status apply_config(const struct option_list *list, const char *path,
                                const struct yaml_node *root, bool *given, void *settings,
                                struct error *err) {
    if (root->kind != YAML_MAP) return error_usage(err, "%s: it holds no options", path);
    for (const struct yaml_node *node = root->first; node; node = node->next) {
        int i = 0;
        while (i < list->count && !names_option(node->key, &list->specs[i])) i++;
        enum status status = STATUS_OK;
        if (i == list->count)
            status = unknown_key(list, node->key, err);
        else if (!given[i])
            status = set_key(&list->specs[i], node, settings, err);
        if (status != STATUS_OK) {
            error_prefix(err, "%s:%" PRId64, path, node->line);
            return status;
        }
        if (!yaml_is_null(node)) given[i] = true;
    }
    return STATUS_OK;
}

/* ---- Parsing ----------------------------------------------------------------------------------------- */

/* The letters, as getopt_long wants them: "o" as ":o:". */
static void fill_letters(const struct option_list *list, char letters[2 * MOST_OPTIONS + 2]) {
    *letters++ = ':';
    for (int i = 0; i < list->count; i++) {
        if (!list->specs[i].letter) continue;
        *letters++ = list->specs[i].letter;
        if (list->specs[i].kind != OPTION_FLAG) *letters++ = ':';
    }
    *letters = '\0';
}

/* Which option getopt_long's value is: that of a name, or a letter. */
static int option_index(const struct option_list *list, int value) {
    int i = 0;
    if (value >= FIRST_VALUE) return value - FIRST_VALUE;
    while (list->specs[i].letter != value) i++;
    return i;
}

static enum status check_required(const struct option_list *list, const bool *given, struct error *err) {
    for (int i = 0; i < list->count; i++)
        if (list->specs[i].required && !given[i])
            return error_usage(err, "option '--%s' is missing (see --help)", list->specs[i].name);
    return STATUS_OK;
}

enum status options_parse(const struct program *program, int argc, char **argv, void *settings,
                          int *first_operand, bool *finished, struct error *err) {
    struct option options[MOST_OPTIONS + 3];
    char letters[2 * MOST_OPTIONS + 2];
    struct option_list list = {.count = 0};
    bool given[MOST_OPTIONS] = {false};
    const char *config_path = NULL;
    const struct yaml_node *const *config = NULL;
    add_table(&list, program->options, 0);
    fill_long_options(&list, options);
    fill_letters(&list, letters);
    *finished = false;
    optind = 0; /* makes glibc start afresh */
    opterr = 0;
    for (int value; (value = getopt_long(argc, argv, letters, options, NULL)) != -1;) {
        if (value == VALUE_HELP || value == VALUE_VERSION) {
            if (value == VALUE_HELP) options_help(program);
            if (value == VALUE_VERSION) printf("%s %s\n", program->name, VS2_VERSION);
            *finished = true;
            return STATUS_OK;
        }
        if (value == ':')
            return error_usage(err, "option '--%s' needs an argument",
                               list.specs[option_index(&list, optopt)].name);
        if (value == '?' && optopt >= FIRST_VALUE)
            return error_usage(err, "option '%s': takes no argument", argv[optind - 1]);
        if (value == '?') return unknown_option(&list, argv[optind - 1], err);
        int i = option_index(&list, value);
        enum status status = set_value(&list.specs[i], optarg, settings, err);
        if (status != STATUS_OK) return status;
        given[i] = true;
        if (list.specs[i].kind != OPTION_CONFIG) continue;
        config_path = optarg;
        config = (const void *)((const char *)settings + list.specs[i].offset);
    }
    *first_operand = optind;
    if (argc - optind > program->operands)
        return error_usage(err, "'%s' is too much (see --help)", argv[optind + program->operands]);
    if (config) {
        enum status status = apply_config(&list, config_path, *config, given, settings, err);
        if (status != STATUS_OK) return status;
    }
    return check_required(&list, given, err);
}

/* ---- Programs ---------------------------------------------------------------------------------------- */

int program_fail(const struct program *program, enum status status, const struct error *err) {
    assert(status != STATUS_OK);
    fprintf(stderr, "%s: error: %s\n", program->name, err->message);
    return status;
}

int program_finish(const struct program *program, int exit_code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return exit_code;
    struct error err;
    return program_fail(program, error_set(&err, "standard output: %s", strerror(errno)), &err);
}

static void commands_help(const struct program *program, const struct command *commands) {
    struct text out = {0};
    help_begin(&out, program);
    text_append_string(&out, "\nCommands (each has a --help of its own):\n");
    for (const struct command *command = commands; command->name; command++)
        text_format(&out, "  %-12s %s\n", command->name, command->summary);
    help_end(&out, program);
}

int commands_run(const struct program *program, const struct command *commands, int argc, char **argv) {
    struct error err;
    if (argc < 2) return program_fail(program, error_usage(&err, "a command is missing (see --help)"), &err);
    if (strcmp(argv[1], "--help") == 0) {
        commands_help(program, commands);
        return program_finish(program, STATUS_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("%s %s\n", program->name, VS2_VERSION);
        return program_finish(program, STATUS_OK);
    }
    struct nearest search = nearest_start(argv[1]);
    for (const struct command *command = commands; command->name; command++) {
        if (strcmp(argv[1], command->name) == 0) {
            const int exit_code = command->run(argc - 1, argv + 1);
            return exit_code ? exit_code : program_finish(program, exit_code);
        }
        nearest_offer(&search, command->name);
    }
    if (search.best)
        error_usage(&err, "unknown command '%s' (did you mean '%s'?)", argv[1], search.best);
    else
        error_usage(&err, "unknown command '%s' (see --help)", argv[1]);
    return program_fail(program, STATUS_USAGE, &err);
}
