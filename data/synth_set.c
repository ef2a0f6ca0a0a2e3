#include "data/synth_set.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"

/* Sets strengths[0..count) to 0, 1, 2, 3, 4, 0, ... in a random order (Fisher and Yates). */
static void shuffle_strengths(uint64_t seed, uint32_t sample, int64_t count, int *strengths) {
    for (int64_t i = 0; i < count; i++) {
        struct random_key key = {
            .seed = seed, .stream = SYNTH_SHUFFLE, .sample = sample, .position = (uint64_t)i};
        int64_t other = (int64_t)(random_uniform(key) * (double)(i + 1));
        strengths[i] = strengths[other];
        strengths[other] = (int)(i % SYNTH_STRENGTHS);
    }
}

static void draw_row(struct synth_row *row, uint64_t seed, enum synth_stream stream, uint32_t number,
                     const struct synth_format *format, const int strengths[SYNTH_DIMENSIONS]) {
    const uint32_t group = number / SYNTH_GROUP;
    struct synth_look asked;
    if (stream == SYNTH_TEST) {
        snprintf(row->name, sizeof row->name, "test_%04u_%u", group, number % SYNTH_GROUP);
        asked = synth_look_draw(seed, SYNTH_TEST_PROMPTS, group);
    } else {
        snprintf(row->name, sizeof row->name, "clip_%04u", number);
        asked = synth_look_draw(seed, stream, number);
    }
    row->clip = synth_clip_draw(seed, stream, number, format, &asked, strengths);
}

enum status synth_list_draw(struct synth_list *list, uint64_t seed, enum synth_stream stream, int64_t count,
                            const struct synth_format *format, struct error *err) {
    assert(count >= 0 && count <= UINT32_MAX);
    *list = (struct synth_list){.rows = memory_new((size_t)count, sizeof *list->rows, "the clips", err)};
    int *strengths = memory_new((size_t)count * SYNTH_DIMENSIONS, sizeof *strengths, "the scores", err);
    if (!list->rows || !strengths) {
        free(strengths);
        synth_list_free(list);
        return STATUS_FAILED;
    }
    for (uint32_t i = 0; i < SYNTH_DIMENSIONS; i++)
        shuffle_strengths(seed, (uint32_t)stream * SYNTH_DIMENSIONS + i, count, strengths + i * count);
    for (int64_t i = 0; i < count; i++) {
        const int own[SYNTH_DIMENSIONS] = {strengths[i], strengths[count + i], strengths[2 * count + i]};
        draw_row(&list->rows[i], seed, stream, (uint32_t)i, format, own);
    }
    list->count = count;
    free(strengths);
    return STATUS_OK;
}

void synth_list_free(struct synth_list *list) {
    free(list->rows);
    *list = (struct synth_list){0};
}

enum status synth_words_make(struct synth_words *words, const struct synth_row *row, struct error *err) {
    *words = (struct synth_words){0};
    text_format(&words->url, "videos/%s.mp4", row->name);
    synth_prompt(&row->clip.asked, &words->prompt);
    bool failed = words->url.failed || words->prompt.failed;
    for (int i = 0; i < SYNTH_DIMENSIONS; i++) {
        synth_comment(&row->clip, (enum synth_dimension)i, &words->comments[i]);
        failed = failed || words->comments[i].failed;
        if (!failed) text_format(&words->thinking, "%s%s", i > 0 ? " " : "", words->comments[i].data);
        words->annotation.scores[i] = synth_score(&row->clip, (enum synth_dimension)i);
        words->annotation.comments[i] = words->comments[i].data;
    }
    if (failed || words->thinking.failed)
        return error_set(err, "out of memory for the words on %s", row->name);
    words->annotation.video_name = row->name;
    words->annotation.video_url = words->url.data;
    words->annotation.prompt = words->prompt.data;
    words->annotation.thinking = words->thinking.data;
    return STATUS_OK;
}

void synth_words_free(struct synth_words *words) {
    text_free(&words->url);
    text_free(&words->prompt);
    for (int i = 0; i < SYNTH_DIMENSIONS; i++) text_free(&words->comments[i]);
    text_free(&words->thinking);
}

enum status synth_rows_write(const char *folder, const char *file, synth_row_function *make,
                             const struct synth_list *list, struct error *err) {
    enum status status = STATUS_OK;
    json_t *rows = json_array();
    for (int64_t i = 0; i < list->count && status == STATUS_OK; i++) {
        struct synth_words words;
        status = synth_words_make(&words, &list->rows[i], err);
        if (status == STATUS_OK && json_array_append_new(rows, make(&words.annotation)) != 0)
            status = error_set(err, "out of memory for %s", file);
        synth_words_free(&words);
    }
    if (status == STATUS_OK) status = json_write_file(folder, file, rows, err);
    json_decref(rows);
    return status;
}
