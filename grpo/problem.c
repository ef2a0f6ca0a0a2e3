#include "grpo/problem.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "grpo/rouge.h"

static const double FURTHEST = 12; /* sum of the distances of three scores from 1 to 5 */
static const double SMALL = 1e-9;  /* on both sides of a relative error, as published */

static double clip(double value) {
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

/* What a completion answers; nothing when there is no <answer>. */
static struct passage answer_of(struct passage completion) {
    struct passage inside;
    return passage_between(completion, "<answer>", "</answer>", &inside) ? passage_trim(inside)
                                                                         : (struct passage){"", 0};
}

/* ---- Scores ------------------------------------------------------------------------------------------ */

static enum status read_scores(struct passage text, struct solution *solution, struct error *err) {
    struct answer answer;
    if (answer_read(text.text, text.length, &answer, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; i < DIMENSIONS; i++) {
        if (!answer.values[i].found)
            return error_set(err, "the solution's %s cannot be read: %s", dimension_name((enum dimension)i),
                             answer.values[i].problem);
        solution->scores[i] = answer.values[i].value;
    }
    return STATUS_OK;
}

/* Reads the scores of a completion; false in *readable when one of them is not there. */
static enum status answered_scores(struct passage completion, double scores[DIMENSIONS], bool *readable,
                                   struct error *err) {
    struct answer answer;
    if (answer_read(completion.text, completion.length, &answer, err) != STATUS_OK) return STATUS_FAILED;
    *readable = true;
    for (int i = 0; i < DIMENSIONS; i++) {
        scores[i] = answer.values[i].value;
        *readable = *readable && answer.values[i].found;
    }
    return STATUS_OK;
}

/* Scores are whole numbers here: what follows a point is not looked at, as the published pattern does not. */
static enum status judge_scores(const struct solution *solution, struct passage completion, double *value,
                                struct error *err) {
    static const double by_distance[] = {1, 0.7, 0.4, 0.1};
    double scores[DIMENSIONS];
    bool readable;
    int sum = 0;
    *value = 0;
    if (answered_scores(completion, scores, &readable, err) != STATUS_OK) return STATUS_FAILED;
    if (!readable) return STATUS_OK;
    for (int i = 0; i < DIMENSIONS; i++) {
        int distance = abs((int)scores[i] - (int)solution->scores[i]);
        if (distance > 1) return STATUS_OK;
        sum += distance;
    }
    *value = by_distance[sum];
    return STATUS_OK;
}

static enum status judge_nearness(const struct solution *solution, struct passage completion, double *value,
                                  struct error *err) {
    double scores[DIMENSIONS], sum = 0;
    bool readable;
    if (answered_scores(completion, scores, &readable, err) != STATUS_OK) return STATUS_FAILED;
    for (int i = 0; readable && i < DIMENSIONS; i++) sum += fabs(scores[i] - solution->scores[i]);
    *value = readable ? clip(1 - sum / FURTHEST) : 0;
    return STATUS_OK;
}

/* ---- Texts ------------------------------------------------------------------------------------------- */

static enum status read_text(struct passage text, struct solution *solution, struct error *err) {
    (void)solution;
    return text.length > 0 ? STATUS_OK : error_set(err, "the solution is empty");
}

static enum status judge_choice(const struct solution *solution, struct passage completion, double *value,
                                struct error *err) {
    (void)err;
    *value = passage_equal(answer_of(completion), solution->text) ? 1 : 0;
    return STATUS_OK;
}

/* Insertions, deletions and replacements that turn one list of words into the other; row has room for
 * b_count + 1. */
static size_t count_edits(const struct passage *a, size_t a_count, const struct passage *b, size_t b_count,
                          size_t *row) {
    for (size_t j = 0; j <= b_count; j++) row[j] = j;
    for (size_t i = 0; i < a_count; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_count; j++) {
            size_t above = row[j + 1], least = above < row[j] ? above : row[j];
            if (corner < least) least = corner;
            row[j + 1] = passage_equal(a[i], b[j]) ? corner : least + 1;
            corner = above;
        }
    }
    return row[b_count];
}

/* One less the word error rate. */
static enum status judge_transcript(const struct solution *solution, struct passage completion, double *value,
                                    struct error *err) {
    struct passage *wanted = NULL, *written = NULL;
    size_t wanted_count, written_count, *row = NULL;
    enum status status = passage_words(solution->text, &wanted, &wanted_count, err);
    if (status == STATUS_OK) status = passage_words(answer_of(completion), &written, &written_count, err);
    if (status == STATUS_OK) {
        row = memory_new(written_count + 1, sizeof *row, "words", err);
        status = row ? STATUS_OK : STATUS_FAILED;
    }
    if (status == STATUS_OK) {
        size_t edits = count_edits(wanted, wanted_count, written, written_count, row);
        *value = clip(1 - (double)edits / (double)(wanted_count > 0 ? wanted_count : 1));
    }
    free(row);
    free(written);
    free(wanted);
    return status;
}

static enum status judge_rouge(const struct solution *solution, struct passage completion, double *value,
                               struct error *err) {
    struct rouge rouge;
    if (rouge_compute(solution->text, answer_of(completion), &rouge, err) != STATUS_OK) return STATUS_FAILED;
    *value = clip((rouge.f1 + rouge.f2 + rouge.fl) / 3);
    return STATUS_OK;
}

/* ---- Numbers ----------------------------------------------------------------------------------------- */

/* A finite number as Python's float() takes it once commas are gone. */
static bool read_number(struct passage text, double *number) {
    char digits[64];
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.text[i] == ',') continue;
        if (!strchr("+-.0123456789eE ", text.text[i]) || text.text[i] == '\0' || length + 1 == sizeof digits)
            return false;
        digits[length++] = text.text[i];
    }
    digits[length] = '\0';
    char *end;
    *number = strtod(digits, &end);
    return end != digits && end[strspn(end, " ")] == '\0' && isfinite(*number);
}

static enum status read_solution_number(struct passage text, struct solution *solution, struct error *err) {
    return read_number(text, &solution->number)
               ? STATUS_OK
               : error_set(err, "the solution '%.*s' is no number", text.length < 64 ? (int)text.length : 64,
                           text.text);
}

static bool has_point(struct passage text) {
    return memchr(text.text, '.', text.length) || memchr(text.text, ',', text.length);
}

/* Python's round(x, 2): of the exact value, half to even. */
static double two_decimals(double number) {
    char text[400];
    snprintf(text, sizeof text, "%.2f", number);
    return strtod(text, NULL);
}

static enum status judge_number(const struct solution *solution, struct passage completion, double *value,
                                struct error *err) {
    (void)err;
    double number;
    struct passage answer = answer_of(completion);
    *value = has_point(answer) == has_point(solution->text) && read_number(answer, &number) &&
                     two_decimals(number) == two_decimals(solution->number)
                 ? 1
                 : 0;
    return STATUS_OK;
}

static enum status judge_regression(const struct solution *solution, struct passage completion, double *value,
                                    struct error *err) {
    (void)err;
    double number;
    *value = 0;
    if (!read_number(answer_of(completion), &number)) return STATUS_OK;
    *value = 1 - clip((fabs(number - solution->number) + SMALL) / (fabs(solution->number) + SMALL));
    return STATUS_OK;
}

/* ---- The table --------------------------------------------------------------------------------------- */

/* The instructions are the published ones to the letter, of which only the first has no space before it. */
const struct problem_kind problem_kinds[] = {
    {.name = "video eval",
     .instruction = "Please provide the quality scores (from 1 to 5, higher the better).",
     .read = read_scores,
     .accuracy = judge_scores,
     .distance = judge_nearness},
    {.name = "multiple choice",
     .instruction = " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the "
                    "<answer> </answer> tags.",
     .options = true,
     .read = read_text,
     .accuracy = judge_choice,
     .distance = judge_choice},
    {.name = "numerical",
     .instruction =
         " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
     .read = read_solution_number,
     .accuracy = judge_number,
     .distance = judge_number},
    {.name = "OCR",
     .instruction =
         " Please transcribe text from the image/video clearly and provide your text answer within "
         "the <answer> </answer> tags.",
     .read = read_text,
     .accuracy = judge_transcript,
     .distance = judge_transcript},
    {.name = "free-form",
     .instruction = " Please provide your text answer within the <answer> </answer> tags.",
     .read = read_text,
     .accuracy = judge_rouge,
     .distance = judge_rouge},
    {.name = "regression",
     .instruction =
         " Please provide the numerical value (e.g., 42 or 3.14) within the <answer> </answer> tags.",
     .read = read_solution_number,
     .accuracy = judge_regression,
     .distance = judge_regression},
    {0},
};

const struct problem_kind *problem_find(const char *name) {
    for (const struct problem_kind *kind = problem_kinds; kind->name; kind++)
        if (strcmp(kind->name, name) == 0) return kind;
    return NULL;
}

enum status problem_read(const struct problem_kind *kind, const char *text, struct solution *solution,
                         struct error *err) {
    struct passage whole = passage_of(text), inside;
    *solution = (struct solution){0};
    solution->text = passage_trim(passage_between(whole, "<answer>", "</answer>", &inside) ? inside : whole);
    return kind->read(solution->text, solution, err);
}
