/* vs2-score: scores videos. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/options.h"
#include "cli/score_text.h"
#include "cli/scoring.h"
#include "eval/score_json.h"
#include "eval/scorer.h"

enum { FORMAT_TEXT, FORMAT_JSON };

struct settings {
    const char *model, *video, *prompt, *input, *media_dir, *output;
    struct scoring scoring;
    int format;
    bool token_ids;
};

static const char *const formats[] = {"text", "json", NULL};

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
    {.kind = OPTION_TABLE, .table = scoring_options, AT(scoring)},
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
    struct scorer_settings settings = scoring_settings(&output->settings->scoring, output->settings->model);
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
    struct settings settings = {.scoring = scoring_default()};
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
