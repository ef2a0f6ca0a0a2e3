#include "data/synth_benchmarks.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"

/* ---- Scores ------------------------------------------------------------------------------------------ */

/* MJ-Bench-Video's 0 to 2 of a score from 1 to 5: for the visual dimension 1-2, 3-4, 5; else 1, 2-3, 4-5. */
static int three_levels(int score, enum synth_dimension dimension) {
    if (dimension == SYNTH_VISUAL) return (score - 1) / 2;
    return score / 2;
}

static int sum_of(const int scores[SYNTH_DIMENSIONS]) {
    return scores[SYNTH_VISUAL] + scores[SYNTH_ALIGNMENT] + scores[SYNTH_PHYSICAL];
}

/* ---- Points: a row a clip ---------------------------------------------------------------------------- */

static json_t *videophy2_point(const struct annotation *annotation) {
    return json_pack("{s:s, s:s, s:i, s:i}", "video_name", annotation->video_name, "prompt",
                     annotation->prompt, "semantic", annotation->scores[SYNTH_ALIGNMENT], "physical",
                     annotation->scores[SYNTH_PHYSICAL]);
}

static json_t *mj_point(const struct annotation *annotation) {
    const int *scores = annotation->scores;
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "video_name", annotation->video_name, "prompt",
                     annotation->prompt, "alignment", three_levels(scores[SYNTH_ALIGNMENT], SYNTH_ALIGNMENT),
                     "fineness", three_levels(scores[SYNTH_VISUAL], SYNTH_VISUAL), "consistency",
                     three_levels(scores[SYNTH_PHYSICAL], SYNTH_PHYSICAL), "total_score",
                     three_levels(sum_of(scores) / SYNTH_DIMENSIONS, SYNTH_DIMENSIONS));
}

static json_t *t2vqa_point(const struct annotation *annotation) {
    return json_pack("{s:s, s:s, s:i}", "video_name", annotation->video_name, "prompt", annotation->prompt,
                     "quality_score", sum_of(annotation->scores));
}

static json_t *bare_point(const struct annotation *annotation) {
    return json_pack("{s:s, s:s}", "video_name", annotation->video_name, "prompt", annotation->prompt);
}

static const struct {
    const char *file;
    synth_row_function *make;
} points[] = {
    {"videoscore-bench-v2.json", annotation_raw},
    {"videophy2.json", videophy2_point},
    {"mj-bench-video.json", mj_point},
    {"t2vqa-db.json", t2vqa_point},
    {"videogen-reward-bench.json", bare_point},
};

/* ---- Pairs: two clips of one prompt ------------------------------------------------------------------ */

struct pair {
    const struct synth_row *a, *b;
};

/* The pair that begins with clip i: false when its group has no other clip. */
static bool pair_of(const struct synth_list *list, int64_t i, struct pair *pair) {
    const int64_t first = i - i % SYNTH_GROUP;
    const int64_t size = list->count - first < SYNTH_GROUP ? list->count - first : SYNTH_GROUP;
    *pair = (struct pair){&list->rows[i], &list->rows[first + (i - first + 1) % size]};
    return size > 1;
}

/* Which is better: 1 the first, -1 the second, 0 neither; in one dimension, or in their sum. */
static int better(const struct pair *pair, enum synth_dimension dimension) {
    int difference = 0;
    for (int i = 0; i < SYNTH_DIMENSIONS; i++)
        if (dimension == SYNTH_DIMENSIONS || i == (int)dimension)
            difference += synth_score(&pair->a->clip, (enum synth_dimension)i) -
                          synth_score(&pair->b->clip, (enum synth_dimension)i);
    return (difference > 0) - (difference < 0);
}

static json_t *mj_pair(const struct pair *pair) {
    static const char *const names[] = {"Video 2 better", "Same", "Video 1 better"};
    return json_pack("{s:o, s:o, s:s}", "video_0_path", json_sprintf("videos/%s.mp4", pair->a->name),
                     "video_1_path", json_sprintf("videos/%s.mp4", pair->b->name), "overall_preference",
                     names[better(pair, SYNTH_DIMENSIONS) + 1]);
}

static json_t *t2vqa_pair(const struct pair *pair) {
    static const char *const names[] = {"2", "same", "1"};
    return json_pack("{s:s, s:s, s:s}", "video1", pair->a->name, "video2", pair->b->name, "preference",
                     names[better(pair, SYNTH_DIMENSIONS) + 1]);
}

static enum status write_pairs(const char *folder, const char *file, json_t *make(const struct pair *pair),
                               const struct synth_list *list, struct error *err) {
    enum status status = STATUS_OK;
    json_t *rows = json_array();
    for (int64_t i = 0; i < list->count && status == STATUS_OK; i++) {
        struct pair pair;
        if (pair_of(list, i, &pair) && json_array_append_new(rows, make(&pair)) != 0)
            status = error_set(err, "out of memory for %s", file);
    }
    if (status == STATUS_OK) status = json_write_file(folder, file, rows, err);
    json_decref(rows);
    return status;
}

/* ---- Files of lines ---------------------------------------------------------------------------------- */

static enum status write_lines(const char *folder, const char *file, struct text *lines, struct error *err) {
    enum status status = text_check(lines, file, err);
    char *path = status == STATUS_OK ? file_join(folder, file, err) : NULL;
    status = path ? file_write(path, lines->data, lines->length, err) : STATUS_FAILED;
    free(path);
    text_free(lines);
    return status;
}

/* Prompts of this world have neither quotes nor commas. */
static enum status write_csv(const char *folder, const struct synth_list *list, struct error *err) {
    static const char *const names[] = {"B", "same", "A"};
    struct text lines = {0};
    text_append_string(&lines, "path_A,path_B,prompt,VQ,TA,Overall\n");
    for (int64_t i = 0; i < list->count; i++) {
        struct pair pair;
        if (!pair_of(list, i, &pair)) continue;
        text_format(&lines, "videos/%s.mp4,videos/%s.mp4,", pair.a->name, pair.b->name);
        synth_prompt(&pair.a->clip.asked, &lines);
        text_format(&lines, ",%s,%s,%s\n", names[better(&pair, SYNTH_VISUAL) + 1],
                    names[better(&pair, SYNTH_ALIGNMENT) + 1], names[better(&pair, SYNTH_DIMENSIONS) + 1]);
    }
    return write_lines(folder, "videogen-reward-bench.csv", &lines, err);
}

static enum status write_prompts(const char *folder, const struct synth_list *list, struct error *err) {
    struct text lines = {0};
    for (int64_t i = 0; i < list->count; i += SYNTH_GROUP) {
        text_format(&lines, "{\"idx\": %lld, \"text\": \"", (long long)(i / SYNTH_GROUP));
        synth_prompt(&list->rows[i].clip.asked, &lines);
        text_append_string(&lines, "\"}\n");
    }
    return write_lines(folder, "best-of-n-prompts.jsonl", &lines, err);
}

static enum status write_list(const char *folder, const struct synth_list *list, struct error *err) {
    struct text lines = {0};
    for (int64_t i = 0; i < list->count; i++) {
        text_format(&lines, "{\"video\": \"videos/%s.mp4\", \"prompt\": \"", list->rows[i].name);
        synth_prompt(&list->rows[i].clip.asked, &lines);
        text_append_string(&lines, "\"}\n");
    }
    return write_lines(folder, "rows.jsonl", &lines, err);
}

enum status synth_benchmarks_write(const char *folder, const struct synth_list *list, struct error *err) {
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        if (synth_rows_write(folder, points[i].file, points[i].make, list, err) != STATUS_OK)
            return STATUS_FAILED;
    if (write_pairs(folder, "mj-bench-video-pairs.json", mj_pair, list, err) != STATUS_OK ||
        write_pairs(folder, "t2vqa-db-pairs.json", t2vqa_pair, list, err) != STATUS_OK ||
        write_csv(folder, list, err) != STATUS_OK || write_prompts(folder, list, err) != STATUS_OK)
        return STATUS_FAILED;
    return write_list(folder, list, err);
}
