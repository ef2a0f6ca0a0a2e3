/* vs2-eval: how good the scores of a model are. */
#include "cli/eval.h"
#include "cli/options.h"

static const struct program program = {
    .name = "vs2-eval",
    .synopsis = "COMMAND [OPTION]...",
    .summary = "Says how good the scores of a model are, by the published benchmarks.",
    .examples =
        "  vs2-eval run --model out/grpo --benchmark videoscore-bench-v2 --data test.json --videos videos "
        "--output res.json\n"
        "  vs2-eval metrics --benchmark videoscore-bench-v2 res.json\n",
};

static const struct command commands[] = {
    {.name = "run", .summary = "scores the videos of a benchmark", .run = eval_run},
    {.name = "metrics", .summary = "computes the metrics of result files", .run = eval_metrics},
    {.name = "best-of-n", .summary = "picks the best video of each prompt", .run = eval_best_of_n},
    {.name = "report", .summary = "draws an HTML report on result files", .run = eval_report},
    {0},
};

int main(int argc, char **argv) {
    return commands_run(&program, commands, argc, argv);
}
