/* vs2-bench plan: what a training step takes on GPUs that are not here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/bench.h"
#include "cli/bench_plan.h"
#include "data/sizes.h"
#include "model/hub.h"
#include "train/config_keys.h"

struct settings {
    const char *model, *gpu, *measure;
    int stage, zero, overlap, format;
    int64_t gpus, rows, accumulation, frames, width, height, text_tokens, answer_tokens, generations;
    bool train_vision, keep_activations;
};

static const char *const zero_names[] = {"0", "1", "2", "3", NULL};
static const char *const overlap_names[] = {"off", "on", NULL};
static const char *const format_names[] = {"text", "json", NULL};

static const struct option_spec option_table[] = {
    {.name = "model",
     .argument = "CONFIG",
     .help = "the model's config.json, or a folder that has one: nothing else is read",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, model),
     .required = true},
    {.name = "gpus",
     .argument = "N",
     .help = "GPUs, a process each",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, gpus),
     .low = 1,
     .high = 1 << 20},
    {.name = "gpu",
     .argument = "NAME",
     .help = "h100, h200, a100, b200 or 4090",
     .standard = "h100",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, gpu)},
    {.name = "stage",
     .argument = "NAME",
     .help = "sft or grpo",
     .standard = "sft",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, stage),
     .choices = config_stage_names},
    {.name = "zero",
     .argument = "STAGE",
     .help =
         "0: every GPU has everything; 1: a share of master weights and moments; 2: and of gradients; 3: and "
         "of weights",
     .standard = "3",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, zero),
     .choices = zero_names},
    {.name = "overlap",
     .argument = "HOW",
     .help =
         "off or on: whether exchanges go on beside the passes, as key overlap_comm of vs2-train has them",
     .standard = "on",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, overlap),
     .choices = overlap_names},
    {.name = "rows",
     .argument = "N",
     .help = "samples or prompts of a pass on a GPU",
     .standard = "1",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, rows),
     .low = 1,
     .high = 4096},
    {.name = "accumulation",
     .argument = "N",
     .help = "passes of a step",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, accumulation),
     .low = 1,
     .high = 4096},
    {.name = "frames",
     .argument = "N",
     .help = "of a video",
     .standard = "10; for grpo 16",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, frames),
     .low = 1,
     .high = 4096},
    {.name = "width",
     .argument = "PIXELS",
     .help = "of a frame as the model sees it, before it becomes a multiple of a token",
     .standard = "960; for grpo 392",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, width),
     .low = 28,
     .high = SIZE_MAX_SIDE},
    {.name = "height",
     .argument = "PIXELS",
     .help = "the same",
     .standard = "720; for grpo 252",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, height),
     .low = 28,
     .high = SIZE_MAX_SIDE},
    {.name = "text-tokens",
     .argument = "N",
     .help = "of a prompt without its video",
     .standard = "400",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, text_tokens),
     .low = 1,
     .high = 1 << 20},
    {.name = "answer-tokens",
     .argument = "N",
     .help = "of an answer, or of a completion on average",
     .standard = "400",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, answer_tokens),
     .low = 1,
     .high = 1 << 20},
    {.name = "generations",
     .argument = "N",
     .help = "completions of a prompt",
     .standard = "8",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct settings, generations),
     .low = 1,
     .high = 1024},
    {.name = "train-vision",
     .help = "train the vision tower and its merger too, as grpo does in any case",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, train_vision)},
    {.name = "keep-activations",
     .help = "no gradient checkpointing",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct settings, keep_activations)},
    {.name = "measure",
     .argument = "DEVICE",
     .help = "measure on this machine's device (auto, cpu, cuda or cuda:N) what products and memory reach",
     .standard = "assumed shares of the GPU's peaks",
     .kind = OPTION_STRING,
     .offset = offsetof(struct settings, measure)},
    {.name = "format",
     .argument = "KIND",
     .help = "text or json",
     .standard = "text",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct settings, format),
     .choices = format_names},
    {0}};

static const struct program program = {
    .name = "vs2-bench",
    .command = "plan",
    .synopsis = "--model CONFIG [options]",
    .summary =
        "Computes, without running anything, what a training step takes on GPUs: time by part, memory by "
        "part for every stage of ZeRO, and how it grows from 1 to 1,024 GPUs. docs/scale.md says how.",
    .examples =
        "vs2-bench plan --model configs/qwen2.5-vl-7b --gpus 8 --gpu h100 --stage sft\n"
        "vs2-bench plan --model configs/qwen2.5-vl-7b --gpus 4 --gpu a100 --stage grpo --format json\n",
    .options = option_table,
};

/* What was not given is as published for the stage: frames of at most 960 x 720 in SFT, and of at most 128
 * tokens in GRPO. */
static void fill_in(struct settings *settings) {
    bool grpo = settings->stage == TRAIN_STAGE_GRPO;
    if (settings->frames == 0) settings->frames = grpo ? 16 : 10;
    if (settings->width == 0) settings->width = grpo ? 392 : 960;
    if (settings->height == 0) settings->height = grpo ? 252 : 720;
}

/* The grid of a video whose frames are that large. */
static enum status grid_of(const struct settings *settings, const struct vision_config *vision,
                           struct visual_grid *grid, struct error *err) {
    const double most_pixels = 12845056, least_pixels = 3136; /* of the processor */
    struct size size;
    enum status status = size_smart((struct size){settings->width, settings->height},
                                    vision->patch * vision->merge, least_pixels, most_pixels, &size, err);
    if (status != STATUS_OK) return status;
    *grid = (struct visual_grid){(settings->frames + vision->temporal_patch - 1) / vision->temporal_patch,
                                 size.height / vision->patch, size.width / vision->patch, 1};
    return grid_check(vision, grid, err);
}

/* The folder of a model, of which the file itself may be named. */
static char *find_folder(const char *name, struct error *err) {
    static const char file[] = "config.json";
    const size_t length = strlen(name), own = sizeof file - 1;
    if (length < own || strcmp(name + length - own, file) != 0) return hub_find(name, err);
    struct text folder = {0};
    text_append(&folder, name, length - own);
    text_append_string(&folder, ".");
    return text_take(&folder, "the model's folder", err);
}

static enum status config_find(const char *name, struct model_config *config, struct error *err) {
    char *folder = find_folder(name, err);
    enum status status = folder ? model_config_read(folder, config, err) : STATUS_FAILED;
    free(folder);
    return status;
}

static enum status translate(struct settings *settings, struct model_config *config,
                             struct scale_settings *scale, struct error *err) {
    bool frozen = settings->stage != TRAIN_STAGE_GRPO && !settings->train_vision;
    fill_in(settings);
    *scale = (struct scale_settings){.config = config,
                                     .shares = scale_assumed,
                                     .stage = settings->stage,
                                     .gpus = settings->gpus,
                                     .zero = settings->zero,
                                     .overlap = settings->overlap == 1,
                                     .rows = settings->rows,
                                     .accumulation = settings->accumulation,
                                     .text_tokens = settings->text_tokens,
                                     .answer_tokens = settings->answer_tokens,
                                     .generations = settings->generations,
                                     .recompute = !settings->keep_activations,
                                     .freeze = {.vision_tower = frozen, .projector = frozen}};
    enum status status = gpu_find(settings->gpu, &scale->gpu, err);
    if (status == STATUS_OK) status = config_find(settings->model, config, err);
    if (status == STATUS_OK) status = grid_of(settings, &config->vision, &scale->video, err);
    return status;
}

/* What the device reaches, as shares of the GPU's peaks. */
static enum status measure(const char *kind, const struct gpu *gpu, struct scale_shares *shares,
                           struct device_info *info, struct error *err) {
    struct device device;
    enum status status = device_open(kind, &device, err);
    if (status != STATUS_OK) return status;
    *info = device_describe(&device);
    struct device_peak peak = device_measure(&device);
    device_close(&device);
    if (peak.bf16_flops <= 0 || peak.bytes <= 0)
        return error_set(err, "device %s: nothing could be measured", kind);
    shares->flops = peak.bf16_flops / gpu->flops;
    shares->bandwidth = peak.bytes / gpu->bandwidth;
    if (!gpu_is(gpu, info->name))
        fprintf(stderr, "%s: warning: measured on %s, which is no %s: the plan is one of its speed\n",
                program.name, info->name, gpu->product);
    return STATUS_OK;
}

static enum status compute(struct bench_plan *plan, struct error *err) {
    struct scale_settings other = *plan->settings;
    plan->features = grid_features(&other.config->vision, &other.video);
    enum status status = scale_plan(&other, &plan->step, err);
    for (int i = 0; status == STATUS_OK && i < PLAN_ZERO_STAGES; i++) {
        other.zero = i;
        status = scale_plan(&other, &plan->stages[i], err);
    }
    other.zero = plan->settings->zero;
    for (int i = 0; status == STATUS_OK && i < PLAN_DOUBLINGS; i++) {
        other.gpus = (int64_t)1 << i;
        status = scale_plan(&other, &plan->growth[i], err);
    }
    return status;
}

int bench_plan(int argc, char **argv) {
    struct settings settings = {.gpu = "h100",
                                .gpus = 8,
                                .zero = 3,
                                .overlap = 1,
                                .rows = 1,
                                .accumulation = 8,
                                .text_tokens = 400,
                                .answer_tokens = 400,
                                .generations = 8};
    struct model_config config;
    struct scale_settings scale;
    struct bench_plan plan = {.settings = &scale};
    struct error err;
    bool finished = false;
    int first;
    enum status status = options_parse(&program, argc, argv, &settings, &first, &finished, &err);
    if (finished) return program_finish(&program, 0);
    if (status == STATUS_OK) status = translate(&settings, &config, &scale, &err);
    plan.measured = settings.measure != NULL;
    if (status == STATUS_OK && plan.measured)
        status = measure(settings.measure, scale.gpu, &scale.shares, &plan.device, &err);
    if (status == STATUS_OK) status = compute(&plan, &err);
    if (status == STATUS_OK && settings.format == 1)
        status = bench_plan_print_json(&plan, &err);
    else if (status == STATUS_OK)
        bench_plan_print_text(&plan);
    return program_finish(&program, status == STATUS_OK ? 0 : program_fail(&program, status, &err));
}
