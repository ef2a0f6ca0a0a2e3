/* vs2-data: makes, checks, describes and converts data sets. */
#include "cli/data.h"
#include "cli/options.h"

static const struct program program = {
    .name = "vs2-data",
    .synopsis = "COMMAND [OPTION]...",
    .summary = "Makes, checks, describes and converts data sets.",
    .examples = "  vs2-data synth --out demo\n"
                "  vs2-data check demo/sft.json\n",
};

static const struct command commands[] = {
    {.name = "synth",
     .summary = "makes clips, prompts and a small checkpoint with random weights",
     .run = data_synth},
    {.name = "check", .summary = "reports what is broken in a data set and its videos", .run = data_check},
    {.name = "stats", .summary = "draws histograms of scores, lengths and videos", .run = data_stats},
    {.name = "template", .summary = "recovers the query template of a data set", .run = data_template},
    {.name = "convert",
     .summary = "turns raw annotation rows into rows of SFT and GRPO",
     .run = data_convert},
    {0},
};

int main(int argc, char **argv) {
    return commands_run(&program, commands, argc, argv);
}
