#include "cli/scoring.h"

#include <math.h>

enum { TYPE_AUTO, TYPE_F32, TYPE_BF16 };
enum { MOST_SAMPLES = 1024, MOST_NEW_TOKENS = 1 << 20 };

static const char *const types[] = {"auto", "f32", "bf16", NULL};
static const char *const probabilities[] = {"final", "raw", NULL};

#define AT(member) .offset = offsetof(struct scoring, member)
const struct option_spec scoring_options[] = {
    {.name = "template",
     .argument = "FILE",
     .help = "the query, with {prompt} in it",
     .standard = "query_template.txt of the checkpoint, else the published query",
     AT(template)},
    {.kind = OPTION_TITLE, .help = "Frames"},
    {.name = "frame-policy",
     .argument = "NAME",
     .help = "how frames are chosen and sized: llamafactory or qwen",
     .standard = "llamafactory",
     .kind = OPTION_CHOICE,
     AT(policy),
     .choices = visual_policy_names},
    {.name = "fps",
     .argument = "N",
     .help = "frames a second of video",
     .standard = "2",
     .kind = OPTION_NUMBER,
     AT(fps),
     .low = 0.001,
     .high = 1000},
    {.name = "min-frames",
     .argument = "N",
     .help = "frames at least (qwen only)",
     .standard = "4",
     .kind = OPTION_INTEGER,
     AT(min_frames),
     .low = 1,
     .high = 65536},
    {.name = "max-frames",
     .argument = "N",
     .help = "frames at most",
     .standard = "10; qwen: 16",
     .kind = OPTION_INTEGER,
     AT(max_frames),
     .low = 1,
     .high = 65536},
    {.name = "max-pixels",
     .argument = "N",
     .help = "pixels of a frame at most",
     .standard = "691200; qwen: 100352",
     .kind = OPTION_NUMBER,
     AT(max_pixels),
     .low = 784,
     .high = 1e9},
    {.kind = OPTION_TITLE, .help = "Generation (defaults come from the checkpoint's generation_config.json)"},
    {.name = "max-new-tokens",
     .argument = "N",
     .help = "tokens of an answer at most",
     .standard = "1024",
     .kind = OPTION_INTEGER,
     AT(max_new_tokens),
     .low = 1,
     .high = MOST_NEW_TOKENS},
    {.name = "temperature",
     .argument = "T",
     .help = "0 is greedy",
     .kind = OPTION_NUMBER,
     AT(temperature),
     .low = 0,
     .high = 1000},
    {.name = "top-p",
     .argument = "P",
     .help = "keep the most probable tokens that sum to P; 1 keeps all",
     .kind = OPTION_NUMBER,
     AT(top_p),
     .low = 1e-6,
     .high = 1},
    {.name = "top-k",
     .argument = "K",
     .help = "keep the K most probable tokens; 0 keeps all",
     .kind = OPTION_INTEGER,
     AT(top_k),
     .low = 0,
     .high = 1 << 30},
    {.name = "min-p",
     .argument = "P",
     .help = "keep tokens of at least P times the largest probability; 0 keeps all",
     .kind = OPTION_NUMBER,
     AT(min_p),
     .low = 0,
     .high = 1},
    {.name = "repetition-penalty",
     .argument = "F",
     .help = "1 is none",
     .kind = OPTION_NUMBER,
     AT(repetition_penalty),
     .low = 0.01,
     .high = 100},
    {.name = "seed",
     .argument = "N",
     .help = "the same seed gives the same text",
     .standard = "42",
     .kind = OPTION_INTEGER,
     AT(seed),
     .low = 0,
     .high = 9007199254740992.0},
    {.name = "num-samples",
     .argument = "K",
     .help = "answers a video, from one computed prompt: mean, standard error and agreement",
     .standard = "1",
     .kind = OPTION_INTEGER,
     AT(samples),
     .low = 1,
     .high = MOST_SAMPLES},
    {.name = "probabilities",
     .argument = "WORD",
     .help = "soft scores from the distribution drawn from, as published (final), or from the plain softmax "
             "(raw)",
     .standard = "final",
     .kind = OPTION_CHOICE,
     AT(probabilities),
     .choices = probabilities},
    {.kind = OPTION_TITLE, .help = "Computing"},
    {.name = "device",
     .argument = "NAME",
     .help = "auto, cpu, cuda or cuda:N",
     .standard = "auto",
     AT(device)},
    {.name = "dtype",
     .argument = "NAME",
     .help = "compute in f32 or bf16",
     .standard = "auto: bf16 where the machine has units for it",
     .kind = OPTION_CHOICE,
     AT(type),
     .choices = types},
    {0}};
#undef AT

struct scoring scoring_default(void) {
    return (struct scoring){.device = "auto",
                            .fps = NAN,
                            .max_pixels = NAN,
                            .temperature = NAN,
                            .top_p = NAN,
                            .min_p = NAN,
                            .repetition_penalty = NAN,
                            .top_k = -1,
                            .seed = 42,
                            .samples = 1,
                            .max_new_tokens = 1024};
}

struct scorer_settings scoring_settings(const struct scoring *s, const char *model) {
    static const enum dtype computes[] = {DTYPE_I32, DTYPE_F32, DTYPE_BF16};
    struct scorer_settings to = scorer_settings_default();
    to.model = model;
    to.device = s->device;
    to.compute = computes[s->type];
    to.template_file = s->template;
    to.visual = visual_options_default(visual_policy_find(visual_policy_names[s->policy]));
    if (!isnan(s->fps)) to.visual.fps = s->fps;
    if (s->min_frames) to.visual.min_frames = s->min_frames;
    if (s->max_frames) to.visual.max_frames = s->max_frames;
    if (!isnan(s->max_pixels)) to.visual.max_pixels = s->max_pixels;
    if (to.visual.min_frames > to.visual.max_frames) to.visual.min_frames = to.visual.max_frames;
    to.sampling = (struct sampling_wish){s->temperature,        s->top_p, s->min_p,
                                         s->repetition_penalty, s->top_k, (uint64_t)s->seed};
    to.samples = s->samples;
    to.max_new_tokens = s->max_new_tokens;
    to.raw_probabilities = s->probabilities == 1;
    return to;
}
