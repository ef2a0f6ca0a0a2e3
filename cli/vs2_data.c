/* vs2-data: makes data sets. */
#include "cli/data.h"
#include "cli/options.h"

static const struct program program = {
    .name = "vs2-data",
    .synopsis = "COMMAND [OPTION]...",
    .summary = "Makes data sets.",
    .examples = "  vs2-data synth --out demo\n",
};

static const struct command commands[] = {
    {.name = "synth",
     .summary = "makes clips, prompts and a small checkpoint with random weights",
     .run = data_synth},
    {0},
};

int main(int argc, char **argv) {
    return commands_run(&program, commands, argc, argv);
}
