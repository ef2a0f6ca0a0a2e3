#include "eval/scores.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

void score_tokens(const struct tokenizer *tokenizer, int32_t tokens[SCORE_LEVELS]) {
    for (int s = 0; s < SCORE_LEVELS; s++)
        tokens[s] = tokenizer_find(tokenizer, (char[]){(char)('1' + s), '\0'});
}

static void tell(struct dimension_score *score, const char *problem) {
    snprintf(score->problem, sizeof(score->problem), "%s", problem);
}

void scores_soft(const float logprobs[SCORE_LEVELS], struct dimension_score *score) {
    int best = 0;
    double sum = 0, expected = 0;
    for (int s = 0; s < SCORE_LEVELS; s++) {
        if (isnan(logprobs[s])) return tell(score, "the probabilities of the digits are not numbers");
        if (logprobs[s] > logprobs[best]) best = s;
    }
    if (isinf(logprobs[best])) return tell(score, "sampling filters out all five digits here");
    for (int s = 0; s < SCORE_LEVELS; s++) {
        double p = exp((double)logprobs[s] - (double)logprobs[best]);
        sum += p;
        expected += (s + 1) * p;
    }
    score->has_soft = true;
    score->confidence = 1 / sum;
    score->normed = (best + 1) / sum;
    score->expected = expected / sum;
}

/* Whether a text ends with U+FFFD, which may be a character that the next token completes. */
static bool ends_open(const struct text *text) {
    return text->length >= 3 && memcmp(text->data + text->length - 3, "\xEF\xBF\xBD", 3) == 0;
}

enum status token_at_byte(const struct tokenizer *tokenizer, const int32_t *ids, int64_t count, size_t offset,
                          int64_t *index, struct error *err) {
    struct text piece = {0};
    size_t done = 0; /* bytes of ids[0..begin), which end with a whole character */
    size_t open = 0; /* of ids[begin..i), which do not */
    *index = -1;
    for (int64_t begin = 0, i = 0; i < count && *index < 0 && !piece.failed; i++) {
        piece.length = 0;
        tokenizer_decode(tokenizer, ids + begin, (size_t)(i + 1 - begin), true, &piece);
        if (ends_open(&piece) && i + 1 < count) {
            open = piece.length;
            continue;
        }
        if (offset < done + piece.length) *index = offset < done + open ? begin : i;
        done += piece.length;
        open = 0;
        begin = i + 1;
    }
    enum status status = text_check(&piece, "the decoded text", err);
    text_free(&piece);
    return status;
}

static enum status read_soft(const struct tokenizer *tokenizer, const int32_t tokens[SCORE_LEVELS],
                             const struct sample_text *sample, const struct answer_value *value,
                             struct dimension_score *score, struct error *err) {
    int64_t index;
    enum status status = token_at_byte(tokenizer, sample->ids, sample->count, value->start, &index, err);
    if (status != STATUS_OK) return status;
    bool digit = false;
    for (int s = 0; s < SCORE_LEVELS; s++) {
        if (tokens[s] < 0) tell(score, "the tokenizer has no tokens '1' to '5'");
        digit |= index >= 0 && sample->ids[index] == tokens[s];
    }
    if (*score->problem) return STATUS_OK;
    if (!digit)
        tell(score, "the score is not written as a digit of its own");
    else
        scores_soft(sample->watched + index * SCORE_LEVELS, score);
    return STATUS_OK;
}

enum status scores_read(const struct tokenizer *tokenizer, const int32_t tokens[SCORE_LEVELS],
                        const struct sample_text *sample, struct scores *scores, struct error *err) {
    struct answer answer;
    *scores = (struct scores){0};
    enum status status = answer_read(sample->text, sample->length, &answer, err);
    for (int d = 0; d < DIMENSIONS && status == STATUS_OK; d++) {
        struct dimension_score *score = &scores->dimensions[d];
        if (answer.values[d].found) {
            score->has_hard = true;
            score->hard = answer.values[d].value;
            status = read_soft(tokenizer, tokens, sample, &answer.values[d], score, err);
        } else {
            tell(score, answer.values[d].problem);
        }
    }
    return status;
}

/* Sums over the samples that have a score. */
static void add_sample(const struct dimension_score *score, struct score_summary *summary) {
    if (score->has_hard) {
        summary->read++;
        summary->mean += score->hard;
    }
    if (score->has_soft) {
        summary->soft++;
        summary->normed += score->normed;
        summary->expected += score->expected;
        summary->confidence += score->confidence;
    }
}

/* Sets `hard` and `agreement`; the mean is known. */
static void find_mode(const struct scores *samples, int64_t count, enum dimension dimension,
                      struct score_summary *summary) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct dimension_score *candidate = &samples[i].dimensions[dimension];
        if (!candidate->has_hard) continue;
        int64_t times = 0;
        for (int64_t j = 0; j < count; j++) {
            const struct dimension_score *other = &samples[j].dimensions[dimension];
            times += other->has_hard && other->hard == candidate->hard;
        }
        double distance = fabs(candidate->hard - summary->mean), best = fabs(summary->hard - summary->mean);
        bool nearer = distance < best || (distance == best && candidate->hard < summary->hard);
        if (times < most || (times == most && !nearer)) continue;
        most = times;
        summary->hard = candidate->hard;
    }
    summary->agreement = (double)most / (double)summary->read;
}

struct score_summary scores_summarise(const struct scores *samples, int64_t count, enum dimension dimension) {
    struct score_summary summary = {0};
    double squares = 0;
    for (int64_t i = 0; i < count; i++) add_sample(&samples[i].dimensions[dimension], &summary);
    summary.normed = summary.soft ? summary.normed / (double)summary.soft : NAN;
    summary.expected = summary.soft ? summary.expected / (double)summary.soft : NAN;
    summary.confidence = summary.soft ? summary.confidence / (double)summary.soft : NAN;
    if (!summary.read) return summary;
    double n = (double)summary.read;
    summary.mean /= n;
    for (int64_t i = 0; i < count; i++) {
        const struct dimension_score *score = &samples[i].dimensions[dimension];
        if (score->has_hard) squares += (score->hard - summary.mean) * (score->hard - summary.mean);
    }
    summary.standard_error = summary.read > 1 ? sqrt(squares / (n - 1) / n) : NAN;
    find_mode(samples, count, dimension, &summary);
    return summary;
}
