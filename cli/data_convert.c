/* vs2-data convert: raw annotation rows to the rows of SFT and GRPO. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/data.h"
#include "cli/options.h"
#include "data/convert.h"
#include "data/query.h"

struct convert_settings {
    const char *sft, *grpo, *template, *name, *sft_videos, *grpo_videos;
    bool skip_broken;
};

static const struct option_spec options[] = {
    {.name = "sft",
     .argument = "FILE",
     .help = "write SFT rows there, and name them in dataset_info.json beside it",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, sft)},
    {.name = "grpo",
     .argument = "FILE",
     .help = "write GRPO rows there",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, grpo)},
    {.name = "name",
     .argument = "NAME",
     .help = "what the data set is called in dataset_info.json",
     .standard = "the file's name without its ending",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, name)},
    {.name = "template",
     .argument = "FILE",
     .help = "the query, with {prompt} in it",
     .standard = "one with the three dimensions and the form of the answer",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, template)},
    {.name = "sft-videos",
     .argument = "PREFIX",
     .help = "put before each video's name",
     .standard = "videos/",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, sft_videos)},
    {.name = "grpo-videos",
     .argument = "PREFIX",
     .help = "the same in GRPO rows",
     .standard = "./vs2_videos/",
     .kind = OPTION_STRING,
     .offset = offsetof(struct convert_settings, grpo_videos)},
    {.name = "skip-broken",
     .help = "leave out rows that are wrong and name them, rather than fail at the first",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct convert_settings, skip_broken)},
    {0}};

static const struct program program = {
    .name = "vs2-data",
    .command = "convert",
    .synopsis = "[OPTION]... RAW",
    .summary =
        "Makes SFT rows, GRPO rows or both of raw annotation rows (JSON array or JSON lines): video_name, "
        "prompt, visual_score, t2v_score, phy_score from 1 to 5, and for SFT the rationale in thinking.",
    .examples = "  vs2-data convert raw.json --sft data/vs2_sft.json\n"
                "  vs2-data convert raw.json --sft sft.json --grpo grpo.json --template query_template.txt\n",
    .options = options,
    .operands = 1,
};

static void tell_skipped(void *context, int64_t row, const char *reason) {
    fprintf(stderr, "%s: row %lld: left out: %s\n", (const char *)context, (long long)row, reason);
}

/* Names the SFT file in the dataset_info.json of its folder. */
static enum status register_sft(const struct convert_settings *settings, struct error *err) {
    char *for_folder = memory_text(settings->sft, strlen(settings->sft), "a path", err);
    char *for_name = for_folder ? memory_text(settings->sft, strlen(settings->sft), "a path", err) : NULL;
    enum status status = STATUS_FAILED;
    if (for_name) {
        const char *file_name = basename(for_name);
        const char *dot = strrchr(file_name, '.');
        size_t length = dot && dot > file_name ? (size_t)(dot - file_name) : strlen(file_name);
        char *name = settings->name ? memory_text(settings->name, strlen(settings->name), "a name", err)
                                    : memory_text(file_name, length, "a name", err);
        if (name) status = convert_register(dirname(for_folder), name, file_name, err);
        free(name);
    }
    free(for_name);
    free(for_folder);
    return status;
}

static enum status convert(char *input, const struct convert_settings *settings, struct error *err) {
    int64_t rows, left_out;
    if (!settings->sft && !settings->grpo) return error_usage(err, "neither --sft nor --grpo is given");
    char *template = settings->template
                         ? query_template(settings->template, NULL, err)
                         : memory_text(convert_template, strlen(convert_template), "the query", err);
    if (!template) return STATUS_FAILED;
    const struct convert_options wish = {.input = input,
                                         .sft = settings->sft,
                                         .grpo = settings->grpo,
                                         .template = template,
                                         .sft_videos = settings->sft_videos,
                                         .grpo_videos = settings->grpo_videos,
                                         .skip_broken = settings->skip_broken,
                                         .skipped = tell_skipped,
                                         .context = input};
    enum status status = convert_raw(&wish, &rows, &left_out, err);
    free(template);
    if (status == STATUS_OK && settings->sft) status = register_sft(settings, err);
    if (status != STATUS_OK) return status;
    fprintf(stderr, "%lld rows converted, %lld left out\n", (long long)rows, (long long)left_out);
    if (settings->sft) printf("%s\n", settings->sft);
    if (settings->grpo) printf("%s\n", settings->grpo);
    return STATUS_OK;
}

int data_convert(int argc, char **argv) {
    struct convert_settings settings = {.sft_videos = "videos/", .grpo_videos = "./vs2_videos/"};
    struct error err;
    int first;
    bool finished = false;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (status == STATUS_OK && !finished && first == argc) status = error_usage(&err, "no file is named");
    if (status == STATUS_OK && !finished) status = convert(argv[first], &settings, &err);
    return status == STATUS_OK ? program_finish(&program, 0) : program_fail(&program, status, &err);
}
