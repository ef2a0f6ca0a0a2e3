/* Prompts, the completions that are drawn for them, and their rewards. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "grpo/grpo_run.h"

static const size_t ahead_bytes = (size_t)1 << 30; /* of prompts that wait */

/* ---- Prompts ----------------------------------------------------------------------------------------- */

struct prefetch_limits grpo_limits(const struct grpo *grpo, int64_t wanted) {
    int64_t workers = grpo->run.config->dataloader_num_workers;
    struct prefetch_limits limits = {.threads = workers > 0 ? (int)workers : 1, .max_bytes = ahead_bytes};
    limits.ahead = wanted > 2 * limits.threads ? wanted : 2 * limits.threads;
    return limits;
}

/* Lists a row whose prompt could not be had. */
static enum status skip(struct grpo *grpo, const struct problem_set *set, int64_t index,
                        const struct error *reason, struct error *err) {
    struct grpo_row row;
    enum status status = grpo_rows_read(set->rows, index, &row, err);
    if (status != STATUS_OK) return status;
    status = run_skip(&grpo->run, problem_place(set, &row), reason->message, err);
    grpo_row_free(&row);
    return status;
}

enum status grpo_take_prompt(struct grpo *grpo, const struct problem_set *set, struct prompt_stream *stream,
                             struct grpo_group *group, struct error *err) {
    struct error reason;
    group->prompt = prompt_stream_next(stream, &reason);
    if (group->prompt) return STATUS_OK;
    if (reason.no_memory) {
        *err = reason;
        return STATUS_FAILED;
    }
    enum status status = skip(grpo, set, group->row, &reason, err);
    grpo_group_clear(group);
    return status;
}

enum status grpo_fetch(struct grpo *grpo, const struct problem_set *set, const struct grpo_list *list,
                       struct error *err) {
    if (list->count == 0) return STATUS_OK;
    const struct prefetch_limits limits = grpo_limits(grpo, list->count);
    struct prompt_stream *stream = NULL;
    int64_t *rows = memory_new((size_t)list->count, sizeof *rows, "prompts", err);
    for (int64_t i = 0; rows && i < list->count; i++) rows[i] = list->groups[i]->row;
    if (rows) stream = prompt_stream_start(&grpo->prompts, set->rows, rows, list->count, &limits, err);
    enum status status = stream ? STATUS_OK : STATUS_FAILED;
    for (int64_t i = 0; status == STATUS_OK && i < list->count; i++)
        status = grpo_take_prompt(grpo, set, stream, list->groups[i], err);
    prompt_stream_stop(stream);
    free(rows);
    return status;
}

/* ---- Rollouts ---------------------------------------------------------------------------------------- */

/* What is drawn at once. Rollouts on shuffled frames lie behind all others. */
struct drawing {
    struct grpo_group **groups; /* [count]: those that have a prompt */
    int64_t count, samples;
    struct rollout_prompt *prompts; /* [count + shuffled_count] */
    int64_t shuffled_count;
    struct shuffled_video *shuffled; /* [count]; without an order: there is no such rollout */
    struct rollout_completions drawn;

    struct text *texts; /* [drawn.count] */
    struct reward_completion *completions;
    struct reward_group *reward_groups; /* [count] */
    double *values, *totals;
};

static void drawing_free(struct drawing *drawing) {
    for (int64_t i = 0; drawing->shuffled && i < drawing->count; i++)
        shuffled_video_free(&drawing->shuffled[i]);
    for (int64_t i = 0; drawing->texts && i < drawing->drawn.count; i++) text_free(&drawing->texts[i]);
    free(drawing->groups);
    free(drawing->prompts);
    free(drawing->shuffled);
    free(drawing->texts);
    free(drawing->completions);
    free(drawing->reward_groups);
    free(drawing->values);
    free(drawing->totals);
    rollout_completions_free(&drawing->drawn);
}

static enum status choose_groups(struct drawing *drawing, const struct grpo_list *list, struct error *err) {
    size_t room = (size_t)list->count;
    const char *what = "rollouts";
    if (!(drawing->groups = memory_new(room, sizeof(struct grpo_group *), what, err)) ||
        !(drawing->prompts = memory_new(2 * room, sizeof *drawing->prompts, what, err)) ||
        !(drawing->shuffled = memory_new(room, sizeof *drawing->shuffled, what, err)))
        return STATUS_FAILED;
    for (int64_t i = 0; i < list->count; i++) {
        const struct grpo_prompt *prompt = list->groups[i]->prompt;
        if (!prompt) continue;
        drawing->prompts[drawing->count] = (struct rollout_prompt){
            .tokens = prompt->tokens.ids,
            .count = (int64_t)prompt->tokens.count,
            .visuals = grpo_prompt_visuals(prompt, false),
            .problem = (uint32_t)list->groups[i]->row,
            .samples = drawing->samples,
        };
        drawing->groups[drawing->count++] = list->groups[i];
    }
    return STATUS_OK;
}

/* Adds prompts of the videos with their frames in another order, for half as many completions. */
static enum status shuffle(const struct grpo *grpo, uint64_t step, struct drawing *drawing,
                           struct error *err) {
    if (!rewards_want_shuffled(&grpo->rewards)) return STATUS_OK;
    for (int64_t i = 0; i < drawing->count; i++) {
        const struct grpo_prompt *prompt = drawing->groups[i]->prompt;
        if (prompt->row.medium != MEDIUM_VIDEO || drawing->samples < 2) continue;
        const struct random_key key = {.seed = (uint64_t)grpo->run.config->seed,
                                       .stream = (uint32_t)drawing->groups[i]->row,
                                       .position = step};
        uint32_t words[4];
        random_words(key, words);
        struct shuffled_video *video = &drawing->shuffled[i];
        enum status status = grpo_prompt_shuffle_frames(prompt, &grpo->prompts.visual.processor,
                                                        (uint64_t)words[0] << 32 | words[1], video, err);
        if (status != STATUS_OK) return status;
        struct rollout_prompt *other = &drawing->prompts[drawing->count + drawing->shuffled_count++];
        *other = drawing->prompts[i];
        other->visuals.patches = (const float *const *)&video->patches;
        other->visuals.frames = (const struct vision_frames *const *)&video->frames;
        other->visuals.keys = NULL;
        other->visuals.features = NULL;
        other->samples = drawing->samples / 2;
        other->first_sample = (uint32_t)drawing->samples;
    }
    return STATUS_OK;
}

static enum status check_drawn(const struct drawing *drawing, struct error *err) {
    for (int64_t i = 0; i < drawing->drawn.count; i++)
        if (drawing->drawn.items[i].finish == FINISH_FAILED)
            return error_set(err, "the model's logits are no numbers: nothing can be drawn from them");
    return STATUS_OK;
}

/* ---- Rewards ----------------------------------------------------------------------------------------- */

static enum status write_texts(const struct grpo *grpo, struct drawing *drawing, struct error *err) {
    int64_t count = drawing->drawn.count;
    const char *what = "texts of completions";
    if (!(drawing->texts = memory_new((size_t)count, sizeof *drawing->texts, what, err)) ||
        !(drawing->completions = memory_new((size_t)count, sizeof *drawing->completions, what, err)))
        return STATUS_FAILED;
    for (int64_t i = 0; i < count; i++) {
        const struct rollout_completion *drawn = &drawing->drawn.items[i];
        struct text *text = &drawing->texts[i];
        tokenizer_decode(grpo->run.tokenizer, drawn->tokens, (size_t)drawn->count, true, text);
        text_append_string(text, "");
        if (text_check(text, what, err) != STATUS_OK) return STATUS_FAILED;
        drawing->completions[i] = (struct reward_completion){.text = text->data,
                                                             .length = text->length,
                                                             .tokens = drawn->tokens,
                                                             .count = drawn->count,
                                                             .truncated = drawn->finish == FINISH_LENGTH};
    }
    return STATUS_OK;
}

static enum status list_reward_groups(struct drawing *drawing, struct error *err) {
    drawing->reward_groups =
        memory_new((size_t)drawing->count, sizeof *drawing->reward_groups, "rewards", err);
    if (!drawing->reward_groups) return STATUS_FAILED;
    const struct reward_completion *next = drawing->completions + drawing->count * drawing->samples;
    for (int64_t i = 0; i < drawing->count; i++) {
        int64_t shuffled = drawing->shuffled[i].order ? drawing->samples / 2 : 0;
        drawing->reward_groups[i] = (struct reward_group){
            .row = &drawing->groups[i]->prompt->row,
            .completions = drawing->completions + i * drawing->samples,
            .count = drawing->samples,
            .shuffled = next,
            .shuffled_count = shuffled,
        };
        next += shuffled;
    }
    return STATUS_OK;
}

/* Says what reward programs had to say of themselves, line by line. */
static void show_notes(const struct grpo *grpo, struct text *notes) {
    for (char *line = notes->data, *end; line && *line; line = end) {
        size_t length = strcspn(line, "\n");
        end = line + length + (line[length] != '\0');
        progress_message(grpo->run.progress, "%.*s", (int)length, line);
    }
    text_free(notes);
}

static enum status reward(struct grpo *grpo, struct drawing *drawing, struct error *err) {
    size_t completions = (size_t)(drawing->count * drawing->samples);
    size_t values = completions * (size_t)grpo->rewards.count;
    struct text notes = {0};
    enum status status = write_texts(grpo, drawing, err);
    if (status == STATUS_OK) status = list_reward_groups(drawing, err);
    if (status != STATUS_OK) return status;
    if (!(drawing->values = memory_new(values, sizeof *drawing->values, "rewards", err)) ||
        !(drawing->totals = memory_new(completions, sizeof *drawing->totals, "rewards", err)))
        return STATUS_FAILED;
    status = rewards_compute(&grpo->rewards, drawing->reward_groups, drawing->count, drawing->values,
                             drawing->totals, &notes, err);
    show_notes(grpo, &notes);
    return status;
}

/* ---- Both -------------------------------------------------------------------------------------------- */

/* Moves what was drawn into the groups. */
static enum status keep(const struct grpo *grpo, struct drawing *drawing, struct error *err) {
    int64_t names = grpo->rewards.count;
    for (int64_t i = 0; i < drawing->count; i++) {
        struct grpo_group *group = drawing->groups[i];
        if (grpo_group_make(group, drawing->samples, err) != STATUS_OK) return STATUS_FAILED;
        for (int64_t s = 0; s < drawing->samples; s++) {
            int64_t number = i * drawing->samples + s;
            struct rollout_completion *drawn = &drawing->drawn.items[number];
            struct grpo_completion *completion = &group->completions[s];
            completion->rewards = memory_new((size_t)names, sizeof *completion->rewards, "rewards", err);
            if (!completion->rewards) return STATUS_FAILED;
            for (int64_t r = 0; r < names; r++) completion->rewards[r] = drawing->values[number * names + r];
            completion->reward = drawing->totals[number];
            completion->tokens = drawn->tokens;
            completion->rollout = drawn->logprobs;
            completion->count = drawn->count;
            completion->truncated = drawn->finish == FINISH_LENGTH;
            drawn->tokens = NULL;
            drawn->logprobs = NULL;
        }
    }
    return STATUS_OK;
}

enum status grpo_draw(struct grpo *grpo, struct rollout *rollout, uint64_t step, int64_t samples,
                      const struct grpo_list *list, struct error *err) {
    struct drawing drawing = {.samples = samples};
    double start = clock_seconds();
    enum status status = choose_groups(&drawing, list, err);
    if (status == STATUS_OK) status = shuffle(grpo, step, &drawing, err);
    if (status == STATUS_OK && drawing.count > 0) {
        status = rollout_run(rollout, step, drawing.prompts, drawing.count + drawing.shuffled_count,
                             &drawing.drawn, err);
        if (status == STATUS_OK) status = check_drawn(&drawing, err);
        double drawn = clock_seconds();
        if (status == STATUS_OK) status = reward(grpo, &drawing, err);
        if (status == STATUS_OK) status = keep(grpo, &drawing, err);
        grpo->seconds.rollout += drawn - start;
        grpo->seconds.rewards += clock_seconds() - drawn;
    }
    drawing_free(&drawing);
    return status;
}
