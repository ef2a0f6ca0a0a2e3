/* The shared command line: values, ranges, hints, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/yaml.h"
#include "cli/options.h"

struct limits {
    bool strict;
    int64_t most;
};

struct settings {
    struct yaml_node *config;
    const char *model;
    struct limits limits;
    int64_t frames;
    double fps;
    bool quiet;
    int format;
};

static const char *const formats[] = {"text", "json", NULL};
static const struct option_spec limit_options[] = {
    {.kind = OPTION_TITLE, .help = "Limits"},
    {.name = "strict", .help = "no more", .kind = OPTION_FLAG, .offset = offsetof(struct limits, strict)},
    {.name = "most",
     .argument = "N",
     .help = "at most",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct limits, most)},
    {0}};
static const struct option_spec options[] = {
    {.name = "config",
     .argument = "FILE",
     .help = "options of a file",
     .kind = OPTION_CONFIG,
     .offset = offsetof(struct settings, config)},
    {.kind = OPTION_TITLE, .help = "Input"},
    {.name = "model",
     .letter = 'm',
     .argument = "DIR",
     .help = "checkpoint folder",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, model),
     .required = true},
    {.name = "max-frames",
     .argument = "N",
     .help = "frames at most",
     .standard = "10",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, frames),
     .low = 1,
     .high = 768},
    {.name = "max-pixels",
     .argument = "N",
     .help = "another",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, frames)},
    {.name = "fps",
     .argument = "N",
     .help = "frames a second",
     .kind = OPTION_NUMBER,
     .offset = offsetof(struct settings, fps),
     .low = 0.01,
     .high = 1000},
    {.name = "quiet",
     .letter = 'q',
     .help = "say less",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, quiet)},
    {.name = "format",
     .argument = "WORD",
     .help = "text or json",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, format),
     .choices = formats},
    {.kind = OPTION_TABLE, .table = limit_options, .offset = offsetof(struct settings, limits)},
    {0}};
static const struct program program = {.name = "vs2-test",
                                       .synopsis = "--model DIR [OPTION...] FILE",
                                       .summary = "Tests.",
                                       .examples = "  vs2-test --model m f\n",
                                       .options = options,
                                       .operands = 1};

enum { MOST_WORDS = 20 };

struct outcome {
    enum status status;
    struct settings settings;
    struct error err;
    bool finished;
    const char *operand;
};

/* Splits the line at spaces and parses it. The line must outlive the outcome. */
static struct outcome parse(char *line) {
    char *argv[MOST_WORDS + 1] = {"vs2-test"};
    int argc = 1, operand = 0;
    for (char *word = strtok(line, " "); word && argc < MOST_WORDS; word = strtok(NULL, " "))
        argv[argc++] = word;
    struct outcome outcome = {.settings = {.fps = 2, .frames = 10}};
    outcome.status =
        options_parse(&program, argc, argv, &outcome.settings, &operand, &outcome.finished, &outcome.err);
    if (outcome.status == STATUS_OK && !outcome.finished && operand < argc) outcome.operand = argv[operand];
    return outcome;
}

static void values_reach_the_settings(void **state) {
    (void)state;
    char line[] = "clip.mp4 --model folder --max-frames=768 --fps 0.5 --quiet --format json "
                  "--strict --most 7";
    struct outcome outcome = parse(line);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_false(outcome.finished);
    assert_string_equal(outcome.settings.model, "folder");
    assert_int_equal(outcome.settings.frames, 768);
    assert_true(outcome.settings.fps == 0.5);
    assert_true(outcome.settings.quiet);
    assert_int_equal(outcome.settings.format, 1);
    assert_true(outcome.settings.limits.strict);
    assert_int_equal(outcome.settings.limits.most, 7);
    assert_string_equal(outcome.operand, "clip.mp4");
    char defaults[] = "--mod m";
    outcome = parse(defaults);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_int_equal(outcome.settings.frames, 10);
    assert_null(outcome.operand);
}

static void letters_stand_for_names(void **state) {
    (void)state;
    char apart[] = "clip.mp4 -q -m folder", together[] = "-qmfolder clip.mp4";
    char *const lines[] = {apart, together};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct outcome outcome = parse(lines[i]);
        assert_int_equal(outcome.status, STATUS_OK);
        assert_true(outcome.settings.quiet);
        assert_string_equal(outcome.settings.model, "folder");
        assert_string_equal(outcome.operand, "clip.mp4");
    }
}

static void mistakes_are_usage_errors(void **state) {
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"--modle m", "unknown option '--modle' (did you mean '--model'?)"},
        {"--modle=m", "unknown option '--modle' (did you mean '--model'?)"},
        {"--strikt", "unknown option '--strikt' (did you mean '--strict'?)"},
        {"--model m --most many", "option '--most': 'many' is not a whole number"},
        {"--xyzzy", "unknown option '--xyzzy' (see --help)"},
        {"--max 3", "option '--max' is ambiguous ('--max-frames' or '--max-pixels')"},
        {"-x", "unknown option '-x' (options begin with two dashes; see --help)"},
        {"--model", "option '--model' needs an argument"},
        {"-q -m", "option '--model' needs an argument"},
        {"-m m -x", "unknown option '-x' (options begin with two dashes; see --help)"},
        {"--model=", "option '--model': its argument is empty"},
        {"", "option '--model' is missing (see --help)"},
        {"--model m --quiet=yes", "option '--quiet=yes': takes no argument"},
        {"--model m --max-frames ten", "option '--max-frames': 'ten' is not a whole number"},
        {"--model m --max-frames 3.5", "option '--max-frames': '3.5' is not a whole number"},
        {"--model m --max-frames 0", "option '--max-frames': 0 is out of range (1 to 768)"},
        {"--model m --max-frames 99999999999999999999",
         "option '--max-frames': 99999999999999999999 is out of range (1 to 768)"},
        {"--model m --fps nan", "option '--fps': 'nan' is not a number"},
        {"--model m --fps 1e999", "option '--fps': '1e999' is not a number"},
        {"--model m --fps 2x", "option '--fps': '2x' is not a number"},
        {"--model m --fps -1", "option '--fps': -1 is out of range (0.01 to 1000)"},
        {"--model m --format yaml", "option '--format': 'yaml' is none of text, json"},
        {"--model m a b", "'b' is too much (see --help)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "%s", cases[i].line);
        struct outcome outcome = parse(line);
        assert_int_equal(outcome.status, STATUS_USAGE);
        assert_string_equal(outcome.err.message, cases[i].message);
    }
}

static char config_path[] = "/tmp/vs2-options-XXXXXX";

static int make_config(void **state) {
    (void)state;
    int fd = mkstemp(config_path);
    return fd < 0 || close(fd) != 0 ? -1 : 0;
}

static int remove_config(void **state) {
    (void)state;
    return unlink(config_path);
}

/* The command line with the file put before it, or after it. */
static struct outcome parse_config(const char *yaml, const char *words, bool first) {
    char line[256];
    FILE *file = fopen(config_path, "w");
    assert_non_null(file);
    assert_true(fputs(yaml, file) >= 0);
    assert_int_equal(fclose(file), 0);
    if (first)
        snprintf(line, sizeof line, "--config %s %s", config_path, words);
    else
        snprintf(line, sizeof line, "%s --config=%s", words, config_path);
    return parse(line);
}

static void a_file_gives_what_the_command_line_does_not(void **state) {
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct outcome outcome =
            parse_config("# all kinds\nmodel: m x\nmax_frames: 7\nfps: 0.5 # slow\nquiet: yes\nformat: json\n"
                         "strict: off\nmost: ~\n",
                         "--fps 3", first);
        if (outcome.status != STATUS_OK) fail_msg("%s", outcome.err.message);
        assert_string_equal(outcome.settings.model, "m x");
        assert_int_equal(outcome.settings.frames, 7);
        assert_true(outcome.settings.fps == 3 && outcome.settings.quiet && !outcome.settings.limits.strict);
        assert_int_equal(outcome.settings.format, 1);
        yaml_tree_free(outcome.settings.config);
        outcome = parse_config("max-frames: 8\nstrict: true\nquiet: false", "--model n --quiet", first);
        assert_int_equal(outcome.status, STATUS_OK);
        assert_string_equal(outcome.settings.model, "n");
        assert_int_equal(outcome.settings.frames, 8);
        assert_true(outcome.settings.quiet && outcome.settings.limits.strict);
        yaml_tree_free(outcome.settings.config);
    }
}

static void mistakes_in_a_file_name_their_line(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"fps: 1\nmodle: m", ":2: unknown key 'modle' (did you mean 'model'?)"},
        {"xyzzy: m", ":1: unknown key 'xyzzy'"},
        {"max: 3", ":1: unknown key 'max'"}, /* names are not shortened here */
        {"config: x.yaml", ":1: unknown key 'config'"},
        {"fps: two", ":1: option '--fps': 'two' is not a number"},
        {"fps: [1]", ":1: 'fps' is to be a single value"},
        {"quiet: 1", ":1: 'quiet' is neither true nor false"},
        {"model: ''", ":1: option '--model': its argument is empty"},
        {"- fps", ": it holds no options"},
        {"fps: {", ":"},
        {"model: ~", "option '--model' is missing (see --help)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome outcome = parse_config(cases[i].yaml, "", true);
        assert_int_equal(outcome.status, STATUS_USAGE);
        const char *message = outcome.err.message;
        if (!strncmp(message, config_path, strlen(config_path))) message += strlen(config_path);
        if (strncmp(message, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s: %s", cases[i].yaml, outcome.err.message);
        yaml_tree_free(outcome.settings.config);
    }
    char nowhere[] = "--config a --config /nowhere/x.yaml";
    assert_int_equal(parse(nowhere).status, STATUS_FAILED);
}

/* Runs `call` with stdout sent to a temporary file; returns what was printed. */
static char *printed(struct outcome *outcome, char *line) {
    static char text[8192];
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
    *outcome = parse(line);
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void help_and_version_are_printed(void **state) {
    (void)state;
    struct outcome outcome;
    char help[] = "--fps 3 --help --never-read";
    char *text = printed(&outcome, help);
    assert_int_equal(outcome.status, STATUS_OK);
    assert_true(outcome.finished);
    assert_non_null(strstr(text, "Usage: vs2-test --model DIR [OPTION...] FILE\n"));
    assert_non_null(strstr(text, "\nInput:\n  -m, --model DIR           checkpoint folder\n"));
    assert_non_null(strstr(text, "  --max-frames N            frames at most (default: 10)\n"));
    assert_non_null(strstr(text, "\nLimits:\n  --strict                  no more\n"));
    assert_non_null(strstr(text, "\nExamples:\n  vs2-test --model m f\n"));
    char version[] = "--version";
    text = printed(&outcome, version);
    assert_true(outcome.finished);
    assert_string_equal(text, "vs2-test " VS2_VERSION "\n");
}

static int ran;

static int run_synth(int argc, char **argv) {
    ran += argc == 2 && strcmp(argv[0], "synth") == 0 && strcmp(argv[1], "--x") == 0;
    return 7;
}

static void commands_are_found_by_name(void **state) {
    (void)state;
    static const struct command commands[] = {{"synth", "makes", run_synth}, {0}};
    char *good[] = {"vs2-test", "synth", "--x", NULL};
    assert_int_equal(commands_run(&program, commands, 3, good), 7);
    assert_int_equal(ran, 1);
    char *typo[] = {"vs2-test", "snyth", NULL};
    assert_int_equal(commands_run(&program, commands, 2, typo), STATUS_USAGE);
    assert_int_equal(commands_run(&program, commands, 1, typo), STATUS_USAGE);
    assert_int_equal(ran, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_reach_the_settings),
                                       cmocka_unit_test(letters_stand_for_names),
                                       cmocka_unit_test(mistakes_are_usage_errors),
                                       cmocka_unit_test(a_file_gives_what_the_command_line_does_not),
                                       cmocka_unit_test(mistakes_in_a_file_name_their_line),
                                       cmocka_unit_test(help_and_version_are_printed),
                                       cmocka_unit_test(commands_are_found_by_name)};
    return cmocka_run_group_tests(tests, make_config, remove_config);
}
