/* vs2-bench: measures speed and memory. */
#include "cli/bench.h"
#include "cli/options.h"

static const struct program program = {
    .name = "vs2-bench",
    .synopsis = "COMMAND [options]",
    .summary = "Measures speed and memory, and prints JSON.",
};

static const struct command commands[] = {
    {.name = "video", .summary = "from video files to patches", .run = bench_video},
    {.name = "rollout", .summary = "rationales drawn for videos", .run = bench_rollout},
    {.name = "sft", .summary = "training steps, part by part", .run = bench_sft},
    {.name = "grpo", .summary = "GRPO steps, part by part", .run = bench_grpo},
    {.name = "kernels", .summary = "the operations beside the machine's peak", .run = bench_kernels},
    {.name = "plan", .summary = "a training step on GPUs that are not here, computed", .run = bench_plan},
    {0},
};

int main(int argc, char **argv) {
    return commands_run(&program, commands, argc, argv);
}
