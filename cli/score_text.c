#include "cli/score_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/wrap.h"

enum { NAME_COLUMNS = 36 };

static void field(struct text *out, const char *name, const char *value, size_t width) {
    text_format(out, "  %-10s", name);
    wrap_text(out, value, 12, 12, width);
    text_append_string(out, "\n");
}

static void cell(struct text *out, bool has, double value, int decimals) {
    if (has)
        text_format(out, "%12.*f", decimals, value);
    else
        text_append_string(out, "           -");
}

/* One line a dimension: the score, and how sure the model is. */
static void one_sample(const struct score_sample *sample, struct text *out) {
    text_format(out, "  %-*s%8s%12s%12s%12s\n", NAME_COLUMNS, "", "score", "expected", "normed",
                "confidence");
    for (int d = 0; d < DIMENSIONS; d++) {
        const struct dimension_score *s = &sample->scores.dimensions[d];
        text_format(out, "  %-*s", NAME_COLUMNS, dimension_name((enum dimension)d));
        if (s->has_hard)
            text_format(out, "%8.4g", s->hard);
        else
            text_append_string(out, "       -");
        cell(out, s->has_soft, s->expected, 2);
        cell(out, s->has_soft, s->normed, 2);
        cell(out, s->has_soft, s->confidence, 2);
        text_append_string(out, "\n");
    }
    for (int d = 0; d < DIMENSIONS; d++)
        if (*sample->scores.dimensions[d].problem)
            text_format(out, "  %s: %s\n", dimension_name((enum dimension)d),
                        sample->scores.dimensions[d].problem);
}

static void several_samples(const struct score_result *result, struct text *out) {
    struct scores *all = calloc((size_t)result->sample_count, sizeof *all);
    if (!all) {
        out->failed = true;
        return;
    }
    for (int64_t i = 0; i < result->sample_count; i++) all[i] = result->samples[i].scores;
    text_format(out, "  %-*s%8s%12s%12s%12s%12s%12s\n", NAME_COLUMNS, "", "score", "mean", "std. error",
                "agreement", "expected", "confidence");
    for (int d = 0; d < DIMENSIONS; d++) {
        struct score_summary s = scores_summarise(all, result->sample_count, (enum dimension)d);
        text_format(out, "  %-*s", NAME_COLUMNS, dimension_name((enum dimension)d));
        if (s.read)
            text_format(out, "%8.4g", s.hard);
        else
            text_append_string(out, "       -");
        cell(out, s.read > 0, s.mean, 2);
        cell(out, s.read > 1, s.standard_error, 2);
        cell(out, s.read > 0, s.agreement, 2);
        cell(out, s.soft > 0, s.expected, 2);
        cell(out, s.soft > 0, s.confidence, 2);
        if (s.read < result->sample_count)
            text_format(out, "  (%" PRId64 " of %" PRId64 " read)", s.read, result->sample_count);
        text_append_string(out, "\n");
    }
    free(all);
}

static void facts(const struct score_result *result, size_t width, struct text *out) {
    struct text line = {0};
    int64_t tokens = 0;
    for (int64_t i = 0; i < result->sample_count; i++) tokens += result->samples[i].count;
    text_format(&line, "%" PRId64 " (", result->frame_count);
    for (int64_t i = 0; i < result->frame_count; i++)
        text_format(&line, "%s%" PRId64, i ? ", " : "", result->frames[i]);
    text_append_string(&line, ")");
    if (line.data) field(out, "frames", line.data, width);
    line.length = 0;
    text_format(&line, "%" PRId64 " of the prompt, %" PRId64 " new%s", result->prompt_tokens, tokens,
                result->samples[0].finish == FINISH_LENGTH ? " (cut off at --max-new-tokens)" : "");
    if (line.data) field(out, "tokens", line.data, width);
    line.length = 0;
    text_format(&line, "%.2f s", result->seconds);
    if (line.data) field(out, "time", line.data, width);
    text_free(&line);
}

void score_text(const struct score_result *result, size_t width, struct text *out) {
    wrap_text(out, result->video, 0, 0, width);
    text_append_string(out, "\n");
    field(out, "prompt", result->prompt, width);
    if (result->status != STATUS_OK) {
        field(out, "error", result->error.message, width);
        return;
    }
    facts(result, width, out);
    text_append_string(out, "\n");
    if (result->sample_count > 1)
        several_samples(result, out);
    else
        one_sample(&result->samples[0], out);
    for (int64_t i = 0; i < result->sample_count; i++) {
        if (result->sample_count > 1)
            text_format(out, "\n  Answer %" PRId64 ":\n", i + 1);
        else
            text_append_string(out, "\n");
        const char *words = result->samples[i].text;
        wrap_text(out, words + strspn(words, " \n"), 0, 2, width);
        if (out->length && out->data[out->length - 1] != '\n') text_append_string(out, "\n");
    }
}
