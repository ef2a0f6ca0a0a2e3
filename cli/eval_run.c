/* vs2-eval run: scores the videos of a benchmark. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/yaml.h"
#include "cli/eval.h"
#include "cli/eval_score.h"
#include "cli/options.h"
#include "cli/scoring.h"

struct settings {
    struct yaml_node *config;
    const char *model, *benchmark, *data, *videos, *output;
    struct scoring scoring;
    int64_t limit, sample_seed; /* 0, -1: not given */
};

#define AT(member) .offset = offsetof(struct settings, member)
static const struct option_spec options[] = {
    {.name = "config",
     .argument = "FILE",
     .help = "a YAML file with any of these options (configs/eval.yaml); the command line wins",
     .kind = OPTION_CONFIG,
     AT(config)},
    {.kind = OPTION_TITLE, .help = "What to score"},
    {.name = "model",
     .argument = "DIR",
     .help = "checkpoint folder, or a hub name in the local Hugging Face cache",
     AT(model),
     .required = true},
    {.name = "benchmark",
     .argument = "NAME",
     .help = "videoscore-bench-v2, videogen-reward-bench, t2vqa-db, mj-bench-video, videophy2, ...",
     AT(benchmark),
     .required = true},
    {.name = "data",
     .argument = "FILE",
     .help = "the benchmark's file as published: JSON, a row a line, or CSV",
     AT(data),
     .required = true},
    {.name = "videos", .argument = "DIR", .help = "where its videos are", AT(videos), .required = true},
    {.name = "output",
     .argument = "FILE",
     .help = "result file; what was begun there goes on",
     AT(output),
     .required = true},
    {.name = "limit",
     .argument = "N",
     .help = "videos at most: the first ones",
     .standard = "all",
     .kind = OPTION_INTEGER,
     AT(limit),
     .low = 1,
     .high = 1e9},
    {.name = "sample-seed",
     .argument = "N",
     .help = "draw the videos of --limit at random, by this seed",
     .kind = OPTION_INTEGER,
     AT(sample_seed),
     .low = 0,
     .high = 9007199254740992.0},
    {.kind = OPTION_TABLE, .table = scoring_options, AT(scoring)},
    {0}};
#undef AT

static const struct program program = {
    .name = "vs2-eval",
    .command = "run",
    .synopsis = "--model DIR --benchmark NAME --data FILE --videos DIR --output FILE ...\n"
                "--config FILE [OPTION...]",
    .summary =
        "Scores the videos of a benchmark and writes the official result rows, with soft scores, confidence, "
        "tokens and seconds. Killed at any time, the same command goes on where it was. Processes that "
        "mpirun, srun or torchrun start share the work. Exits with 1 when a video could not be scored.",
    .examples = "  vs2-eval run --model TIGER-Lab/VideoScore2 --benchmark videoscore-bench-v2 \\\n"
                "      --data 'data_27k_test (VideoScoreBench-v2).json' --videos vs2_videos \\\n"
                "      --output res.json\n"
                "  mpirun -n 4 vs2-eval run --model out/grpo --benchmark videogen-reward-bench \\\n"
                "      --data pairs.csv --videos videos --output res.json --num-samples 4\n"
                "  vs2-eval run --config configs/eval.yaml --output res.json\n",
    .options = options,
};

/* ---- Running ----------------------------------------------------------------------------------------- */

static enum status run_settings(const struct settings *settings, struct benchmark_run *run,
                                struct error *err) {
    *run = (struct benchmark_run){
        .data = settings->data,
        .videos = settings->videos,
        .output = settings->output,
        .scorer = scoring_settings(&settings->scoring, settings->model),
        .limit = settings->limit,
        .drawn = settings->sample_seed >= 0,
        .sample_seed = (uint64_t)settings->sample_seed,
    };
    if (run->drawn && !run->limit) return error_usage(err, "option '--sample-seed' goes with '--limit'");
    run->benchmark = benchmark_find(settings->benchmark, err);
    return run->benchmark ? STATUS_OK : STATUS_USAGE;
}

static void print_outcome(const struct benchmark_run *run, const struct run_outcome *outcome) {
    if (outcome->waiting) {
        printf("%s: %" PRId64 " videos scored here, %" PRId64 " are left to other processes or calls\n",
               run->output, outcome->scored, outcome->waiting);
        return;
    }
    printf("%s: %" PRId64 " videos, %" PRId64 " failed", run->output, outcome->rows, outcome->failed);
    if (!isnan(outcome->accuracy) && run->place.size == 1)
        printf(", accuracy %.1f%%", outcome->accuracy * 100);
    printf("\n");
}

static enum status run_benchmark(const struct settings *settings, struct error *err) {
    struct benchmark_run run;
    struct run_outcome outcome;
    enum status status = run_settings(settings, &run, err);
    if (status == STATUS_OK) status = eval_score(&run, &outcome, err);
    if (status != STATUS_OK) return status;
    print_outcome(&run, &outcome);
    if (outcome.failed && !outcome.waiting) /* mpirun ends the others when one process fails */
        return error_set(err, "%" PRId64 " of the videos could not be scored", outcome.failed);
    return STATUS_OK;
}

int eval_run(int argc, char **argv) {
    struct settings settings = {.scoring = scoring_default(), .sample_seed = -1};
    struct error err;
    int operand;
    bool finished;
    enum status status = options_parse(&program, argc, argv, &settings, &operand, &finished, &err);
    if (status == STATUS_OK && !finished) status = run_benchmark(&settings, &err);
    yaml_tree_free(settings.config);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
