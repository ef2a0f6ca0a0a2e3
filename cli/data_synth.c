/* vs2-data synth: makes a demonstration set. */
#include <stdio.h>
#include <unistd.h>

#include "cli/data.h"
#include "cli/options.h"
#include "data/synth.h"

struct synth_settings {
    const char *folder;
    int preset, dtype;
    int64_t videos, test_videos, seed;
    bool quiet;
};

/* In the order of the choices; presets in the order of synth_presets. */
static const char *const preset_names[] = {"tiny", "demo", "bench-0.4b", NULL};
static const char *const dtype_names[] = {"bf16", "f32", NULL};
static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F32};

static const struct option_spec synth_options[] = {
    {.name = "out",
     .argument = "DIR",
     .help = "folder to write; made when it is not there",
     .kind = OPTION_STRING,
     .offset = offsetof(struct synth_settings, folder),
     .required = true},
    {.name = "preset",
     .argument = "NAME",
     .help =
         "tiny: 1.2 million parameters, clips of 2 s at 320 x 180; demo: small enough to be trained on two "
         "cores in minutes, 4 s at 112 x 112; bench-0.4b: 0.38 billion, 5 s at 640 x 360",
     .standard = "tiny",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct synth_settings, preset),
     .choices = preset_names},
    {.name = "videos",
     .argument = "N",
     .help = "how many training clips",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct synth_settings, videos),
     .low = 1,
     .high = 1000000},
    {.name = "test-videos",
     .argument = "N",
     .help = "how many held-out clips beside them, five a prompt",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct synth_settings, test_videos),
     .low = 0,
     .high = 1000000},
    {.name = "dtype",
     .argument = "TYPE",
     .help = "how the weights are stored",
     .standard = "bf16",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct synth_settings, dtype),
     .choices = dtype_names},
    {.name = "seed",
     .argument = "N",
     .help = "the same seed gives the same files",
     .standard = "0",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct synth_settings, seed),
     .low = 0,
     .high = 1e15},
    {.name = "quiet",
     .help = "no progress on stderr",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct synth_settings, quiet)},
    {0}};

static const struct program synth_program = {
    .name = "vs2-data",
    .command = "synth",
    .synopsis = "--out DIR [--preset NAME] [--videos N] [--test-videos N] [--dtype TYPE] [--seed N]",
    .summary =
        "Makes a demonstration set: rendered clips of shapes that move over textured ground, with faults of "
        "five graded strengths in each of the three dimensions, and what an annotator would say of them. DIR "
        "gets videos/, raw.json (annotations), sft.json and dataset_info.json (SFT rows, the data set "
        "\"synth\"), grpo.json, rows.json (prompts), test/ (held-out clips with a file for every benchmark), "
        "and model/, a Qwen2.5-VL checkpoint with random weights and a tokenizer trained on the texts. "
        "Before "
        "training, scores by this model mean nothing.",
    .examples = "  vs2-data synth --out demo --preset demo --videos 2000 --test-videos 200\n"
                "  vs2-data synth --out bench --preset bench-0.4b --videos 4\n",
    .options = synth_options,
};

/* One line on a terminal that is written over; on anything else, a line when a part is done. */
static void show_progress(const char *what, int64_t done, int64_t total) {
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%s %lld/%lld%s", what, (long long)done, (long long)total,
                done == total ? "\n" : "");
    else if (done == total)
        fprintf(stderr, "%s %lld/%lld\n", what, (long long)done, (long long)total);
}

int data_synth(int argc, char **argv) {
    struct synth_settings settings = {.videos = 8};
    struct error err;
    int first_operand;
    bool finished = false;
    enum status status =
        options_parse(&synth_program, argc, argv, &settings, &first_operand, &finished, &err);
    if (status != STATUS_OK) return program_fail(&synth_program, status, &err);
    if (finished) return program_finish(&synth_program, 0);

    const struct synth_options options = {
        .folder = settings.folder,
        .preset = &synth_presets[settings.preset],
        .videos = settings.videos,
        .test_videos = settings.test_videos,
        .dtype = dtypes[settings.dtype],
        .seed = (uint64_t)settings.seed,
        .progress = settings.quiet ? NULL : show_progress,
    };
    status = synth_write(&options, &err);
    if (status != STATUS_OK) return program_fail(&synth_program, status, &err);
    static const char *const parts[] = {"model", "videos", "rows.json", "raw.json", "sft.json", "grpo.json"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) printf("%s/%s\n", settings.folder, parts[i]);
    if (settings.test_videos > 0) printf("%s/test\n", settings.folder);
    return program_finish(&synth_program, 0);
}
