/* vs2-score: scores videos. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/options.h"
#include "cli/score_text.h"
#include "eval/score_json.h"
#include "eval/scorer.h"

enum { FORMAT_TEXT, FORMAT_JSON };
enum { TYPE_AUTO, TYPE_F32, TYPE_BF16 };
enum { MOST_SAMPLES = 1024, MOST_NEW_TOKENS = 1 << 20 };

struct settings {
    const char *model, *video, *prompt, *input, *media_dir, *template, *output, *device;
    int policy, type, format, probabilities;
    double fps, max_pixels, temperature, top_p, min_p, repetition_penalty;
    int64_t min_frames, max_frames, max_new_tokens, top_k, seed, samples;
    bool token_ids;
};

static const char *const types[] = {"auto", "f32", "bf16", NULL};
static const char *const formats[] = {"text", "json", NULL};
static const char *const probabilities[] = {"final", "raw", NULL};

#define AT(member) .offset = offsetof(struct settings, member)
static const struct option_spec options[] = {
    {.kind = OPTION_TITLE, .help = "What to score"},
    {.name = "model",
     .argument = "DIR",
     .help = "checkpoint folder, or a hub name in the local Hugging Face cache",
     AT(model),
     .required = true},
    {.name = "video", .argument = "FILE", .help = "a video file, or a folder of pictures", AT(video)},
    {.name = "prompt",
     .argument = "TEXT",
     .help = "the text prompt that the video was made from",
     AT(prompt)},
    {.name = "input",
     .argument = "FILE",
     .help = "many: an object {\"video\", \"prompt\"} a line",
     AT(input)},
    {.name = "media-dir",
     .argument = "DIR",
     .help = "where relative video paths of --input begin",
     AT(media_dir)},
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
    {.name = "device", .argument = "NAME", .help = "auto or cpu", .standard = "auto", AT(device)},
    {.name = "dtype",
     .argument = "NAME",
     .help = "compute in f32 or bf16",
     .standard = "auto: bf16 where the machine has units for it",
     .kind = OPTION_CHOICE,
     AT(type),
     .choices = types},
    {.kind = OPTION_TITLE, .help = "Output"},
    {.name = "format",
     .argument = "NAME",
     .help = "text, or json: an object a line",
     .standard = "text",
     .kind = OPTION_CHOICE,
     AT(format),
     .choices = formats},
    {.name = "token-ids",
     .help = "JSON with prompt_ids and completion_ids",
     .kind = OPTION_FLAG,
     AT(token_ids)},
    {.name = "output",
     .argument = "FILE",
     .help = "write there, whole or not at all",
     .standard = "standard output",
     AT(output)},
    {0}};
#undef AT

static const struct program program = {
    .name = "vs2-score",
    .synopsis =
        "--model DIR --video FILE --prompt TEXT [OPTION...]\n--model DIR --input FILE.jsonl [OPTION...]",
    .summary =
        "Judges generated videos: a rationale, and scores from 1 to 5 for visual quality, text-to-video "
        "alignment and physical/common-sense consistency, with the model's confidence. Exits with 1 when a "
        "video could not be scored.",
    .examples =
        "  vs2-score --model TIGER-Lab/VideoScore2 --video clip.mp4 --prompt 'A red ball rolls.'\n"
        "  vs2-score --model out/grpo --input clips.jsonl --format json --output scores.jsonl\n"
        "  vs2-score --model out/sft --video clip.mp4 --prompt '...' --temperature 0.7 --num-samples 8\n",
    .options = options,
};

/* ---- Arguments --------------------------------------------------------------------------------------- */

static enum status check_arguments(const struct settings *s, struct error *err) {
    if (s->video && s->input) return error_usage(err, "options '--video' and '--input' exclude each other");
    if (!s->video && !s->input)
        return error_usage(err, "option '--video' or '--input' is missing (see --help)");
    if (s->video && !s->prompt) return error_usage(err, "option '--prompt' is missing (see --help)");
    if (s->input && s->prompt)
        return error_usage(err, "option '--prompt' goes with '--video', not with '--input'");
    if (s->media_dir && !s->input) return error_usage(err, "option '--media-dir' goes with '--input'");
    if (s->token_ids && s->format != FORMAT_JSON)
        return error_usage(err, "option '--token-ids' goes with '--format json'");
    return STATUS_OK;
}

static struct scorer_settings scorer_settings(const struct settings *s) {
    static const enum dtype computes[] = {DTYPE_I32, DTYPE_F32, DTYPE_BF16};
    struct scorer_settings to = scorer_settings_default();
    to.model = s->model;
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

/* ---- Output ------------------------------------------------------------------------------------------ */

struct output {
    const struct settings *settings;
    struct file_writer file; /* when settings->output */
    size_t width;            /* of text */
    bool terminal;           /* stderr is one: a line that is written over */
    bool line_open;          /* that line stands there */
    double shown;            /* seconds at which it was last written */
    int64_t jobs, done;
};

static void close_line(struct output *output) {
    if (output->line_open) fputs("\r\033[K", stderr);
    output->line_open = false;
}

static void write_out(struct output *output, const char *text, size_t length) {
    if (output->settings->output)
        file_writer_write(&output->file, text, length);
    else
        fwrite(text, 1, length, stdout);
}

static enum status write_text(struct output *output, const struct score_result *result, struct error *err) {
    struct text text = {0};
    if (result->job > 0) text_append_string(&text, "\n");
    score_text(result, output->width, &text);
    enum status status = text_check(&text, "a result", err);
    if (status == STATUS_OK) write_out(output, text.data, text.length);
    text_free(&text);
    return status;
}

static enum status write_json(struct output *output, const struct score_result *result, struct error *err) {
    json_t *object = score_result_json(result, output->settings->token_ids, err);
    char *line = object ? score_json_line(object, err) : NULL;
    json_decref(object);
    if (!line) return STATUS_FAILED;
    write_out(output, line, strlen(line));
    write_out(output, "\n", 1);
    free(line);
    return STATUS_OK;
}

static enum status take_result(void *context, const struct score_result *result, struct error *err) {
    struct output *output = context;
    close_line(output);
    output->done++;
    if (result->status != STATUS_OK)
        program_fail(&program, result->status, &result->error);
    else if (!output->terminal && output->jobs > 1)
        fprintf(stderr, "vs2-score: %" PRId64 " of %" PRId64 ": %s: %.1f s\n", output->done, output->jobs,
                result->video, result->seconds);
    enum status status = output->settings->format == FORMAT_JSON ? write_json(output, result, err)
                                                                 : write_text(output, result, err);
    if (status == STATUS_OK && !output->settings->output) fflush(stdout);
    return status;
}

static void show_progress(void *context, const struct score_progress *progress) {
    struct output *output = context;
    if (!output->terminal || progress->seconds - output->shown < 0.1) return;
    output->shown = progress->seconds;
    output->line_open = true;
    fprintf(stderr, "\r\033[K%" PRId64 " of %" PRId64 " videos", progress->done, progress->jobs);
    if (progress->failed) fprintf(stderr, ", %" PRId64 " failed", progress->failed);
    fprintf(stderr, ", %" PRId64 " tokens, %.0f s", progress->new_tokens, progress->seconds);
    if (progress->done)
        fprintf(stderr, ", about %.0f s to go",
                progress->seconds / (double)progress->done * (double)(progress->jobs - progress->done));
    fflush(stderr);
}

static size_t text_width(const struct settings *settings) {
    struct winsize size;
    if (settings->output || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40) return 100;
    return size.ws_col < 120 ? size.ws_col : 120;
}

/* ---- Running ----------------------------------------------------------------------------------------- */

static enum status score(const struct score_jobs *jobs, struct output *output, int64_t *failed,
                         struct error *err) {
    struct scorer_settings settings = scorer_settings(output->settings);
    settings.progress = show_progress;
    settings.progress_context = output;
    struct scorer *scorer;
    enum status status = scorer_open(&settings, jobs, &scorer, err);
    if (status != STATUS_OK) return status;
    status = scorer_run(scorer, take_result, output, err);
    *failed = scorer_progress(scorer).failed;
    scorer_close(scorer);
    close_line(output);
    return status;
}

static enum status run(const struct settings *settings, int64_t *failed, struct error *err) {
    struct score_jobs jobs = {0};
    struct output output = {
        .settings = settings, .terminal = isatty(STDERR_FILENO), .width = text_width(settings)};
    bool file_open = false;
    enum status status = settings->input ? score_jobs_read(settings->input, settings->media_dir, &jobs, err)
                                         : score_jobs_add(&jobs, settings->video, settings->prompt, err);
    output.jobs = (int64_t)jobs.count;
    if (status == STATUS_OK && settings->output) {
        status = file_writer_open(&output.file, settings->output, err);
        file_open = status == STATUS_OK;
    }
    if (status == STATUS_OK) status = score(&jobs, &output, failed, err);
    if (file_open && status == STATUS_OK)
        status = file_writer_commit(&output.file, err);
    else if (file_open)
        file_writer_abort(&output.file);
    score_jobs_free(&jobs);
    return status;
}

int main(int argc, char **argv) {
    struct settings settings = {.device = "auto",
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
    struct error err;
    int operand;
    bool finished;
    int64_t failed = 0;
    enum status status = options_parse(&program, argc, argv, &settings, &operand, &finished, &err);
    if (status == STATUS_OK && finished) return program_finish(&program, STATUS_OK);
    if (status == STATUS_OK) status = check_arguments(&settings, &err);
    if (status == STATUS_OK) status = run(&settings, &failed, &err);
    if (status != STATUS_OK) return program_fail(&program, status, &err);
    if (failed && settings.input) {
        error_set(&err, "%" PRId64 " of the videos could not be scored", failed);
        return program_finish(&program, program_fail(&program, STATUS_FAILED, &err));
    }
    return program_finish(&program, failed ? STATUS_FAILED : STATUS_OK);
}
