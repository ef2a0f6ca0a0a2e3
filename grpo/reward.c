#include "grpo/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/nearest.h"
#include "grpo/reward_program.h"

/* The published constants. */
static const double GOOD_ACCURACY = 0.1;            /* above this, length and temporal reward a completion */
static const int64_t SHORTEST = 320, LONGEST = 512; /* tokens */
static const double LENGTH_REWARD = 0.2, TEMPORAL_REWARD = 0.3, TEMPORAL_RATIO = 0.8;
enum { REPEATED = 3 }; /* tokens of what may not be repeated */

static const char program_prefix[] = "cmd:";

/* What rewards of a whole group look at. */
struct group_view {
    const struct reward_group *group;
    const double *accuracy;   /* [group->count] */
    double shuffled_accuracy; /* mean; 0 when there are no such completions */
};

struct reward_kind {
    const char *name;
    bool is_accuracy; /* length and temporal may look at it */
    bool wants_shuffled;
    /* One of the two. Neither: the value comes from a program. */
    enum status (*each)(const struct grpo_row *row, const struct reward_completion *completion, double *value,
                        struct error *err);
    void (*whole)(const struct group_view *view, double *values);
};

/* ---- Of one completion ------------------------------------------------------------------------------- */

static struct passage text_of(const struct reward_completion *completion) {
    return (struct passage){completion->text, completion->length};
}

static enum status reward_accuracy(const struct grpo_row *row, const struct reward_completion *completion,
                                   double *value, struct error *err) {
    return row->kind->accuracy(&row->truth, text_of(completion), value, err);
}

static enum status reward_exact(const struct grpo_row *row, const struct reward_completion *completion,
                                double *value, struct error *err) {
    enum status status = reward_accuracy(row, completion, value, err);
    if (status == STATUS_OK) *value = *value >= 1;
    return status;
}

static enum status reward_distance(const struct grpo_row *row, const struct reward_completion *completion,
                                   double *value, struct error *err) {
    return row->kind->distance(&row->truth, text_of(completion), value, err);
}

/* Passes over <think>...</think> at the beginning, after white space. */
static bool skip_thought(struct passage *text, struct passage *thought) {
    *text = passage_trim(*text);
    return passage_skip(text, "<think>") && passage_until(text, "</think>", thought);
}

static enum status reward_format(const struct grpo_row *row, const struct reward_completion *completion,
                                 double *value, struct error *err) {
    (void)row, (void)err;
    struct passage text = text_of(completion), thought;
    *value = skip_thought(&text, &thought);
    return STATUS_OK;
}

/* Passes over "(1) visual quality: " and a digit from 1 to 5. */
static bool skip_score(struct passage *text, enum dimension dimension) {
    char number[] = {'(', (char)('1' + dimension), ')', ' ', '\0'};
    if (!passage_skip(text, number) || !passage_skip(text, dimension_name(dimension)) ||
        !passage_skip(text, ": ") || text->length == 0 || text->text[0] < '1' || text->text[0] > '5')
        return false;
    *text = (struct passage){text->text + 1, text->length - 1};
    return true;
}

static bool is_score_answer(struct passage text) {
    return skip_score(&text, DIMENSION_VISUAL) && passage_skip(&text, "\n") &&
           skip_score(&text, DIMENSION_ALIGNMENT) && passage_skip(&text, "\n") &&
           skip_score(&text, DIMENSION_PHYSICAL) && text.length == 0;
}

static bool is_tagged_answer(struct passage text) {
    struct passage inside;
    return passage_skip(&text, "<answer>") && passage_until(&text, "</answer>", &inside) &&
           text.length == 0 && passage_trim(inside).length > 0;
}

static enum status reward_format_strict(const struct grpo_row *row,
                                        const struct reward_completion *completion, double *value,
                                        struct error *err) {
    (void)err;
    struct passage text = text_of(completion), thought, rest;
    bool one_thought = skip_thought(&text, &thought) && passage_trim(thought).length > 0 &&
                       !passage_until(&thought, "<think>", &rest);
    bool scores = row->kind == problem_find("video eval");
    text = passage_trim(text);
    *value = one_thought && (scores ? is_score_answer(text) : is_tagged_answer(text));
    return STATUS_OK;
}

struct ngram {
    int32_t tokens[REPEATED];
};

static int compare_ngrams(const void *left, const void *right) {
    return memcmp(left, right, sizeof(struct ngram));
}

static enum status reward_repetition(const struct grpo_row *row, const struct reward_completion *completion,
                                     double *value, struct error *err) {
    (void)row;
    *value = 0;
    if (completion->count < REPEATED) return STATUS_OK;
    size_t count = (size_t)(completion->count - REPEATED + 1), seen_before = 0;
    struct ngram *ngrams = memory_new(count, sizeof *ngrams, "token trigrams", err);
    if (!ngrams) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) memcpy(ngrams[i].tokens, completion->tokens + i, sizeof *ngrams);
    qsort(ngrams, count, sizeof *ngrams, compare_ngrams);
    for (size_t i = 1; i < count; i++) seen_before += compare_ngrams(&ngrams[i - 1], &ngrams[i]) == 0;
    *value = seen_before > 0 ? -(double)seen_before / (double)count : 0;
    free(ngrams);
    return STATUS_OK;
}

static enum status reward_truncation(const struct grpo_row *row, const struct reward_completion *completion,
                                     double *value, struct error *err) {
    (void)row, (void)err;
    *value = completion->truncated ? -1 : 0;
    return STATUS_OK;
}

/* ---- Of a group -------------------------------------------------------------------------------------- */

static void reward_length(const struct group_view *view, double *values) {
    int64_t good = 0;
    for (int64_t i = 0; i < view->group->count; i++) good += view->accuracy[i] > GOOD_ACCURACY;
    for (int64_t i = 0; i < view->group->count; i++) {
        int64_t tokens = view->group->completions[i].count;
        bool fits = tokens >= SHORTEST && tokens <= LONGEST && view->accuracy[i] > GOOD_ACCURACY;
        values[i] = good > 1 && fits ? LENGTH_REWARD : 0;
    }
}

static void reward_temporal(const struct group_view *view, double *values) {
    double sum = 0;
    for (int64_t i = 0; i < view->group->count; i++) sum += view->accuracy[i];
    bool better = view->group->shuffled_count > 0 &&
                  sum / (double)view->group->count >= TEMPORAL_RATIO * view->shuffled_accuracy;
    for (int64_t i = 0; i < view->group->count; i++)
        values[i] = better && view->accuracy[i] > GOOD_ACCURACY ? TEMPORAL_REWARD : 0;
}

/* ---- The table --------------------------------------------------------------------------------------- */

static const struct reward_kind kinds[] = {
    {.name = "accuracy", .is_accuracy = true, .each = reward_accuracy},
    {.name = "exact", .is_accuracy = true, .each = reward_exact},
    {.name = "distance", .is_accuracy = true, .each = reward_distance},
    {.name = "format", .each = reward_format},
    {.name = "format_strict", .each = reward_format_strict},
    {.name = "length", .whole = reward_length},
    {.name = "temporal", .whole = reward_temporal, .wants_shuffled = true},
    {.name = "repetition", .each = reward_repetition},
    {.name = "truncation", .each = reward_truncation},
};
static const struct reward_kind of_program = {.name = "cmd:PROGRAM"};

const char *const reward_names[] = {"accuracy", "exact",    "distance",   "format",     "format_strict",
                                    "length",   "temporal", "repetition", "truncation", NULL};

static const struct reward_kind *find_kind(const char *name) {
    size_t prefix = strlen(program_prefix);
    if (strncmp(name, program_prefix, prefix) == 0 && name[prefix]) return &of_program;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

/* ---- The list ---------------------------------------------------------------------------------------- */

static enum status unknown_name(const char *name, struct error *err) {
    struct nearest search = nearest_start(name);
    for (int i = 0; reward_names[i]; i++) nearest_offer(&search, reward_names[i]);
    return error_usage(err, "there is no reward '%s'%s%s%s", name, search.best ? " (did you mean '" : "",
                       search.best ? search.best : "", search.best ? "'?)" : "");
}

static enum status add_reward(struct rewards *rewards, const char *name, double weight, struct error *err) {
    const struct reward_kind *kind = find_kind(name);
    if (!kind) return unknown_name(name, err);
    if (!isfinite(weight)) return error_usage(err, "the weight of the reward '%s' is %g", name, weight);
    for (int64_t i = 0; i < rewards->count; i++)
        if (strcmp(rewards->list[i].name, name) == 0)
            return error_usage(err, "the reward '%s' is listed twice", name);
    char *copy = memory_text(name, strlen(name), "a reward", err);
    if (!copy) return STATUS_FAILED;
    rewards->list[rewards->count++] = (struct reward){copy, kind, weight};
    return STATUS_OK;
}

enum status rewards_init(struct rewards *rewards, const char *const *names, int64_t count,
                         const double *weights, int64_t weight_count, double time_limit, struct error *err) {
    *rewards = (struct rewards){.time_limit = time_limit};
    if (count == 0) return error_usage(err, "there are no rewards");
    if (weights && weight_count != count)
        return error_usage(err, "%lld weights for %lld rewards", (long long)weight_count, (long long)count);
    rewards->list = memory_new((size_t)count, sizeof *rewards->list, "rewards", err);
    enum status status = rewards->list ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < count; i++)
        status = add_reward(rewards, names[i], weights ? weights[i] : 1, err);
    return status;
}

void rewards_free(struct rewards *rewards) {
    for (int64_t i = 0; i < rewards->count; i++) free(rewards->list[i].name);
    free(rewards->list);
    *rewards = (struct rewards){0};
}

bool rewards_want_shuffled(const struct rewards *rewards) {
    for (int64_t i = 0; i < rewards->count; i++)
        if (rewards->list[i].kind->wants_shuffled) return true;
    return false;
}

/* ---- Values ------------------------------------------------------------------------------------------ */

/* The accuracy that length and temporal look at. */
static const struct reward_kind *accuracy_of(const struct rewards *rewards) {
    for (int64_t i = 0; i < rewards->count; i++)
        if (rewards->list[i].kind->is_accuracy) return rewards->list[i].kind;
    return &kinds[0];
}

/* Values of completions by a function of each. */
static enum status compute_each(const struct reward_kind *kind, const struct grpo_row *row,
                                const struct reward_completion *completions, int64_t count, double *values,
                                struct error *err) {
    for (int64_t i = 0; i < count; i++) {
        /* Kinds without this function look at the whole group, and do not come here. */
        enum status status = /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
            kind->each(row, &completions[i], &values[i], err);
        if (status != STATUS_OK) return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* Values [group->count] of a reward that looks at the whole group. Scratch: as many numbers as the group has
 * completions and shuffled ones. */
static enum status compute_whole(const struct rewards *rewards, const struct reward_kind *kind,
                                 const struct reward_group *group, double *scratch, double *values,
                                 struct error *err) {
    const struct reward_kind *accuracy = accuracy_of(rewards);
    double *shuffled = scratch + group->count, sum = 0;
    if (compute_each(accuracy, group->row, group->completions, group->count, scratch, err) != STATUS_OK ||
        compute_each(accuracy, group->row, group->shuffled, group->shuffled_count, shuffled, err) !=
            STATUS_OK)
        return STATUS_FAILED;
    for (int64_t i = 0; i < group->shuffled_count; i++) sum += shuffled[i];
    const struct group_view view = {group, scratch,
                                    group->shuffled_count > 0 ? sum / (double)group->shuffled_count : 0};
    kind->whole(&view, values);
    return STATUS_OK;
}

/* Values of one reward for all completions, one after another. */
static enum status compute_reward(const struct rewards *rewards, const struct reward *reward,
                                  const struct reward_group *groups, int64_t count, double *scratch,
                                  double *values, struct text *notes, struct error *err) {
    const struct reward_kind *kind = reward->kind;
    if (kind == &of_program)
        return reward_program_run(reward->name + strlen(program_prefix), rewards->time_limit, groups, count,
                                  values, notes, err);
    for (int64_t g = 0; g < count; values += groups[g++].count) {
        enum status status = kind->each ? compute_each(kind, groups[g].row, groups[g].completions,
                                                       groups[g].count, values, err)
                                        : compute_whole(rewards, kind, &groups[g], scratch, values, err);
        if (status != STATUS_OK) return status;
    }
    return STATUS_OK;
}

/* How many completions there are, and the most of one group with its shuffled ones. */
static int64_t count_completions(const struct reward_group *groups, int64_t count, int64_t *most) {
    int64_t all = 0;
    *most = 0;
    for (int64_t g = 0; g < count; g++) {
        int64_t own = groups[g].count + groups[g].shuffled_count;
        if (own > *most) *most = own;
        all += groups[g].count;
    }
    return all;
}

enum status rewards_compute(const struct rewards *rewards, const struct reward_group *groups, int64_t count,
                            double *values, double *totals, struct text *notes, struct error *err) {
    int64_t most, all = count_completions(groups, count, &most);
    double *column = memory_new((size_t)all, sizeof *column, "rewards", err);
    double *scratch = column ? memory_new((size_t)most, sizeof *scratch, "rewards", err) : NULL;
    enum status status = scratch ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; i < all; i++) totals[i] = 0;
    for (int64_t r = 0; status == STATUS_OK && r < rewards->count; r++) {
        const struct reward *reward = &rewards->list[r];
        status = compute_reward(rewards, reward, groups, count, scratch, column, notes, err);
        for (int64_t i = 0; status == STATUS_OK && i < all; i++) {
            values[i * rewards->count + r] = column[i];
            totals[i] += reward->weight * column[i];
        }
    }
    free(scratch);
    free(column);
    return status;
}

void rewards_statistics(const struct rewards *rewards, const double *values, int64_t completions,
                        double *means, double *stds) {
    for (int64_t r = 0; r < rewards->count; r++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < completions; i++) sum += values[i * rewards->count + r];
        means[r] = completions > 0 ? sum / (double)completions : 0;
        for (int64_t i = 0; i < completions; i++) {
            double difference = values[i * rewards->count + r] - means[r];
            squares += difference * difference;
        }
        stds[r] = completions > 1 ? sqrt(squares / (double)(completions - 1)) : 0;
    }
}
